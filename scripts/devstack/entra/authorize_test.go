package entra_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"secureapi/scripts/devstack/browser"
	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/entra"
)

// TestAuthorizeRefuses: what is wrong with the client or its address is shown to
// the person only; what is wrong with the request goes back to the client.
func TestAuthorizeRefuses(t *testing.T) {
	f := newFlow(t)
	for name, tt := range map[string]struct {
		change url.Values
		detail string
		page   bool
	}{
		"another client":        {url.Values{"client_id": {entra.HandlerClientID}}, "AADSTS700016", true},
		"another host":          {url.Values{"redirect_uri": {"http://evil.example"}}, "AADSTS50011", true},
		"a host like loopback":  {url.Values{"redirect_uri": {"http://localhost.evil.example:1"}}, "AADSTS50011", true},
		"user before the host":  {url.Values{"redirect_uri": {"http://localhost@evil.example"}}, "AADSTS50011", true},
		"user at loopback":      {url.Values{"redirect_uri": {"http://evil@localhost:1"}}, "AADSTS50011", true},
		"another loopback":      {url.Values{"redirect_uri": {"http://127.0.0.2:1"}}, "AADSTS50011", true},
		"another scheme":        {url.Values{"redirect_uri": {"https://localhost:1"}}, "AADSTS50011", true},
		"a script":              {url.Values{"redirect_uri": {"javascript:alert(1)//localhost"}}, "AADSTS50011", true},
		"a path":                {url.Values{"redirect_uri": {redirect + "/path"}}, "AADSTS50011", true},
		"a query":               {url.Values{"redirect_uri": {redirect + "?x=1"}}, "AADSTS50011", true},
		"no redirect":           {url.Values{"redirect_uri": {""}}, "AADSTS50011", true},
		"a redirect twice":      {url.Values{"redirect_uri": {redirect, "http://evil.example"}}, "AADSTS9000411", true},
		"fragment":              {url.Values{"response_mode": {"fragment"}}, "AADSTS9002313", true},
		"implicit":              {url.Values{"response_type": {"token"}}, "AADSTS700054", false},
		"no challenge":          {url.Values{"code_challenge": {""}}, "AADSTS50147", false},
		"plain challenge":       {url.Values{"code_challenge_method": {"plain"}}, "AADSTS50147", false},
		"no method":             {url.Values{"code_challenge_method": {""}}, "AADSTS50147", false},
		"short challenge":       {url.Values{"code_challenge": {"abcd"}}, "AADSTS50147", false},
		"silent":                {url.Values{"prompt": {"none"}}, "AADSTS50058", false},
		"unknown prompt":        {url.Values{"prompt": {"loud"}}, "AADSTS90023", false},
		"no resource":           {url.Values{"scope": {"openid"}}, "AADSTS70011", false},
		"two resources":         {url.Values{"scope": {apiScope + " " + entra.APIClientID + "/.default"}}, "AADSTS70011", false},
		"another resource":      {url.Values{"scope": {"https://graph.microsoft.com/.default"}}, "AADSTS500011", false},
		"another scope":         {url.Values{"scope": {entra.APIAppIDURI + "/Vault.All"}}, "AADSTS650053", false},
		"claims that are none":  {url.Values{"claims": {"{"}}, "AADSTS9002313", false},
		"an unknown context":    {url.Values{"claims": {strings.Replace(stepUp, "c1", "c2", 1)}}, "AADSTS9002313", false},
		"an unknown person":     {nil, "AADSTS50034", false},
		"a person from outside": {nil, "AADSTS50020", false},
	} {
		persona := map[string]string{"an unknown person": "root", "a person from outside": "other-writer"}[name]
		if persona == "" {
			persona = "writer"
		}
		got := f.do(http.MethodPost, base+"authorize?"+request(tt.change).Encode(), url.Values{"persona": {persona}})
		if tt.page {
			if got.Code != http.StatusBadRequest || got.Header().Get("Location") != "" || !strings.Contains(got.Body.String(), tt.detail) {
				t.Errorf("%s: %d %v %s", name, got.Code, got.Header(), got.Body)
			}
			continue
		}
		location, err := url.Parse(got.Header().Get("Location"))
		if err != nil || !strings.HasPrefix(location.String(), redirect+"?") || location.Query().Get("state") != "s" || location.Query().Has("code") ||
			!strings.HasPrefix(location.Query().Get("error_description"), tt.detail+":") {
			t.Errorf("%s: %d %s %v", name, got.Code, location, err)
		}
	}
	for _, other := range []string{"http://127.0.0.1:1", "http://localhost:65535/", "http://localhost"} {
		if got := f.do(http.MethodGet, base+"authorize?"+request(url.Values{"redirect_uri": {other}}).Encode(), nil); got.Code != http.StatusOK {
			t.Errorf("%s: %d", other, got.Code)
		}
	}
}

// TestPagesStandAlone: on the plain port there are pages and nothing else, for a
// browser that came there on purpose.
func TestPagesStandAlone(t *testing.T) {
	f := newFlow(t)
	server := httptest.NewServer(f.server.Pages())
	defer server.Close()
	ask := func(method, target string, change func(*http.Request)) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+target, strings.NewReader("persona=writer"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		change(req)
		resp, err := (&http.Transport{}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	page := base + "authorize?" + request(nil).Encode()
	as := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	if got := ask(http.MethodPost, page, as("Sec-Fetch-Site", "same-origin")); got.StatusCode != http.StatusFound {
		t.Errorf("the page's own form: %d", got.StatusCode)
	}
	if got := ask(http.MethodPost, page, as("Sec-Fetch-Site", "cross-site")); got.StatusCode != http.StatusForbidden {
		t.Errorf("another site's form: %d", got.StatusCode)
	}
	if got := ask(http.MethodGet, page, func(r *http.Request) { r.Host = "evil.example" }); got.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("another name: %d", got.StatusCode)
	}
	if got := ask(http.MethodPost, base+"token", func(*http.Request) {}); got.StatusCode != http.StatusNotFound {
		t.Errorf("token endpoint: %d", got.StatusCode)
	}
	got := ask(http.MethodGet, page, func(*http.Request) {})
	policy := got.Header.Get("Content-Security-Policy")
	if got.StatusCode != http.StatusOK || got.Header.Get("X-Frame-Options") != "DENY" || !strings.Contains(policy, "default-src 'none'") ||
		!strings.Contains(policy, "form-action 'self' "+redirect) {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
}

// TestDiscoveryNamesThePages: a browser is sent to where it can go.
func TestDiscoveryNamesThePages(t *testing.T) {
	s, err := entra.New(entra.Options{})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ca.New("login.microsoftonline.com")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	server.TLS = authority.ServerTLS()
	server.StartTLS()
	defer server.Close()
	pages := httptest.NewServer(s.Pages())
	defer pages.Close()
	s.ServePagesAt(pages.URL)
	client := ca.Client(authority.Pool(), map[string]string{"login.microsoftonline.com": server.Listener.Addr().String()})
	defer client.CloseIdleConnections()
	var opened string
	person := browser.Person{Client: http.DefaultClient, Persona: "reader"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := publicApp(t, client).AcquireTokenInteractive(ctx, []string{apiScope}, public.WithOpenURL(func(address string) error {
		opened = address
		return person.SignIn(ctx, address)
	}))
	if err != nil || got.AccessToken == "" || !strings.HasPrefix(opened, pages.URL+"/"+entra.HomeTenant+"/oauth2/v2.0/authorize?") {
		t.Errorf("opened %s: %v", opened, err)
	}
}
