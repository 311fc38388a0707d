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
// people's APIs: whoever steals one is its user until it expires or is revoked.
//
// Accepted tokens are remembered (see cache): a repeat costs a hash and a look
// at what can have changed since, which is the time, the key set and the list of
// revocations.
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

// Revocations says what was taken back of a verified token: of this token, or
// of its subject's. It is asked on every request, for remembered tokens too, and
// must be safe for concurrent use. Any error means that it cannot say, and the
// token is not verified.
type Revocations interface {
	Check(ctx context.Context, p authz.Principal) (authz.Revocation, error)
}

// Authenticator checks tokens. Safe for concurrent use.
type Authenticator struct {
	config      Config
	tenants     map[string]issuers
	keys        KeySource
	revocations Revocations
	now         clock.Clock
	cache       cache
	// verify is (*token).verify; tests count its calls.
	verify func(*token, *rsa.PublicKey) error
}

// issuers are the names under which a tenant issues tokens; v1 is "" where
// tokens of that version are not verified.
type issuers struct{ v1, v2 string }

// New returns an Authenticator, or all problems of the configuration.
func New(config Config, keys KeySource, revocations Revocations, now clock.Clock) (*Authenticator, error) {
	config = config.withDefaults()
	problems := config.check()
	if keys == nil || revocations == nil || now == nil {
		problems = errors.Join(problems, errors.New("a key source, a list of revocations and a clock are needed"))
	}
	tokens, err := newCache(cacheSize)
	if problems = errors.Join(problems, err); problems != nil {
		return nil, fmt.Errorf("authentication: %w", problems)
	}
	a := &Authenticator{
		config: config, tenants: make(map[string]issuers, len(config.TenantIDs)), keys: keys, revocations: revocations,
		now: now, cache: tokens, verify: (*token).verify,
	}
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
	name := digestOf(raw)
	t, known, err := a.recall(ctx, name)
	if err == nil && !known {
		t, err = a.accept(ctx, raw)
	}
	if err != nil {
		return authz.Principal{}, err
	}
	if err := a.checkRevocation(ctx, t.principal); err != nil {
		return authz.Principal{}, err
	}
	if !known {
		a.cache.remember(name, raw, t)
	}
	return t.caller(), nil
}

// accept checks a token by all that it says: shape, key, signature and claims.
func (a *Authenticator) accept(ctx context.Context, raw string) (verified, error) {
	t, err := parse(raw)
	if err != nil {
		return verified{}, err
	}
	// The tenant that the token names only chooses among the key sets of the
	// allowed tenants. It is believed when that tenant's key has signed it.
	if _, allowed := a.tenants[t.tenant]; !allowed {
		return verified{}, refuse(ReasonTenantNotAllowed)
	}
	key, err := a.keyOf(ctx, t.tenant, t.keyID)
	if err != nil {
		return verified{}, err
	}
	if err := a.verify(t, key.Public); err != nil {
		return verified{}, err
	}
	c, err := t.claims()
	if err != nil {
		return verified{}, &Refusal{Reason: ReasonClaimType, Verified: true, Principal: authz.Principal{TenantID: t.tenant}}
	}
	p := c.principal(a.config.Scope)
	if reason := a.check(c, key); reason != "" {
		return verified{}, &Refusal{Reason: reason, Verified: true, Principal: p}
	}
	return verified{principal: p, window: c.window(), keyID: t.keyID, key: key}, nil
}

// keyOf gives a key as it stands in the tenant's set now.
func (a *Authenticator) keyOf(ctx context.Context, tenant, kid string) (Key, error) {
	key, err := a.keys.Key(ctx, tenant, kid)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return Key{}, refuse(ReasonKeyUnknown)
	case err != nil:
		return Key{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return key, nil
}

// checkRevocation is the last check, of every request. A revoked subject can
// sign in again, and the client is told so where it understands; a revoked
// token looks like any other that is refused.
func (a *Authenticator) checkRevocation(ctx context.Context, p authz.Principal) error {
	revoked, err := a.revocations.Check(ctx, p)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !revoked.IssuedBefore.IsZero():
		refusal := &Refusal{Reason: ReasonSubjectRevoked, Verified: true, Principal: p}
		if p.ClaimsCapable {
			refusal.challenge = a.signInAgain(revoked.IssuedBefore)
		}
		return refusal
	case revoked.Token:
		return &Refusal{Reason: ReasonTokenRevoked, Verified: true, Principal: p}
	}
	return nil
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
