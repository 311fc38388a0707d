package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/devstack/azurite"
	"secureapi/scripts/devstack/browser"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
	"secureapi/scripts/stage/staging"
	"secureapi/scripts/vaultctl/signin"
)

// machine is a person's, with vaultctl on it, in front of the built handler.
type machine struct {
	t   *testing.T
	env map[string]string
	dir string
	// person sits at the browser, opened counts how often it was started.
	person browser.Person
	opened int
}

// result is what a command leaves.
type result struct {
	out, errs string
	err       error
}

// vaultctl is one run of the program. An access token is printed by the command
// token, and by nothing else.
func (m *machine) vaultctl(args ...string) result {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	var out bytes.Buffer
	errs := &prompts{enter: func(page, code string) {
		if err := m.person.EnterCode(ctx, page, code); err != nil {
			m.t.Error(err)
			cancel()
		}
	}}
	folder := func(name string) func() (string, error) {
		return func() (string, error) { return filepath.Join(m.dir, name), nil }
	}
	err := run(ctx, args, world{
		getenv: func(name string) string { return m.env[name] }, in: strings.NewReader(""), out: &out, errs: errs,
		cacheDir: folder("cache"), keyDir: folder("config"),
		open: func(address string) error {
			m.opened++
			err := m.person.SignIn(ctx, address)
			if err != nil {
				m.t.Error(err)
				cancel()
			}
			return err
		},
	})
	r := result{out.String(), errs.String(), err}
	if all := r.out + r.errs + errorText(err); args[0] != "token" && strings.Contains(all, "eyJ") {
		m.t.Errorf("vaultctl %s prints a token: %s", args[0], all)
	}
	return r
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// prompts is standard error, read by the person.
type prompts struct {
	bytes.Buffer
	enter func(page, code string)
}

func (p *prompts) Write(text []byte) (int, error) {
	if words := strings.Fields(string(text)); len(words) > 9 && words[8] == "code" {
		p.enter(words[1], words[9])
	}
	return p.Buffer.Write(text)
}

// startMachine runs the stack with the handler as it is deployed.
func startMachine(t *testing.T) (*machine, *stack.Stack) {
	t.Helper()
	root, err := azurite.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	dist := filepath.Join(t.TempDir(), "dist")
	if err := staging.Stage(t.Context(), staging.Options{Root: root, Out: dist, Log: io.Discard}); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Start(t.Context(), stack.Options{
		Dir: t.TempDir(), InMemory: true, Bootstrap: provision.Keyring, Host: &stack.Host{Dir: dist},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &machine{t: t, env: s.ToolEnv(), dir: t.TempDir(), person: browser.Person{Client: http.DefaultClient}}, s
}

// signIn leaves the persona signed in.
func (m *machine) signIn(persona string, flags ...string) {
	m.t.Helper()
	m.person.Persona, m.person.Decline = persona, false
	r := m.vaultctl(append([]string{"login"}, flags...)...)
	if r.err != nil || !strings.Contains(r.out, "Signed in as "+persona+"@dev.example") {
		m.t.Fatalf("login: %+v", r)
	}
	m.opened = 0
}

const (
	pan    = "4111111111111111"
	reveal = "/api/v1/tokens/reveal"
)

// TestStepUp is a person's whole way: values go in by one person, and another
// one reveals a card number, for which the API wants a fresh second factor.
func TestStepUp(t *testing.T) {
	m, s := startMachine(t)
	if r := m.vaultctl("call", "GET", "/api/v1/keys"); !errors.Is(r.err, signin.ErrNeeded) || !strings.Contains(r.err.Error(), "vaultctl login") {
		t.Errorf("before: %+v", r)
	}
	m.signIn("writer", "-device")
	m.env["API_CLIENT_ID"] = "" // the rest is remembered
	stored := m.vaultctl("call", "-data", `{"class":"pan","value":"`+pan+`"}`, "POST", "/api/v1/tokens")
	var token struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(stored.out), &token); err != nil || stored.err != nil || token.Token == "" {
		t.Fatalf("%+v, %v", stored, err)
	}
	body := `{"tokens":["` + token.Token + `"],"purpose":"fraud-review","reason":"CASE-2026-0042"}`
	if r := m.vaultctl("call", "POST", reveal, "-data", body); r.err == nil || !strings.Contains(r.err.Error(), "403") || m.opened > 0 {
		t.Errorf("a writer reveals: %+v", r)
	}

	m.signIn("revealer-no-step-up")
	m.person.Decline = true
	if r := m.vaultctl("call", "POST", reveal, "-data", body); r.err == nil || !strings.Contains(r.err.Error(), "AADSTS65004") || strings.Contains(r.out, pan) {
		t.Errorf("declined: %+v", r)
	}
	m.person.Decline, m.person.Persona = false, "revealer"
	if r := m.vaultctl("call", "POST", reveal, "-data", body); !errors.Is(r.err, signin.ErrAnotherPerson) || strings.Contains(r.out, pan) {
		t.Errorf("another revealer steps up: %+v", r)
	}
	m.person.Persona, m.opened = "revealer-no-step-up", 0
	r := m.vaultctl("call", "POST", reveal, "-data", body)
	if r.err != nil || !strings.Contains(r.out, pan) || !strings.Contains(r.errs, "second factor") || m.opened != 1 {
		t.Errorf("stepped up: %+v", r)
	}
	if r := m.vaultctl("call", "POST", reveal, "-data", body); r.err != nil || !strings.Contains(r.out, pan) || m.opened != 1 {
		t.Errorf("at once again: %+v", r)
	}

	m.signIn("revealer-no-step-up", "-device")
	if r := m.vaultctl("call", "-device", "POST", reveal, "-data", body); r.err != nil || !strings.Contains(r.out, pan) || m.opened > 0 {
		t.Errorf("by device code: %+v", r)
	}
	t.Run("token and logout", func(t *testing.T) { testTokenAndLogout(t, m) })
	t.Run("repeats once", func(t *testing.T) { testRepeatsOnce(t, m, s) })
}

func testTokenAndLogout(t *testing.T, m *machine) {
	r := m.vaultctl("token")
	if r.err != nil || strings.Count(r.out, ".") != 2 || strings.Count(r.out, "\n") != 1 || r.errs != "" {
		t.Errorf("%+v", r)
	}
	if r := m.vaultctl("logout"); r.err != nil || !strings.Contains(r.out, "revealer-no-step-up@dev.example") {
		t.Errorf("%+v", r)
	}
	if r := m.vaultctl("token"); !errors.Is(r.err, signin.ErrNeeded) || r.out != "" {
		t.Errorf("afterwards: %+v", r)
	}
}

// testRepeatsOnce: an API that is never satisfied does not keep the person
// signing in, and the second request is the first one again.
func testRepeatsOnce(t *testing.T, m *machine, s *stack.Stack) {
	type seen struct{ method, target, body, key, authorization string }
	var mu sync.Mutex
	var requests []seen
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		requests = append(requests, seen{r.Method, r.URL.String(), string(body), r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization")})
		mu.Unlock()
		claims := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`))
		w.Header().Set("WWW-Authenticate", `Bearer realm="", error="insufficient_claims", claims="`+claims+`"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	m.env = s.ToolEnv()
	m.signIn("revealer")
	r := m.vaultctl("call", "-url", server.URL, "POST", "/a?b=c", "-data", "body")
	if r.err == nil || !strings.Contains(r.err.Error(), "401") || len(requests) != 2 || m.opened != 1 {
		t.Fatalf("%+v after %d requests and %d sign-ins", r, len(requests), m.opened)
	}
	if requests[0].authorization == requests[1].authorization || requests[0].key == "" {
		t.Error("the repeated request carries the refused token, or no key")
	}
	requests[0].authorization, requests[1].authorization = "", ""
	if diff := cmp.Diff(requests[0], requests[1], cmp.AllowUnexported(seen{})); diff != "" {
		t.Error(diff)
	}
}
