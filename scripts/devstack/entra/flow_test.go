package entra_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secureapi/scripts/devstack/entra"
)

const redirect = "http://localhost:4711"

// shifted is an issuer whose clock the tests move. It is one for all tests, so
// that they do not run in parallel.
var (
	ahead   atomic.Int64
	shifted = sync.OnceValues(func() (*entra.Server, error) {
		return entra.New(entra.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	})
)

// forward moves the clock, until the end of the test.
func forward(t *testing.T, by time.Duration) {
	t.Helper()
	ahead.Add(int64(by))
	t.Cleanup(func() { ahead.Store(0) })
}

// flow is the protocol without MSAL: each step can be wrong.
type flow struct {
	t      *testing.T
	server *entra.Server
}

func newFlow(t *testing.T) flow {
	t.Helper()
	s, err := shifted()
	if err != nil {
		t.Fatal(err)
	}
	return flow{t, s}
}

func (f flow) do(method, target string, form url.Values) *httptest.ResponseRecorder {
	f.t.Helper()
	req := httptest.NewRequestWithContext(f.t.Context(), method, target, strings.NewReader(form.Encode()))
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	recorder := httptest.NewRecorder()
	f.server.ServeHTTP(recorder, req)
	return recorder
}

const base = "/" + entra.HomeTenant + "/oauth2/v2.0/"

// verifier is one that a client would draw (RFC 7636, section 4.1).
var verifier = rand.Text() + rand.Text()

func request(change url.Values) url.Values {
	digest := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"client_id": {entra.ToolClientID}, "response_type": {"code"}, "redirect_uri": {redirect}, "state": {"s"},
		"scope": {apiScope + " openid offline_access profile"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])},
	}
	maps.Copy(query, change)
	return query
}

// code signs a person in and gives the code, by response_mode=query.
func (f flow) code(query url.Values) string {
	f.t.Helper()
	answer := f.do(http.MethodPost, base+"authorize?"+query.Encode(), url.Values{"persona": {"writer"}})
	location, err := url.Parse(answer.Header().Get("Location"))
	if err != nil || answer.Code != http.StatusFound || location.Query().Get("state") != "s" || location.Query().Get("code") == "" {
		f.t.Fatalf("%d %s %v", answer.Code, answer.Header(), err)
	}
	return location.Query().Get("code")
}

// tokens is the answer of the token endpoint.
type tokens struct {
	status                                                int
	Error, Access, Refresh, ID, ClientInfo, Scope, Detail string
}

func (f flow) token(target string, form url.Values) tokens {
	f.t.Helper()
	answer := f.do(http.MethodPost, target, form)
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Access      string `json:"access_token"`
		Refresh     string `json:"refresh_token"`
		ID          string `json:"id_token"`
		ClientInfo  string `json:"client_info"`
		Scope       string `json:"scope"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		f.t.Fatal(err)
	}
	detail, _, _ := strings.Cut(body.Description, ":")
	return tokens{answer.Code, body.Error, body.Access, body.Refresh, body.ID, body.ClientInfo, body.Scope, detail}
}

func redemption(code string, change url.Values) url.Values {
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {entra.ToolClientID}, "code": {code},
		"redirect_uri": {redirect}, "code_verifier": {verifier},
	}
	maps.Copy(form, change)
	return form
}

func renewal(refresh string, change url.Values) url.Values {
	form := url.Values{
		"grant_type": {"refresh_token"}, "client_id": {entra.ToolClientID}, "refresh_token": {refresh},
		"scope": {apiScope + " openid offline_access"},
	}
	maps.Copy(form, change)
	return form
}

func (f flow) wantRefused(what string, got tokens, code, detail string) {
	f.t.Helper()
	if got.status != http.StatusBadRequest || got.Error != code || got.Detail != detail || got.Access+got.Refresh+got.ID != "" {
		f.t.Errorf("%s: %+v, want %s %s", what, got, code, detail)
	}
}
