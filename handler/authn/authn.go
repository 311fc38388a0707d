// Package authn turns an Entra ID access token into an authz.Principal, or
// refuses it. It is the only place where a caller's identity is made.
//
// The checks follow RFC 8725 and RFC 9068 where Entra ID allows, in a fixed
// order: shape, header, key, signature, and only then claims. Everything is
// strict: one Authorization header, unpadded base64url without spare bits,
// JSON without duplicate or case-folded names, an allow-list of header
// members, one algorithm, exact issuer, audience and tenant, and a signing
// key whose own issuer fits the token's. Each refusal has a reason code for
// the audit log; outside, all of them look the same.
//
// Trust boundary: the token is outside data until its signature is verified;
// the key set is trusted as far as TLS to the authority is.
package authn

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/clock"
)

// ErrUnavailable: the token cannot be checked now. Not a refusal: 503.
var ErrUnavailable = errors.New("signing keys are unavailable")

// ErrUnknownKey: the authority does not have this signing key.
var ErrUnknownKey = errors.New("signing key is unknown")

// Refusal is a token that is not accepted.
type Refusal struct {
	Reason string
	// Verified: the signature was good. Principal then holds who the token
	// says it is for, for the audit entry only.
	Verified  bool
	Principal authz.Principal
}

// Error implements error.
func (r *Refusal) Error() string { return "token refused: " + r.Reason }

func refuse(reason string) error { return &Refusal{Reason: reason} }

// Key is a signing key of the authority.
type Key struct {
	Public *rsa.PublicKey
	// Issuer is the issuer that the key signs for; "{tenantid}" stands for
	// the tenant.
	Issuer string
}

// KeySource gives the signing keys of a tenant's authority: ErrUnknownKey,
// ErrUnavailable, or a key.
type KeySource interface {
	Key(ctx context.Context, tenant, kid string) (Key, error)
}

// Config says which tokens are accepted.
type Config struct {
	// TenantIDs is the allow-list of tenants, lower-case GUIDs.
	TenantIDs []string
	// Audience is the API's application (client) id.
	Audience string
	// AuthorityHost is https://login.microsoftonline.com or a national cloud's.
	AuthorityHost string
	// Scope is the delegated scope that users need.
	Scope string
	// AllowedClients limits the client applications; empty allows any.
	AllowedClients []string
	// StepUpContext is the authentication context that restricted values take.
	StepUpContext string
}

var (
	guid         = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	contextShape = regexp.MustCompile(`^c[1-9][0-9]?$`)
)

// consumerTenant is that of personal Microsoft accounts: never accepted.
const consumerTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

func (c Config) check() error {
	var problems []error
	if len(c.TenantIDs) == 0 {
		problems = append(problems, errors.New("no tenant is allowed"))
	}
	for _, id := range c.TenantIDs {
		if !guid.MatchString(id) || id == consumerTenant {
			problems = append(problems, errors.New("a tenant id is not a lower-case GUID of an organisation"))
		}
	}
	if !guid.MatchString(c.Audience) {
		problems = append(problems, errors.New("the audience is not the API's client id"))
	}
	if !strings.HasPrefix(c.AuthorityHost, "https://") || strings.HasSuffix(c.AuthorityHost, "/") {
		problems = append(problems, errors.New("the authority is not https://host"))
	}
	if c.Scope == "" || strings.ContainsAny(c.Scope, " \t") {
		problems = append(problems, errors.New("the delegated scope is missing"))
	}
	if !contextShape.MatchString(c.StepUpContext) {
		problems = append(problems, errors.New("the step-up context is not c1 to c99"))
	}
	return errors.Join(problems...)
}

// Authenticator checks tokens. Safe for concurrent use.
type Authenticator struct {
	config Config
	keys   KeySource
	now    clock.Clock
}

// New returns an Authenticator, or all problems of the configuration.
func New(config Config, keys KeySource, now clock.Clock) (*Authenticator, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("authentication: %w", err)
	}
	return &Authenticator{config: config, keys: keys, now: now}, nil
}

// Authenticate checks the values of the Authorization header. The error is a
// *Refusal or ErrUnavailable.
func (a *Authenticator) Authenticate(ctx context.Context, header []string) (authz.Principal, error) {
	raw, err := bearer(header)
	if err != nil {
		return authz.Principal{}, err
	}
	t, err := parse(raw)
	if err != nil {
		return authz.Principal{}, err
	}
	// The tenant chooses the key set and is not believed before it is among
	// the allowed ones; which key signed is checked against it below.
	tenant := t.claims.Tenant
	if !slices.Contains(a.config.TenantIDs, tenant) {
		return authz.Principal{}, refuse("tenant_not_allowed")
	}
	key, err := a.keys.Key(ctx, tenant, t.header.KeyID)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return authz.Principal{}, refuse("key_unknown")
	case err != nil:
		return authz.Principal{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := t.verify(key.Public); err != nil {
		return authz.Principal{}, err
	}
	p := t.principal(a.config.Scope)
	if reason := a.checkClaims(t.claims, key); reason != "" {
		return authz.Principal{}, &Refusal{Reason: reason, Verified: true, Principal: p}
	}
	return p, nil
}

const (
	maxHeader = 16 << 10
	// skew is the clock difference that is forgiven (RFC 7519: "a few minutes" at most).
	skew = 60 * time.Second
	// maxLifetime is beyond any token that Entra ID issues: 28 h with
	// continuous access evaluation.
	maxLifetime = 29 * time.Hour
	// stepUpAge is how old a token may be that reveals restricted values.
	stepUpAge = 10 * time.Minute
)

// checkClaims gives the reason for refusing a verified token, or "".
func (a *Authenticator) checkClaims(c claims, key Key) string {
	issuer := a.config.AuthorityHost + "/" + c.Tenant + "/v2.0"
	switch {
	case c.Version != "2.0":
		return "version_not_accepted"
	case c.Issuer != issuer:
		return "issuer_mismatch"
	case strings.ReplaceAll(key.Issuer, "{tenantid}", c.Tenant) != c.Issuer:
		return "key_issuer_mismatch"
	case c.Audience != a.config.Audience:
		return "audience_mismatch"
	case len(c.ClaimNames) > 0 || len(c.ClaimSources) > 0 || c.HasGroups:
		return "claims_overage"
	}
	if reason := a.checkTimes(c); reason != "" {
		return reason
	}
	return a.checkIdentity(c)
}

func (a *Authenticator) checkTimes(c claims) string {
	// Whole seconds are compared, and nothing is added to or taken from a
	// claim that is not bounded yet: sums of extreme ones would wrap round.
	now := a.now()
	earliest, latest := now.Add(-skew).Unix(), now.Add(skew).Unix()
	switch {
	case c.Expires == nil || c.NotBefore == nil || c.IssuedAt == nil:
		return "time_missing"
	case *c.Expires <= earliest:
		return "expired"
	case *c.NotBefore > latest:
		return "not_yet_valid"
	case *c.IssuedAt > latest:
		return "issued_in_future"
	case *c.Expires <= *c.IssuedAt || *c.IssuedAt < *c.Expires-int64(maxLifetime/time.Second):
		return "lifetime_not_accepted"
	}
	return ""
}

func (a *Authenticator) checkIdentity(c claims) string {
	switch {
	case !guid.MatchString(c.ObjectID):
		return "subject_missing"
	case !guid.MatchString(c.Client):
		return "client_missing"
	case len(a.config.AllowedClients) > 0 && !slices.Contains(a.config.AllowedClients, c.Client):
		return "client_not_allowed"
	case c.IDType != "user" && c.IDType != "app":
		return "not_an_access_token"
	case c.IDType == "app" && c.Scopes != "":
		return "scope_on_app_token"
	case c.IDType == "app" && c.ClientAuth != "1" && c.ClientAuth != "2":
		return "client_not_authenticated"
	case c.IDType == "app" && len(c.Roles) == 0, c.IDType == "user" && c.Scopes == "":
		return "neither_scope_nor_role"
	}
	return ""
}

func (t *token) principal(scope string) authz.Principal {
	c := t.claims
	p := authz.Principal{
		TenantID: c.Tenant, ObjectID: c.ObjectID, ClientID: c.Client,
		AuthContexts: c.AuthContexts, TokenID: c.TokenID,
	}
	if c.IssuedAt != nil {
		p.IssuedAt = time.Unix(*c.IssuedAt, 0).UTC()
	}
	for _, role := range c.Roles {
		p.Roles = append(p.Roles, authz.Role(role))
	}
	switch c.IDType {
	case "user":
		p.Kind = authz.User
		p.Scoped = slices.Contains(strings.Split(c.Scopes, " "), scope)
	case "app":
		p.Kind = authz.App
	}
	return p
}

// bearer takes the token out of the header: exactly one, scheme Bearer.
func bearer(header []string) (string, error) {
	switch {
	case len(header) == 0:
		return "", refuse("header_missing")
	case len(header) > 1:
		return "", refuse("header_repeated")
	case len(header[0]) > maxHeader:
		return "", refuse("header_too_long")
	}
	scheme, token, ok := strings.Cut(header[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", refuse("scheme_not_bearer")
	}
	return token, nil
}
