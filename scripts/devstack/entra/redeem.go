package entra

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// The device grant's name in RFC 8628, and the short one that MSAL sends. Entra
// takes both.
const (
	deviceGrant     = "urn:ietf:params:oauth:grant-type:device_code"
	msalDeviceGrant = "device_code"
)

// readForm reads a body of the token endpoint's kind, or answers.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		fail(w, http.StatusBadRequest, "invalid_request", "AADSTS900144: The request body cannot be read.")
		return nil, false
	}
	if refused := single(r.PostForm); refused != nil {
		fail(w, http.StatusBadRequest, refused.code, refused.text)
		return nil, false
	}
	return r.PostForm, true
}

// serveToken serves the grants of applications and of people.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	form, ok := readForm(w, r)
	if !ok {
		return
	}
	redeem := map[string]func(string, url.Values) (map[string]any, *refusal){
		"authorization_code": s.redeemCode, "refresh_token": s.redeemRefresh,
		deviceGrant: s.redeemDevice, msalDeviceGrant: s.redeemDevice,
	}[form.Get("grant_type")]
	tenant := r.PathValue("tenant")
	switch {
	case form.Get("grant_type") == "client_credentials":
		s.serveClientCredentials(w, r)
		return
	case redeem == nil:
		fail(w, http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: The grant type is not supported.")
		return
	case !publicClient(form.Get("client_id"), tenant):
		fail(w, http.StatusBadRequest, "unauthorized_client", "AADSTS700016: Application was not found in the directory.")
		return
	case form.Has("client_secret") || form.Has("client_assertion"):
		fail(w, http.StatusUnauthorized, "invalid_client", "AADSTS700025: Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
		return
	}
	body, refused := redeem(tenant, form)
	if refused != nil {
		fail(w, http.StatusBadRequest, refused.code, refused.text)
		return
	}
	if form.Get("client_info") != "1" {
		delete(body, "client_info")
	}
	reply(w, http.StatusOK, body)
}

// redeemCode: the code was given to a client that knew the verifier's hash, for
// one redirect address (RFC 7636, section 4.6; RFC 6749, section 4.1.3). The
// code is used up whatever is wrong, so that nobody can try verifiers.
func (s *Server) redeemCode(tenant string, form url.Values) (map[string]any, *refusal) {
	c, refused := s.grants.takeCode(s.now(), form.Get("code"), tenant)
	if refused != nil {
		return nil, refused
	}
	if form.Get("redirect_uri") != c.redirect {
		return nil, &refusal{"invalid_grant", "AADSTS500112: The reply address does not match the reply address provided when requesting the authorization code."}
	}
	digest := sha256.Sum256([]byte(form.Get("code_verifier")))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(digest[:])), []byte(c.challenge)) != 1 {
		return nil, &refusal{"invalid_grant", "AADSTS501481: The Code_Verifier does not match the code_challenge supplied in the authorization request."}
	}
	return s.respond(c.person, c.asked, c.nonce, c.family)
}

func (s *Server) redeemDevice(tenant string, form url.Values) (map[string]any, *refusal) {
	d, refused := s.grants.takeDevice(s.now(), form.Get("device_code"), tenant)
	if refused != nil {
		return nil, refused
	}
	return s.respond(d.person, d.asked, "", &family{})
}

// redeemRefresh renews a token. An authentication context takes a sign-in: the
// client is told so, as by Conditional Access.
func (s *Server) redeemRefresh(tenant string, form url.Values) (map[string]any, *refusal) {
	now, refused := parseAsked(tenant, form)
	if refused != nil {
		return nil, refused
	}
	stepUp := len(now.acrs) > 0
	r, refused := s.grants.takeRefresh(s.now(), form.Get("refresh_token"), tenant, !stepUp)
	if refused != nil {
		return nil, refused
	}
	if stepUp {
		return nil, &refusal{"invalid_grant", "AADSTS50076: You must use multi-factor authentication to access the resource."}
	}
	return s.respond(r.person, now, "", r.family)
}

func (s *Server) respond(p Persona, a asked, nonce string, f *family) (map[string]any, *refusal) {
	body, err := s.signedIn(p, a, nonce, f)
	if err != nil {
		return nil, &refusal{"server_error", "AADSTS90033: A transient error has occurred. Please try again."}
	}
	return body, nil
}

func joinScopes(scopes []string) string { return strings.Join(scopes, " ") }
