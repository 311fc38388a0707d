// Package authn turns an Entra ID access token into an authz.Principal, or
// refuses it. It is the only place where a caller's identity is made.
//
// The checks follow RFC 8725 and RFC 9068 as far as Entra ID does, in a fixed
// order: the shape of the header and of the token, the algorithm and the key,
// the signature, and only then the claims. Everything is strict: one
// Authorization header, unpadded base64url without spare bits, JSON without
// duplicate or case-folded names, an allow-list of header members, one
// algorithm, exact issuer, audience and tenant, and a signing key whose own
// issuer fits the token's. Each refusal has a reason code for the audit log;
// outside, all of them look the same.
//
// Trust boundary: a token is outside data until its signature is verified; the
// key set is trusted as far as TLS to the authority is. A bearer token is not
// bound to its sender, because Entra ID offers no proof of possession for other
// people's APIs: whoever steals one is its user until it expires.
package authn

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"secureapi/handler/authz"
	"secureapi/handler/clock"
)

// Key is a signing key of the authority.
type Key struct {
	Public *rsa.PublicKey
	// Issuer is the issuer that the key signs for; "{tenantid}" stands for
	// the tenant.
	Issuer string
}

// KeySource gives the signing keys of a tenant. It is asked only for tenants of
// the allow-list, with a well-formed key id, and must be safe for concurrent
// use. The error is ErrUnknownKey where the authority has said that it has no
// such key; any other error means that the authority has not said.
type KeySource interface {
	Key(ctx context.Context, tenant, kid string) (Key, error)
}

// Authenticator checks tokens. Safe for concurrent use.
type Authenticator struct {
	config  Config
	tenants map[string]issuers
	keys    KeySource
	now     clock.Clock
}

// issuers are the names under which a tenant issues tokens; v1 is "" where
// tokens of that version are not accepted.
type issuers struct{ v1, v2 string }

// New returns an Authenticator, or all problems of the configuration.
func New(config Config, keys KeySource, now clock.Clock) (*Authenticator, error) {
	config = config.withDefaults()
	problems := config.check()
	if keys == nil || now == nil {
		problems = errors.Join(problems, errors.New("a key source and a clock are needed"))
	}
	if problems != nil {
		return nil, fmt.Errorf("authentication: %w", problems)
	}
	a := &Authenticator{config: config, tenants: make(map[string]issuers, len(config.TenantIDs)), keys: keys, now: now}
	for _, tenant := range config.TenantIDs {
		named := issuers{v2: config.AuthorityHost + "/" + tenant + "/v2.0"}
		if config.AcceptV1 {
			named.v1 = config.V1Host + "/" + tenant + "/"
		}
		a.tenants[tenant] = named
	}
	return a, nil
}

// Authenticate checks the values of the Authorization header: all of them, as
// received. The error is a *Refusal or wraps ErrUnavailable.
func (a *Authenticator) Authenticate(ctx context.Context, header []string) (authz.Principal, error) {
	raw, err := bearer(header)
	if err != nil {
		return authz.Principal{}, err
	}
	t, err := parse(raw)
	if err != nil {
		return authz.Principal{}, err
	}
	// The tenant that the token names only chooses among the key sets of the
	// allowed tenants. It is believed when that tenant's key has signed it.
	if _, allowed := a.tenants[t.tenant]; !allowed {
		return authz.Principal{}, refuse(ReasonTenantNotAllowed)
	}
	key, err := a.keys.Key(ctx, t.tenant, t.keyID)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return authz.Principal{}, refuse(ReasonKeyUnknown)
	case err != nil:
		return authz.Principal{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := t.verify(key.Public); err != nil {
		return authz.Principal{}, err
	}
	c, err := t.claims()
	if err != nil {
		return authz.Principal{}, &Refusal{Reason: ReasonClaimType, Verified: true, Principal: authz.Principal{TenantID: t.tenant}}
	}
	p := c.principal(a.config.Scope)
	if reason := a.check(c, key); reason != "" {
		return authz.Principal{}, &Refusal{Reason: reason, Verified: true, Principal: p}
	}
	return p, nil
}

// maxAuthorization is as much as common proxies let through, and several times
// what a token without group claims takes.
const maxAuthorization = 16 << 10

// bearer takes the token out of the header: exactly one, scheme Bearer
// (RFC 6750, section 2.1). A token elsewhere, in the query or the body, is not
// looked for.
func bearer(header []string) (string, error) {
	switch {
	case len(header) == 0:
		return "", refuse(ReasonAuthorizationMissing)
	case len(header) > 1:
		return "", refuse(ReasonAuthorizationRepeated)
	case len(header[0]) > maxAuthorization:
		return "", refuse(ReasonAuthorizationTooLong)
	}
	scheme, token, ok := strings.Cut(header[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", refuse(ReasonSchemeNotBearer)
	}
	return token, nil
}
