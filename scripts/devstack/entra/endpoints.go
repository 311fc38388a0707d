package entra

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxBody bounds a request's body.
const maxBody = 64 << 10

// azureResources are those for which tokens are issued.
func azureResources() []string {
	return []string{"https://storage.azure.com", "https://vault.azure.net", "https://monitor.azure.com"}
}

// IsResource reports whether tokens are issued for that Azure resource; a
// trailing slash is allowed, as in Azure.
func IsResource(resource string) bool {
	return slices.Contains(azureResources(), strings.TrimSuffix(resource, "/"))
}

func (s *Server) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	if !knownTenant(tenant) {
		fail(w, http.StatusBadRequest, "invalid_tenant", "AADSTS90002: Tenant not found.")
		return
	}
	base := Authority + "/" + tenant
	reply(w, http.StatusOK, map[string]any{
		"issuer":                                issuerV2(tenant),
		"authorization_endpoint":                s.pagesBase() + "/" + tenant + "/oauth2/v2.0/authorize",
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query", "form_post"},
		"code_challenge_methods_supported":      []string{"S256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{algorithm},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   "microsoftonline.com",
	})
}

// serveClientCredentials is the grant of applications (RFC 6749, section 4.4).
// The form is parsed.
func (s *Server) serveClientCredentials(w http.ResponseWriter, r *http.Request) {
	app, ok := s.App(r.PostForm.Get("client_id"))
	if !ok || app.Tenant != r.PathValue("tenant") || !strings.EqualFold(app.ClientID, r.PostForm.Get("client_id")) {
		fail(w, http.StatusBadRequest, "unauthorized_client", "AADSTS700016: Application was not found in the directory.")
		return
	}
	strength, code := s.authenticate(app, r)
	if code != "" {
		fail(w, http.StatusUnauthorized, "invalid_client", code)
		return
	}
	token, expires, ok := s.issue(app, r.PostForm.Get("scope"), strength)
	if !ok {
		fail(w, http.StatusBadRequest, "invalid_scope", "AADSTS1002012: The scope is not <resource>/.default of a known resource.")
		return
	}
	seconds := int(expires.Sub(s.now()).Seconds())
	reply(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
	})
}

// authenticate returns the strength of the application's proof, or the error.
func (s *Server) authenticate(app App, r *http.Request) (strength, code string) {
	if assertion := r.PostForm.Get("client_assertion"); assertion != "" {
		if r.PostForm.Get("client_assertion_type") != AssertionType {
			return "", "AADSTS50027: The client assertion type is not supported."
		}
		if err := s.checkAssertion(app, assertion); err != nil {
			return "", "AADSTS700027: " + err.Error() + "."
		}
		return actorCertificate, ""
	}
	given := r.PostForm.Get("client_secret")
	if given == "" {
		return "", "AADSTS7000218: The request body must contain client_assertion or client_secret."
	}
	if subtle.ConstantTimeCompare([]byte(given), []byte(app.Secret)) != 1 {
		return "", "AADSTS7000215: Invalid client secret provided."
	}
	return actorSecret, ""
}

// issue makes the token for a scope: v2.0 for the API, v1.0 for Azure.
func (s *Server) issue(app App, scope, strength string) (token string, expires time.Time, ok bool) {
	var resource string
	for part := range strings.FieldsSeq(scope) {
		if named, isDefault := strings.CutSuffix(part, "/.default"); isDefault {
			resource = named
		}
	}
	var err error
	switch {
	case resource == APIClientID || resource == APIAppIDURI:
		expires = s.now().Add(lifetime)
		token, err = s.Sign(app.Tenant, s.AppClaims(app, strength))
	case IsResource(resource):
		token, expires, err = s.ResourceToken(app, strings.TrimSuffix(resource, "/"), strength)
	default:
		return "", time.Time{}, false
	}
	return token, expires, err == nil
}

// localRequest asks for a person's token.
type localRequest struct {
	Persona string `json:"persona"`
	// ACRS in place of the persona's own; [] for none.
	ACRS []string `json:"acrs"`
	// Age in seconds since the sign-in.
	Age     int  `json:"age"`
	Capable bool `json:"capable"`
}

// serveLocalToken stands for a sign-in: there is no password.
func (s *Server) serveLocalToken(w http.ResponseWriter, r *http.Request) {
	var asked localRequest
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request", `want {"persona": "writer", "acrs": ["c1"], "age": seconds}`)
		return
	}
	token, err := s.PersonaToken(asked.Persona, Grant{
		ACRS: asked.ACRS, Age: time.Duration(asked.Age) * time.Second, Capable: asked.Capable,
	})
	if err != nil {
		fail(w, http.StatusNotFound, "invalid_request", err.Error())
		return
	}
	reply(w, http.StatusOK, map[string]any{"token_type": "Bearer", "access_token": token})
}

// serveRotate gives a tenant a new key: POST {"tenant": …, "retire": true}.
func (s *Server) serveRotate(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Tenant string `json:"tenant"`
		Retire bool   `json:"retire"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&asked); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request", `want {"tenant": "<guid>"}`)
		return
	}
	former := s.KeyID(asked.Tenant)
	kid, err := s.Rotate(asked.Tenant)
	if err == nil && asked.Retire {
		err = s.Retire(asked.Tenant, former)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	reply(w, http.StatusOK, map[string]any{"kid": kid})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errcheck // the client is gone, if anything
}

// fail answers as the token endpoint does (RFC 6749, section 5.2).
func fail(w http.ResponseWriter, status int, code, description string) {
	reply(w, status, map[string]any{"error": code, "error_description": description})
}
