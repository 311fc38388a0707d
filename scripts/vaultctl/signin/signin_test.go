package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"secureapi/scripts/devstack/browser"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/fault"
	"secureapi/scripts/vaultctl/signin"
	"secureapi/scripts/vaultctl/tokencache"
)

func TestBrowserSignInIsKept(t *testing.T) {
	w := newWorld(t)
	if _, err := w.process().Silent(t.Context()); !errors.Is(err, signin.ErrNeeded) {
		t.Errorf("before: %v", err)
	}
	token := w.signIn("revealer")
	got := claims(t, token)
	if token.Person != "revealer@dev.example" || got["scp"] != entra.Scope || fmt.Sprint(got["xms_cc"]) != "[cp1]" || got["acrs"] != nil {
		t.Errorf("%s with %v", token, got)
	}
	query, err := url.Parse(w.opened[0])
	if err != nil || query.Query().Get("code_challenge_method") != "S256" || query.Query().Get("prompt") != "select_account" ||
		!strings.HasPrefix(query.Query().Get("redirect_uri"), "http://localhost:") {
		t.Errorf("opened %s, %v", w.opened[0], err)
	}
	again, err := w.process().Silent(t.Context())
	if err != nil || again.Access != token.Access || again.Person != token.Person {
		t.Errorf("another process: %s, %v", again, err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", token, token, token, []signin.Token{token}); strings.Contains(text, "eyJ") {
		t.Errorf("the token prints itself: %s", text)
	}
	kept(t, w, token)
}

// kept finds nothing of the token in what is on disk.
func kept(t *testing.T, w *world, token signin.Token) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.options.CacheDir, "*.cache"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil || strings.Contains(string(data), token.Access[:20]) || strings.Contains(string(data), "revealer") {
		t.Errorf("on disk: %q, %v", data, err)
	}
}

func TestDeviceSignIn(t *testing.T) {
	w := newWorld(t)
	token, err := w.process().SignIn(w.ctx, w.elsewhere(browser.Person{Persona: "writer"}))
	if err != nil || token.Person != "writer@dev.example" || len(w.opened) > 0 {
		t.Fatalf("%s, %v", token, err)
	}
	if again, err := w.process().Silent(t.Context()); err != nil || again.Access != token.Access {
		t.Errorf("%s, %v", again, err)
	}
	noSecret(t, strings.Join(w.said, "\n"))
	if _, err := w.process().SignIn(w.ctx, w.elsewhere(browser.Person{Decline: true})); err == nil || !strings.Contains(err.Error(), "AADSTS65004") {
		t.Errorf("declined: %v", err)
	}
}

// TestSilentRefresh: each answer brings the next refresh token, and the issuer
// takes each one once, so that a token that was not kept would end it all.
func TestSilentRefresh(t *testing.T) {
	w := newWorld(t)
	token, err := w.shortLived().SignIn(w.ctx, w.as(browser.Person{Persona: "reader"}))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		next, err := w.shortLived().Silent(t.Context())
		if err != nil || next.Access == token.Access || next.Person != token.Person {
			t.Fatalf("%s, %v", next, err)
		}
		token = next
	}
	w.issuer.RevokeSessions()
	_, err = w.shortLived().Silent(t.Context())
	if !errors.Is(err, signin.ErrNeeded) || !strings.Contains(err.Error(), "AADSTS50173") {
		t.Errorf("revoked: %v", err)
	}
	noSecret(t, err.Error())
}

// TestProcessesDoNotRedeemOneTokenTwice: the issuer would take a second
// redemption for a theft, and end the sign-in.
func TestProcessesDoNotRedeemOneTokenTwice(t *testing.T) {
	w := newWorld(t)
	if _, err := w.shortLived().SignIn(w.ctx, w.as(browser.Person{Persona: "reader"})); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		process := w.shortLived()
		group.Go(func() {
			if _, err := process.Silent(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestSatisfyingAChallenge(t *testing.T) {
	w := newWorld(t)
	if _, err := w.process().Satisfy(w.ctx, w.as(browser.Person{Persona: "revealer"}), stepUp); !errors.Is(err, signin.ErrNeeded) {
		t.Errorf("with nobody signed in: %v", err)
	}
	before := w.signIn("revealer")
	token, err := w.process().Satisfy(w.ctx, w.as(browser.Person{Persona: "revealer"}), stepUp)
	if err != nil {
		t.Fatal(err)
	}
	if got := claims(t, token); fmt.Sprint(got["acrs"]) != "[c1]" || fmt.Sprint(got["xms_cc"]) != "[cp1]" || token.Access == before.Access {
		t.Errorf("%v", got)
	}
	last, err := url.Parse(w.opened[len(w.opened)-1])
	if err != nil || last.Query().Get("prompt") != "login" || last.Query().Get("login_hint") != "revealer@dev.example" ||
		!strings.Contains(last.Query().Get("claims"), `"acrs"`) {
		t.Errorf("opened %s, %v", last, err)
	}
	if again, err := w.process().Silent(t.Context()); err != nil || again.Access != token.Access {
		t.Errorf("the stepped-up token is not kept: %v", err)
	}
	byDevice, err := w.process().Satisfy(w.ctx, w.elsewhere(browser.Person{Persona: "revealer"}), stepUp)
	if err != nil || fmt.Sprint(claims(t, byDevice)["acrs"]) != "[c1]" {
		t.Errorf("by device code: %v", err)
	}

	if _, err := w.process().Satisfy(w.ctx, w.as(browser.Person{Persona: "approver"}), stepUp); !errors.Is(err, signin.ErrAnotherPerson) {
		t.Errorf("another person: %v", err)
	}
	if people, err := w.process().SignOut(t.Context()); err != nil || len(people) != 1 || people[0] != "revealer@dev.example" {
		t.Errorf("kept for %v, %v", people, err)
	}
}

func TestOnePersonAtATime(t *testing.T) {
	w := newWorld(t)
	w.signIn("writer")
	w.signIn("auditor")
	if token, err := w.process().Silent(t.Context()); err != nil || token.Person != "auditor@dev.example" {
		t.Errorf("%s, %v", token, err)
	}
	people, err := w.process().SignOut(t.Context())
	if err != nil || len(people) != 1 || people[0] != "auditor@dev.example" {
		t.Errorf("signed out %v, %v", people, err)
	}
	if _, err := w.process().Silent(t.Context()); !errors.Is(err, signin.ErrNeeded) {
		t.Errorf("afterwards: %v", err)
	}
	for _, dir := range []string{w.options.CacheDir, w.options.KeyDir} {
		for _, pattern := range []string{"*.cache", "*.key"} {
			if left, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
		}
	}
	if people, err := w.process().SignOut(t.Context()); err != nil || len(people) > 0 {
		t.Errorf("again: %v, %v", people, err)
	}
}

// TestTamperedCache: a cache that was altered is told, never used and never a
// crash; a sign-in begins anew.
func TestTamperedCache(t *testing.T) {
	w := newWorld(t)
	w.signIn("writer")
	files, err := filepath.Glob(filepath.Join(w.options.CacheDir, "*.cache"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.process().Silent(t.Context()); !errors.Is(err, tokencache.ErrDamaged) {
		t.Errorf("silently: %v", err)
	}
	w.opened = nil
	if _, err := w.process().SignIn(w.ctx, w.as(browser.Person{Persona: "writer"})); !errors.Is(err, tokencache.ErrDamaged) || w.opened != nil {
		t.Errorf("before the person is asked: %v, opened %v", err, w.opened)
	}
	if err := w.process().Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.signIn("writer")
	data[0] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.process().SignOut(t.Context()); err != nil {
		t.Errorf("signing out: %v", err)
	}
	if _, err := os.Stat(files[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged cache is left: %v", err)
	}
}

func TestSignInFails(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct {
		client string
		person browser.Person
		text   string
	}{
		"declined":       {entra.ToolClientID, browser.Person{Decline: true}, "AADSTS65004"},
		"another state":  {entra.ToolClientID, browser.Person{Persona: "writer", Tamper: func(v url.Values) { v.Set("state", "1.x") }}, "does not belong"},
		"no state":       {entra.ToolClientID, browser.Person{Persona: "writer", Tamper: func(v url.Values) { v.Del("state") }}, "does not belong"},
		"a guessed code": {entra.ToolClientID, browser.Person{Persona: "writer", Tamper: func(v url.Values) { v.Set("code", "1.x") }}, "AADSTS70000"},
	} {
		_, err := w.processOf(tt.client, w.client).SignIn(w.ctx, w.as(tt.person))
		if err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, want %s", name, err, tt.text)
			continue
		}
		noSecret(t, err.Error())
	}
	_, err := w.processOf(entra.HandlerClientID, w.client).SignIn(w.ctx, w.elsewhere(browser.Person{}))
	if err == nil || !strings.Contains(err.Error(), "AADSTS700016") {
		t.Errorf("a client that is not public: %v", err)
	}
	if _, err := w.process().SignIn(ended(), w.as(browser.Person{Persona: "writer"})); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := w.process().Silent(t.Context()); !errors.Is(err, signin.ErrNeeded) {
		t.Errorf("something was kept: %v", err)
	}
}

// TestAuthorityDown: what does not answer is told as that, not as a reason to
// sign in again.
func TestAuthorityDown(t *testing.T) {
	w := newWorld(t)
	if _, err := w.shortLived().SignIn(w.ctx, w.as(browser.Person{Persona: "writer"})); err != nil {
		t.Fatal(err)
	}
	w.issuer.Faults.Set(fault.Fault{Operation: "token", Status: http.StatusServiceUnavailable})
	defer w.issuer.Faults.Clear()
	_, err := w.shortLived().Silent(t.Context())
	if err == nil || errors.Is(err, signin.ErrNeeded) || !strings.Contains(err.Error(), "AADSTS90033") {
		t.Errorf("503: %v", err)
	}
	noSecret(t, err.Error())
	w.issuer.Faults.Clear()
	if _, err := w.shortLived().Silent(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	nowhere := *w.client
	nowhere.Transport = refusing{}
	_, err = w.processOf(entra.ToolClientID, &nowhere).SignIn(w.ctx, w.as(browser.Person{Persona: "writer"}))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody listens: %v", err)
	}
}

type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("a secret text of somebody")
}

// TestSignInPageMustBeGuarded: discovery cannot send the person's browser, or
// the device code, to a page without TLS.
func TestSignInPageMustBeGuarded(t *testing.T) {
	w := newWorld(t)
	for _, page := range []string{"http://login.example", "http://localhost.example", "file:///etc", "javascript:alert(1)", "https://user@login.example"} {
		w.issuer.ServePagesAt(page)
		for _, way := range []signin.Way{w.as(browser.Person{Persona: "writer"}), {Device: true, Loopback: true, Say: func(string) { t.Errorf("%s was shown", page) }}} {
			if _, err := w.process().SignIn(w.ctx, way); err == nil {
				t.Errorf("%s was taken", page)
			}
		}
	}
	w.issuer.ServePagesAt("http://127.0.0.1:1")
	way := w.as(browser.Person{Persona: "writer"})
	way.Loopback = false
	if _, err := w.process().SignIn(w.ctx, way); err == nil {
		t.Error("a loopback page was taken outside the local stack")
	}
	if len(w.opened) > 0 {
		t.Errorf("opened %v", w.opened)
	}
}

func TestWithoutABrowserTheAddressIsTold(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	way := signin.Way{
		Loopback: true, Open: func(string) error { return errors.New("starting xdg-open: not found") },
		Say: func(text string) {
			w.said = append(w.said, text)
			cancel()
		},
	}
	if _, err := w.process().SignIn(ctx, way); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if len(w.said) != 1 || !strings.Contains(w.said[0], "/oauth2/v2.0/authorize?") || !strings.Contains(w.said[0], "-device") {
		t.Errorf("said %q", w.said)
	}
}
