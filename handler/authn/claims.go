package authn

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secureapi/handler/authz"
)

// claims are the members that this API decides on; others are ignored. Names,
// e-mail addresses and user principal names are not among them: they are
// reassigned, and are personal data.
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
type claims struct {
	Version      string         `json:"ver"`
	Issuer       string         `json:"iss"`
	Audience     string         `json:"aud"` // one string; Entra ID issues no list
	Tenant       string         `json:"tid"`
	ObjectID     string         `json:"oid"`
	Kind         string         `json:"idtyp"`
	ClientV2     string         `json:"azp"`
	ProofV2      string         `json:"azpacr"`
	ClientV1     string         `json:"appid"`
	ProofV1      string         `json:"appidacr"`
	Scopes       *string        `json:"scp"`
	Roles        []string       `json:"roles"`
	AuthContexts []string       `json:"acrs"`
	Capabilities jsontext.Value `json:"xms_cc"`
	TokenID      string         `json:"uti"`
	Expires      *int64         `json:"exp"`
	NotBefore    *int64         `json:"nbf"`
	IssuedAt     *int64         `json:"iat"`
	ClaimNames   jsontext.Value `json:"_claim_names"`
	ClaimSources jsontext.Value `json:"_claim_sources"`
	HasGroups    jsontext.Value `json:"hasgroups"`
}

// Values of claims.
const (
	version1 = "1.0"
	version2 = "2.0"
	kindUser = "user"
	kindApp  = "app"
	// How the client proved itself: azpacr and appidacr. "0" is a public client.
	proofSecret      = "1"
	proofCertificate = "2" // also managed identities and federated credentials

	// maxTime is the end of the year 9999: beyond it, times are mistakes, and
	// sums of them could overflow.
	maxTime = 253402300799
	// maxList and maxEntry bound lists in a Principal, which goes into the
	// audit log. Entra ID's own limit for a role's value is 120.
	maxList  = 256
	maxEntry = 120
)

// claims reads the payload of a token whose signature is verified.
func (t *token) claims() (*claims, error) {
	c := &claims{}
	if err := json.Unmarshal(t.payload, c); err != nil {
		return nil, fmt.Errorf("reading claims: %w", err)
	}
	return c, nil
}

// check gives the reason for refusing a verified token, or "". The first in the
// order of the checks counts.
func (a *Authenticator) check(c *claims, key Key) string {
	return cmp.Or(
		c.checkKind(),
		a.checkOrigin(c, key),
		a.checkTimes(c),
		a.checkActor(c),
		c.checkGrants(),
		c.checkSubject(),
	)
}

// checkKind tells access tokens from ID tokens, which can carry the audience
// and roles too. The API's registration asks for the claim: optional claim
// idtyp with include_user_token.
func (c *claims) checkKind() string {
	if c.Kind != kindUser && c.Kind != kindApp {
		return ReasonNotAccessToken
	}
	return ""
}

// checkOrigin compares version, issuer and audience together, as ordinal
// strings: what one version may say must not pass in the other.
func (a *Authenticator) checkOrigin(c *claims, key Key) string {
	tenant := a.tenants[c.Tenant]
	issuer, audience := tenant.v2, c.Audience == a.config.Audience
	switch c.Version {
	case version2:
	case version1:
		if !a.config.AcceptV1 {
			return ReasonVersion
		}
		issuer = tenant.v1
		audience = audience || a.config.AppIDURI != "" && c.Audience == a.config.AppIDURI
	default:
		return ReasonVersion
	}
	switch {
	case issuer == "" || c.Issuer != issuer:
		return ReasonIssuer
	case !audience:
		return ReasonAudience
	case strings.ReplaceAll(key.Issuer, "{tenantid}", c.Tenant) != tenant.v2:
		// The authority publishes keys of several issuers in one set; a key for
		// personal accounts has signed for organisations before (Storm-0558).
		// Key sets name the issuer of version 2.0, for tokens of either.
		return ReasonKeyIssuer
	}
	return ""
}

// checkTimes wants all three times, so that no token is without an end.
func (a *Authenticator) checkTimes(c *claims) string {
	if c.Expires == nil || c.NotBefore == nil || c.IssuedAt == nil {
		return ReasonTimeMissing
	}
	for _, t := range []int64{*c.Expires, *c.NotBefore, *c.IssuedAt} {
		if t < 0 || t > maxTime {
			return ReasonTimeRange
		}
	}
	return a.checkWindow(c.window())
}

// window is when a token was issued, and from when to when it is valid.
type window struct{ issuedAt, notBefore, expires int64 }

// window is for who has seen that all three times are there.
func (c *claims) window() window { return window{*c.IssuedAt, *c.NotBefore, *c.Expires} }

// checkWindow is the part of the check that the passing of time changes.
func (a *Authenticator) checkWindow(w window) string {
	now, skew := a.now().Unix(), int64(a.config.Skew/time.Second)
	switch {
	case w.expires+skew <= now:
		return ReasonExpired
	case w.notBefore > now+skew:
		return ReasonNotYetValid
	case w.issuedAt > now+skew:
		return ReasonIssuedInFuture
	case w.expires <= w.issuedAt || w.expires-w.issuedAt > int64(a.config.MaxLifetime/time.Second):
		return ReasonLifetime
	}
	return ""
}

// checkActor looks at the client application, and at how an application proved
// itself: a secret that was copied must not be enough to reveal values or to
// steer the system. For a user's token the user's sign-in counts.
func (a *Authenticator) checkActor(c *claims) string {
	client, proof := c.client()
	switch {
	case !isGUID(client):
		return ReasonClientMissing
	case len(a.config.AllowedClients) > 0 && !slices.Contains(a.config.AllowedClients, client):
		return ReasonClientNotAllowed
	case c.Kind == kindUser, proof == proofCertificate:
		return ""
	case proof != proofSecret:
		return ReasonClientUnproven
	case slices.ContainsFunc(c.Roles, privileged):
		return ReasonClientSecret
	}
	return ""
}

// privileged roles are all but those that bring values in or see them masked,
// including the ones that a later version of the registration adds.
func privileged(role string) bool {
	return role != string(authz.Writer) && role != string(authz.Reader)
}

// checkGrants: users act through a scope, applications through roles, and a
// token that looks like both is neither. Whether the scope and the roles are
// enough for a request is for package authz to say.
func (c *claims) checkGrants() string {
	switch {
	case !wellFormed(c.Roles):
		return ReasonRolesMalformed
	case c.Kind == kindApp && c.Scopes != nil:
		return ReasonScopeOfApp
	case c.Kind == kindApp && len(c.Roles) == 0, c.Kind == kindUser && (c.Scopes == nil || *c.Scopes == ""):
		return ReasonNoScopeNorRole
	case !wellFormed(c.scopes()):
		return ReasonScopeMalformed
	}
	return ""
}

// checkSubject wants the immutable id (the tenant is checked already), and
// refuses a token whose claims are elsewhere: their address is never asked.
func (c *claims) checkSubject() string {
	switch {
	case !isGUID(c.ObjectID):
		return ReasonSubjectMissing
	case c.TokenID != "" && !isKeyID(c.TokenID):
		return ReasonIDMalformed
	case c.ClaimNames != nil || c.ClaimSources != nil || c.HasGroups != nil:
		return ReasonOverage
	case !wellFormed(c.AuthContexts):
		return ReasonContexts
	}
	return ""
}

// client is the client application and its proof, as the version names them.
func (c *claims) client() (id, proof string) {
	if c.Version == version1 {
		return c.ClientV1, c.ProofV1
	}
	return c.ClientV2, c.ProofV2
}

// scopes is the scope claim, split on single spaces.
func (c *claims) scopes() []string {
	if c.Scopes == nil {
		return nil
	}
	return strings.Split(*c.Scopes, " ")
}

// claimsCapability is what clients declare that handle a claims challenge.
// https://learn.microsoft.com/entra/identity-platform/claims-challenge#client-capabilities
const claimsCapability = "cp1"

// capable reports whether the client declares claimsCapability. The claim
// comes where the API's registration asks for it (optional claim xms_cc). It
// grants nothing, so that a form not known here is no reason for refusal.
func (c *claims) capable() bool {
	var list []string
	return len(c.Capabilities) > 0 && json.Unmarshal(c.Capabilities, &list) == nil && slices.Contains(list, claimsCapability)
}

// wellFormed lists hold short words of visible ASCII.
func wellFormed(list []string) bool {
	return len(list) <= maxList && !slices.ContainsFunc(list, func(s string) bool {
		return s == "" || len(s) > maxEntry || !isVisible(s)
	})
}

// principal is who the token says it is for. What is malformed is left out,
// because a refusal's Principal is written into the audit log.
func (c *claims) principal(scope string) authz.Principal {
	p := authz.Principal{TenantID: c.Tenant, ClaimsCapable: c.capable()}
	switch c.Kind {
	case kindUser:
		p.Kind, p.Scoped = authz.User, slices.Contains(c.scopes(), scope)
	case kindApp:
		p.Kind = authz.App
	}
	if isGUID(c.ObjectID) {
		p.ObjectID = c.ObjectID
	}
	if client, _ := c.client(); isGUID(client) {
		p.ClientID = client
	}
	if isKeyID(c.TokenID) {
		p.TokenID = c.TokenID
	}
	if c.IssuedAt != nil && *c.IssuedAt >= 0 && *c.IssuedAt <= maxTime {
		p.IssuedAt = time.Unix(*c.IssuedAt, 0).UTC()
	}
	if wellFormed(c.AuthContexts) {
		p.AuthContexts = c.AuthContexts
	}
	if len(c.Roles) > 0 && wellFormed(c.Roles) {
		p.Roles = make([]authz.Role, len(c.Roles))
		for i, role := range c.Roles {
			p.Roles[i] = authz.Role(role)
		}
	}
	return p
}
