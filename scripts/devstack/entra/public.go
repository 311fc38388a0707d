package entra

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// asked is what a sign-in through the public client is to give: to whom, for
// what, and under which claims request.
type asked struct {
	tenant string
	// scopes as the client wrote them, for the answer.
	scopes []string
	// acrs are the authentication contexts asked for.
	acrs []string
	// capable: the client declares that it understands claims challenges (cp1).
	capable bool
}

// refusal is an OAuth error: a code of RFC 6749 or 8628, and Entra's text.
type refusal struct{ code, text string }

// publicClient reports whether that is a public client of the tenant. It has no
// secret: what protects a person is where the answer is sent, and PKCE.
func publicClient(clientID, tenant string) bool {
	return strings.EqualFold(clientID, ToolClientID) && knownTenant(tenant)
}

// loopback takes the redirect addresses that the public client has registered:
// http://localhost and http://127.0.0.1, at whatever port (RFC 8252, section
// 7.3). Everything else must be equal: no path, no query, no user.
func loopback(redirect string) bool {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || (u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1") {
		return false
	}
	plain := url.URL{Scheme: u.Scheme, Host: u.Host}
	return plain.String() == strings.TrimSuffix(redirect, "/")
}

// single refuses a parameter that is there twice: whoever reads the first value
// and whoever reads the last would see two requests.
func single(values url.Values) *refusal {
	for name, all := range values {
		if len(all) > 1 {
			return &refusal{"invalid_request", "AADSTS9000411: The request is not properly formatted. The parameter '" + name + "' is duplicated."}
		}
	}
	return nil
}

// parseAsked reads scope and claims, which all flows have in common.
func parseAsked(tenant string, values url.Values) (asked, *refusal) {
	a := asked{tenant: tenant, scopes: strings.Fields(values.Get("scope"))}
	var resources int
	for _, scope := range a.scopes {
		if slices.Contains([]string{"openid", "profile", "offline_access", "email"}, scope) {
			continue
		}
		api, name, ok := cutLast(scope)
		switch {
		case !ok || api != APIClientID && api != APIAppIDURI:
			return asked{}, &refusal{"invalid_resource", "AADSTS500011: The resource principal was not found in the tenant."}
		case name != Scope && name != ".default":
			return asked{}, &refusal{"invalid_client", "AADSTS650053: The application asked for a scope that doesn't exist on the resource."}
		}
		resources++
	}
	if resources != 1 {
		return asked{}, &refusal{"invalid_scope", "AADSTS70011: The provided value for the input parameter 'scope' is not valid."}
	}
	if refused := a.parseClaims(values.Get("claims")); refused != nil {
		return asked{}, refused
	}
	return a, nil
}

func cutLast(scope string) (api, name string, ok bool) {
	i := strings.LastIndexByte(scope, '/')
	if i < 0 {
		return "", "", false
	}
	return scope[:i], scope[i+1:], true
}

// parseClaims reads the claims request parameter (OpenID Connect Core, section
// 5.5) as far as this issuer knows it; other claims are ignored, as in Entra.
func (a *asked) parseClaims(text string) *refusal {
	if text == "" {
		return nil
	}
	var request struct {
		AccessToken struct {
			ACRS struct {
				Value  string   `json:"value"`
				Values []string `json:"values"`
			} `json:"acrs"`
			ClientCapabilities struct {
				Values []string `json:"values"`
			} `json:"xms_cc"`
		} `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return &refusal{"invalid_request", "AADSTS9002313: Invalid request. The claims parameter is malformed or invalid."}
	}
	a.capable = slices.ContainsFunc(request.AccessToken.ClientCapabilities.Values, func(c string) bool { return strings.EqualFold(c, "cp1") })
	a.acrs = request.AccessToken.ACRS.Values
	if value := request.AccessToken.ACRS.Value; value != "" {
		a.acrs = append(a.acrs, value)
	}
	if slices.ContainsFunc(a.acrs, func(context string) bool { return context != StepUp }) {
		return &refusal{"invalid_request", "AADSTS9002313: Invalid request. The authentication context does not exist in the tenant."}
	}
	return nil
}

// has reports whether a scope of OpenID Connect was asked for.
func (a asked) has(scope string) bool { return slices.Contains(a.scopes, scope) }
