package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/vaultctl/signin"
)

func TestAddressIsTheAPIs(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/keys":             "https://api.example/api/v1/keys",
		"/a?b=https://evil.test/c": "https://api.example/a?b=https://evil.test/c",
		"/a/@evil.test":            "https://api.example/a/@evil.test",
		"/a%2fb":                   "https://api.example/a%2fb",
	} {
		if got, err := address("https://api.example", path); got != want || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{
		"", "api", "//evil.test/a", "https://evil.test/a", "@evil.test/a", ":8080/a", "/\\evil.test", "\\\\evil.test", "/a#b", "/a\nb", "/%zz", "?a", " /a",
	} {
		if got, err := address("https://api.example", path); err == nil {
			t.Errorf("%q leads to %s", path, got)
		}
	}
	for _, base := range []string{
		"", "api.example", "http://api.example", "http://127.0.0.1.evil.test", "http://localhost.evil.test", "ftp://127.0.0.1", "https://",
		"https://user@api.example", "https://api.example/path", "https://api.example?q", "https://api.example#f", "http://127.0.0.1@evil.test", "http://10.0.0.1",
	} {
		if got, err := address(base, "/a"); err == nil {
			t.Errorf("%q leads to %s", base, got)
		}
	}
	for _, base := range []string{"http://127.0.0.1:7071", "http://localhost:7071/", "http://[::1]:7071", "https://api.example:8443"} {
		if _, err := address(base, "/a"); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func newSession(t *testing.T, url string) *session {
	t.Helper()
	transport, err := azure.NewTransport("", func(string) string { return "" }, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	return &session{transport: transport, settings: settings{URL: url}}
}

// TestTokenStaysWithTheAPI: neither a redirect nor a target that was made for
// another address takes the token along.
func TestTokenStaysWithTheAPI(t *testing.T) {
	var stolen []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen = append(stolen, r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Error("the API gets no token")
		}
		w.Header().Set("Location", thief.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	defer api.Close()
	s := newSession(t, api.URL)
	token := signin.Token{Access: "secret"}
	answer, err := s.send(t.Context(), outgoing{method: http.MethodPost, target: api.URL + "/a", body: []byte("x")}, token)
	if err != nil || answer.status != http.StatusTemporaryRedirect {
		t.Errorf("%d, %v", answer.status, err)
	}
	if err := answer.write(world{out: io.Discard}); err == nil {
		t.Error("a redirect counts as success")
	}
	if _, err := s.send(t.Context(), outgoing{method: http.MethodGet, target: thief.URL + "/a"}, token); err == nil {
		t.Error("another address was asked")
	}
	if len(stolen) > 0 {
		t.Errorf("%d requests came elsewhere", len(stolen))
	}
}

func TestAnswersAreBounded(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, maxAnswer+1))
	}))
	defer api.Close()
	if _, err := newSession(t, api.URL).send(t.Context(), outgoing{method: http.MethodGet, target: api.URL + "/"}, signin.Token{}); err == nil {
		t.Error("an endless answer was read")
	}
}

// TestAnUnverifiedServerGetsNoToken: the API's name alone does not make it the
// API.
func TestAnUnverifiedServerGetsNoToken(t *testing.T) {
	trusted, err := ca.New("api.example")
	if err != nil {
		t.Fatal(err)
	}
	other, err := ca.New("api.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		authority *ca.CA
		asked     int
	}{"trusted": {trusted, 1}, "another's certificate": {other, 0}} {
		var asked int
		api := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
		api.TLS = tt.authority.ServerTLS()
		api.StartTLS()
		file, err := json.Marshal(map[string]any{"rootsPem": trusted.RootsPEM(), "hosts": map[string]string{"api.example": api.Listener.Addr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "transport.json")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSession(t, "https://api.example")
		if s.transport, err = azure.NewTransport(path, func(string) string { return "" }, clock.System); err != nil {
			t.Fatal(err)
		}
		_, err = s.send(t.Context(), outgoing{method: http.MethodGet, target: "https://api.example/"}, signin.Token{Access: "secret"})
		api.Close()
		if (err == nil) != (tt.asked > 0) || asked != tt.asked || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: asked %d times, %v", name, asked, err)
		}
	}
}

// TestSignInArguments: every problem at once, and nothing asked of anybody.
func TestSignInArguments(t *testing.T) {
	const guid = "7d1b9f04-3c5e-4e2a-b6a7-90c4d2e81f33"
	good := []string{"-tenant", guid, "-client", guid, "-api", guid}
	for name, tt := range map[string]struct {
		args []string
		text []string
	}{
		"nothing":           {nil, []string{"-tenant", "-client", "-api"}},
		"a tenant's name":   {append([]string{"login"}, append(good, "-tenant", "contoso")...), []string{"-tenant"}},
		"all":               {append([]string{"login"}, append(good, "-tenant", "common")...), []string{"-tenant"}},
		"plain authority":   {append([]string{"login"}, append(good, "-authority", "http://login.example")...), []string{"-authority"}},
		"a scope with more": {append([]string{"login"}, append(good, "-scope", "Vault.Access openid")...), []string{"-scope"}},
		"a plain API":       {append([]string{"login"}, append(good, "-url", "http://api.example")...), []string{"-url"}},
		"an unknown flag":   {append([]string{"login"}, append(good, "-secret", "x")...), []string{"-secret"}},
		"something more":    {append([]string{"login"}, append(good, "now")...), []string{"usage"}},
		"token with more":   {append([]string{"token"}, append(good, "now")...), []string{"usage"}},
		"no path":           {append([]string{"call"}, append(good, "GET")...), []string{"usage"}},
		"no address":        {append([]string{"call"}, append(good, "GET", "/a")...), []string{"API_URL"}},
		"a lower method":    {append([]string{"call"}, append(good, "-url", "https://api.example", "get", "/a")...), []string{"method"}},
		"no such file":      {append([]string{"call"}, append(good, "-url", "https://api.example", "-data", "@/no/such", "PUT", "/a")...), []string{"body"}},
		"another's path":    {append([]string{"call"}, append(good, "-url", "https://api.example", "GET", "//evil.test")...), []string{"path"}},
	} {
		args := tt.args
		if args == nil {
			args = []string{"login"}
		}
		dir := t.TempDir()
		folder := func() (string, error) { return dir, nil }
		var errs bytes.Buffer
		err := run(t.Context(), args, world{
			getenv: func(string) string { return "" }, in: strings.NewReader(""), out: io.Discard, errs: &errs,
			cacheDir: func() (string, error) { return filepath.Join(dir, "cache"), nil }, keyDir: folder,
			open: func(string) error { t.Errorf("%s: the browser was started", name); return nil },
		})
		if err == nil {
			t.Errorf("%s was taken", name)
			continue
		}
		for _, want := range tt.text {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
	}
}
