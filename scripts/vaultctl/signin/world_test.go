package signin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"secureapi/scripts/devstack/browser"
	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/vaultctl/signin"
	"secureapi/scripts/vaultctl/tokencache"
)

const (
	authority = entra.Authority + "/" + entra.HomeTenant
	apiScope  = entra.APIClientID + "/" + entra.Scope
	stepUp    = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
)

// issuers is made once: its RSA keys take a while.
var issuers = sync.OnceValues(func() (*entra.Server, error) { return entra.New(entra.Options{}) })

// world is an issuer, and a machine with a person's folders on it.
type world struct {
	t *testing.T
	// ctx ends when the person fails: nobody would answer any more.
	ctx     context.Context //nolint:containedctx // of the test, not of a call
	cancel  context.CancelFunc
	issuer  *entra.Server
	client  *http.Client
	options tokencache.Options
	// opened are the addresses that the browser was sent to, said what the person
	// was told.
	opened, said []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	issuer, err := issuers()
	if err != nil {
		t.Fatal(err)
	}
	local, err := ca.New("login.microsoftonline.com")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(issuer)
	server.TLS = local.ServerTLS()
	server.StartTLS()
	t.Cleanup(server.Close)
	pages := httptest.NewServer(issuer.Pages())
	t.Cleanup(pages.Close)
	issuer.ServePagesAt(pages.URL)
	client := ca.Client(local.Pool(), map[string]string{"login.microsoftonline.com": server.Listener.Addr().String()})
	t.Cleanup(client.CloseIdleConnections)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &world{t: t, ctx: ctx, cancel: cancel, issuer: issuer, client: client, options: tokencache.Options{
		CacheDir: filepath.Join(dir, "cache"), KeyDir: filepath.Join(dir, "keys"), Authority: authority, ClientID: entra.ToolClientID, Local: true,
	}}
}

// process is a new one on the same machine.
func (w *world) process() *signin.Client {
	w.t.Helper()
	return w.processOf(entra.ToolClientID, w.client)
}

func (w *world) processOf(clientID string, client *http.Client) *signin.Client {
	w.t.Helper()
	file, err := tokencache.Open(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := signin.New(signin.Options{Authority: authority, ClientID: clientID, Scope: apiScope, HTTP: client, Cache: file})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// as is the way of a person at this machine's browser.
func (w *world) as(person browser.Person) signin.Way {
	person.Client = http.DefaultClient
	return signin.Way{
		Loopback: true,
		Open: func(address string) error {
			w.opened = append(w.opened, address)
			err := person.SignIn(w.ctx, address)
			if err != nil && person.Tamper == nil {
				w.t.Error(err)
				w.cancel()
			}
			return err
		},
		Say: func(text string) { w.said = append(w.said, text) },
	}
}

// elsewhere is the way of a person at another machine's browser.
func (w *world) elsewhere(person browser.Person) signin.Way {
	person.Client = http.DefaultClient
	return signin.Way{
		Device: true, Loopback: true,
		Open: func(string) error { return errors.New("there is no browser here") },
		Say: func(text string) {
			w.said = append(w.said, text)
			words := strings.Fields(text) // Open <page> in a browser and enter the code <code> …
			if err := person.EnterCode(w.ctx, words[1], words[9]); err != nil {
				w.t.Errorf("%s: %v", text, err)
				w.cancel()
			}
		},
	}
}

func (w *world) signIn(person string) signin.Token {
	w.t.Helper()
	token, err := w.process().SignIn(w.ctx, w.as(browser.Person{Persona: person}))
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// claims reads a token, which the issuer signed: its verification is not what
// these tests are about.
func claims(t *testing.T, token signin.Token) jwt.MapClaims {
	t.Helper()
	got := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token.Access, got); err != nil {
		t.Fatal(err)
	}
	return got
}

// short makes every access token end at once, so that the next one comes by
// refresh.
type short struct{ next http.RoundTripper }

func (s short) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	body = bytes.ReplaceAll(body, []byte(`"expires_in":3900`), []byte(`"expires_in":1`))
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

func (w *world) shortLived() *signin.Client {
	w.t.Helper()
	client := *w.client
	client.Transport = short{w.client.Transport}
	return w.processOf(entra.ToolClientID, &client)
}

// secret matches tokens, codes and verifiers: what the issuer draws begins "1.".
var secret = regexp.MustCompile(`eyJ|1\.[A-Z2-7]{20}|code_verifier|device_code`)

func noSecret(t *testing.T, text string) {
	t.Helper()
	if secret.MatchString(text) {
		t.Errorf("a secret is in %q", text)
	}
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
