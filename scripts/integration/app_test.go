// Package integration drives the built handler through the Functions host
// stand-in, over real sockets and real storage: what no test of one package
// can show.
//
// Trust boundary: the tests stand outside, as a caller with a token, as someone
// on the handler's port, or as someone who can write the storage. They know the
// stack's addresses and credentials, and nothing of the handler's memory.
package integration

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"secureapi/scripts/devstack/azurite"
	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
	"secureapi/scripts/stage/staging"
)

// packageEnv names the folder that TestMain staged for all tests.
const packageEnv = "INTEGRATION_PACKAGE"

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run stages the package once: the handler is built as it is deployed.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "secureapi-integration-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root, err := azurite.FindRoot()
	if err != nil {
		return fail(err)
	}
	out := filepath.Join(dir, "dist")
	if err := staging.Stage(context.Background(), staging.Options{Root: root, Out: out, Log: os.Stderr}); err != nil {
		return fail(err)
	}
	if err := os.Setenv(packageEnv, out); err != nil {
		return fail(err)
	}
	return m.Run()
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, "integration:", err)
	return 1
}

// app is the whole system: the stack, the stand-in and the built handler.
type app struct {
	*stack.Stack
	dir string
}

// startApp starts everything in memory, ended with the test.
func startApp(t *testing.T, mode host.Mode, change ...func(*stack.Options)) *app {
	t.Helper()
	o := stack.Options{
		Dir: t.TempDir(), InMemory: true, Bootstrap: provision.Keyring,
		Host: &stack.Host{Dir: os.Getenv(packageEnv), Mode: mode},
	}
	for _, c := range change {
		c(&o)
	}
	s, err := stack.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &app{s, o.Dir}
}

// repackage copies the staged package with files replaced, for a test that
// needs another schedule.
func repackage(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dist")
	if err := os.CopyFS(dir, os.DirFS(os.Getenv(packageEnv))); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// request is one call from outside.
type request struct {
	method string
	// target goes out byte for byte, query included.
	target      string
	token       string
	body        string
	contentType string
	header      map[string]string
	// headers may hold a name more than once.
	headers http.Header
	// direct asks the handler's own port, past the host.
	direct bool
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a *app) do(t *testing.T, r request) answer {
	t.Helper()
	got, err := a.try(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (a *app) try(ctx context.Context, r request) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, a.URL(), strings.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	req.URL = &url.URL{Scheme: "http", Host: a.Host.Addr(), Opaque: r.target}
	if r.direct {
		req.URL.Host = a.Host.HandlerAddr()
	}
	if strings.HasPrefix(r.target, "//") {
		req.URL.Opaque, req.URL.Path = "", r.target
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	maps.Copy(req.Header, r.headers)
	resp, err := a.HTTPClient().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}, nil
}

// call is do with a persona's or app's token and a JSON body.
func (a *app) call(t *testing.T, who, method, target string, body any) answer {
	t.Helper()
	r := request{method: method, target: target, token: a.token(t, who)}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r.body = string(text)
	}
	return a.do(t, r)
}

func (a *app) token(t *testing.T, who string) string {
	t.Helper()
	token, err := a.Token(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// content are the members of answers that tests look at.
type content struct {
	ID      string   `json:"id"`
	Code    string   `json:"code"`
	Token   string   `json:"token"`
	Results []result `json:"results"`
	Events  []event  `json:"events"`
	Next    string   `json:"next"`
	Entries int      `json:"entries"`
	Number  int      `json:"number"`
}

type result struct {
	Status  int    `json:"status"`
	Token   string `json:"token"`
	Masked  string `json:"masked"`
	Value   string `json:"value"`
	Problem struct {
		Code string `json:"code"`
	} `json:"problem"`
}

type event struct {
	ID         string `json:"id"`
	Phase      string `json:"phase"`
	Action     string `json:"action"`
	ReasonCode string `json:"reasonCode"`
	Operation  string `json:"operation"`
}

func (r answer) decode(t *testing.T) content {
	t.Helper()
	var into content
	if err := json.Unmarshal([]byte(r.body), &into); err != nil {
		t.Fatalf("%v in the answer %d %q", err, r.status, r.body)
	}
	return into
}

// want ends the test where the status is another one.
func (r answer) want(t *testing.T, status int) answer {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// tokenize stores one value and gives its token.
func (a *app) tokenize(t *testing.T, class, value string) string {
	t.Helper()
	body := map[string]any{"class": class, "value": value}
	return a.call(t, "writer", http.MethodPost, "/api/v1/tokens", body).want(t, http.StatusCreated).decode(t).Token
}

// reveal asks for tokens in clear, as the revealer.
func (a *app) reveal(t *testing.T, tokens ...string) answer {
	t.Helper()
	return a.call(t, "revealer", http.MethodPost, "/api/v1/tokens/reveal", revealBody(tokens...))
}

func revealBody(tokens ...string) map[string]any {
	return map[string]any{"tokens": tokens, "purpose": "fraud-review", "reason": "CASE-2026-0042"}
}

// events reads the whole log of the home tenant.
func (a *app) events(t *testing.T, query url.Values) []event {
	t.Helper()
	var all []event
	q := maps.Clone(query)
	if q == nil {
		q = url.Values{}
	}
	q.Set("limit", "500")
	for {
		page := a.call(t, "auditor", http.MethodGet, "/api/v1/audit/events?"+q.Encode(), nil).want(t, http.StatusOK).decode(t)
		all = append(all, page.Events...)
		if page.Next == "" {
			return all
		}
		q.Set("cursor", page.Next)
	}
}
