package entra

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// codeLife is how long an authorization code waits for its redemption.
const codeLife = time.Minute

// authorization is a request to the authorize endpoint that has been checked.
type authorization struct {
	asked
	redirect, mode, state, nonce, challenge, hint string
}

// serveAuthorize shows who can sign in, and takes the choice: the query is the
// client's request (RFC 6749, section 4.1), the body is the person's answer.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		failPage(w, &refusal{"invalid_request", "AADSTS9002313: Invalid request. The query is malformed."})
		return
	}
	a, refused := parseClient(r.PathValue("tenant"), query)
	if refused != nil {
		// Without a redirect address that is known to be the client's, the
		// person is told and nobody else.
		failPage(w, refused)
		return
	}
	if refused = a.parseRequest(query); refused != nil {
		answer(w, a, url.Values{"error": {refused.code}, "error_description": {refused.text}})
		return
	}
	if r.Method != http.MethodPost {
		signInPage(w, a)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		failPage(w, &refusal{"invalid_request", "AADSTS900144: The request body cannot be read."})
		return
	}
	person, refused := s.choose(a.tenant, r.PostForm)
	if refused != nil {
		answer(w, a, url.Values{"error": {refused.code}, "error_description": {refused.text}})
		return
	}
	answer(w, a, url.Values{"code": {s.grants.addCode(s.now(), &code{authorization: a, person: person})}})
}

// parseClient checks to whom the answer would go.
func parseClient(tenant string, query url.Values) (authorization, *refusal) {
	if !knownTenant(tenant) {
		return authorization{}, &refusal{"invalid_request", "AADSTS90002: Tenant not found."}
	}
	if refused := single(query); refused != nil {
		return authorization{}, refused
	}
	if !publicClient(query.Get("client_id"), tenant) {
		return authorization{}, &refusal{"unauthorized_client", "AADSTS700016: Application was not found in the directory."}
	}
	a := authorization{redirect: query.Get("redirect_uri"), mode: query.Get("response_mode"), state: query.Get("state")}
	a.tenant = tenant
	if !loopback(a.redirect) {
		return authorization{}, &refusal{"invalid_request", "AADSTS50011: The redirect URI specified in the request does not match the redirect URIs configured for the application."}
	}
	if a.mode == "" {
		a.mode = "query"
	}
	if a.mode != "query" && a.mode != "form_post" {
		return authorization{}, &refusal{"invalid_request", "AADSTS9002313: Invalid request. The response_mode is not supported."}
	}
	return a, nil
}

// parseRequest checks what is asked for; the client is told what is wrong.
func (a *authorization) parseRequest(query url.Values) *refusal {
	if query.Get("response_type") != "code" {
		return &refusal{"unsupported_response_type", "AADSTS700054: The response_type is not enabled for the application."}
	}
	got, refused := parseAsked(a.tenant, query)
	if refused != nil {
		return refused
	}
	a.asked, a.nonce, a.challenge, a.hint = got, query.Get("nonce"), query.Get("code_challenge"), query.Get("login_hint")
	digest, err := base64.RawURLEncoding.DecodeString(a.challenge)
	if err != nil || len(digest) != 32 || query.Get("code_challenge_method") != "S256" {
		return &refusal{"invalid_request", "AADSTS50147: The size or the method of the code challenge parameter isn't valid: S256 is required."}
	}
	switch prompt := query.Get("prompt"); prompt {
	case "", "login", "select_account", "consent": // a person answers every time
	case "none":
		return &refusal{"login_required", "AADSTS50058: A silent sign-in request was sent but no user is signed in."}
	default:
		return &refusal{"invalid_request", "AADSTS90023: Unsupported 'prompt' value."}
	}
	return nil
}

// choose reads who answered the sign-in page, and how.
func (s *Server) choose(tenant string, form url.Values) (Persona, *refusal) {
	if form.Has("decline") {
		return Persona{}, &refusal{"access_denied", "AADSTS65004: User declined to consent to access the app."}
	}
	person, ok := s.Persona(form.Get("persona"))
	if !ok {
		return Persona{}, &refusal{"access_denied", "AADSTS50034: The user account does not exist in the directory."}
	}
	if person.Tenant != tenant {
		return Persona{}, &refusal{"access_denied", "AADSTS50020: User account does not exist in the tenant and cannot access the application."}
	}
	return person, nil
}

// peopleOf lists who can sign in to the tenant, the hinted one first.
func peopleOf(tenant, hint string) []Persona {
	people := slices.DeleteFunc(Personas(), func(p Persona) bool { return p.Tenant != tenant })
	slices.SortStableFunc(people, func(a, b Persona) int {
		switch hint {
		case a.username():
			return -1
		case b.username():
			return 1
		}
		return 0
	})
	return people
}
