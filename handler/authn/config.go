package authn

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says which tokens are accepted.
type Config struct {
	// TenantIDs is the allow-list of tenants, lower-case GUIDs. Required.
	TenantIDs []string
	// Audience is the API's application (client) id. Required.
	Audience string
	// AuthorityHost is https://login.microsoftonline.com or a national cloud's. Required.
	AuthorityHost string
	// Scope is the delegated scope that users need. Required.
	Scope string
	// StepUpContext is the authentication context that restricted values take,
	// c1 to c99. Required.
	StepUpContext string
	// AllowedClients limits the client applications; empty allows any.
	AllowedClients []string

	// AcceptV1 accepts tokens of version 1.0 too. The default is to refuse them:
	// an API registers requestedAccessTokenVersion 2.
	AcceptV1 bool
	// V1Host issues tokens of version 1.0; "" is the public cloud's.
	V1Host string
	// AppIDURI is the second name of the API, which tokens of version 1.0 may
	// have as their audience. Only with AcceptV1.
	AppIDURI string

	// Skew is the clock difference that is forgiven; 0 is a minute, which is
	// also the most.
	Skew time.Duration
	// MaxLifetime bounds exp - iat; 0 is 29 h, which is also the most.
	MaxLifetime time.Duration
}

const (
	// consumerTenant is that of personal Microsoft accounts: never accepted.
	consumerTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"
	// publicV1Host issues the tokens of version 1.0 in the public cloud.
	publicV1Host = "https://sts.windows.net"
	// maxSkew: RFC 7519 (section 4.1.4) allows for "no more than a few minutes".
	maxSkew = time.Minute
	// maxLifetime is above all that Entra ID issues: up to 28 h with continuous
	// access evaluation.
	maxLifetime = 29 * time.Hour

	// AcceptedFor is how long after its issue a token can be accepted at most,
	// whatever the configuration says: what is known against a token may be
	// forgotten then. Both ends are seen through a clock that may be off.
	AcceptedFor = maxLifetime + 2*maxSkew
)

func (c Config) withDefaults() Config {
	c.TenantIDs, c.AllowedClients = slices.Clone(c.TenantIDs), slices.Clone(c.AllowedClients)
	if c.V1Host == "" {
		c.V1Host = publicV1Host
	}
	if c.Skew == 0 {
		c.Skew = maxSkew
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = maxLifetime
	}
	return c
}

// check joins every problem. The values stay out of it: it is logged.
func (c Config) check() error {
	var problems []error
	need := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, errors.New(problem))
		}
	}
	notGUID := func(id string) bool { return !isGUID(id) }
	need(len(c.TenantIDs) > 0, "no tenant is allowed")
	need(!slices.ContainsFunc(c.TenantIDs, notGUID), "a tenant id is not a lower-case GUID")
	need(!slices.Contains(c.TenantIDs, consumerTenant), "the tenant of personal accounts cannot be allowed")
	need(isGUID(c.Audience), "the audience is not the API's client id, a lower-case GUID")
	need(isOrigin(c.AuthorityHost), "the authority host is not https://host")
	need(isOrigin(c.V1Host), "the version 1.0 host is not https://host")
	need(c.Scope != "" && isVisible(c.Scope), "the delegated scope is not one word")
	need(isContext(c.StepUpContext), "the step-up context is not c1 to c99")
	need(!slices.ContainsFunc(c.AllowedClients, notGUID), "an allowed client is not a lower-case GUID")
	need(c.AppIDURI == "" || c.AcceptV1, "an app id URI is of use with version 1.0 only")
	need(c.AppIDURI == "" || isVisible(c.AppIDURI) && strings.Contains(c.AppIDURI, "://"), "the app id URI is not a URI")
	need(c.Skew > 0 && c.Skew <= maxSkew, "the skew is not within a minute")
	need(c.MaxLifetime >= time.Minute && c.MaxLifetime <= maxLifetime, "the longest lifetime is not between a minute and 29 h")
	return errors.Join(problems...)
}

// isOrigin reports whether s is https://host and nothing more, in the spelling
// in which it is compared and asked.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && s == "https://"+u.Host && s == strings.ToLower(s)
}

// isGUID reports whether s is a GUID in lower case, as Entra ID writes ids: in
// another spelling the same id would be another key of the data.
func isGUID(s string) bool {
	if len(s) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if b != '-' {
				return false
			}
		} else if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}

// isContext reports whether s names an authentication context.
func isContext(s string) bool {
	digits, ok := strings.CutPrefix(s, "c")
	if !ok || digits == "" || len(digits) > 2 || digits[0] == '0' {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// isVisible reports whether s is visible ASCII throughout: no white space, and
// no letter that looks like another.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
