package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
	"secureapi/handler/config"
	"secureapi/handler/keyring"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/fault"
	"secureapi/scripts/devstack/stack"
)

// local is the one stack of this package's tests: MSAL keeps a managed
// identity's tokens for the whole process, and another stack would refuse them.
var local *stack.Stack

func TestMain(m *testing.M) {
	code, err := runOnStack(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runOnStack(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "secureapi-handler-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	local, err = stack.Start(context.Background(), stack.Options{Dir: dir, InMemory: true, Bootstrap: bootstrapKeyring})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, local.Stop()) }()
	// MSAL reads these two from the process itself.
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER"} {
		if err := os.Setenv(name, local.HandlerEnv()[name]); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

// handlerEnv is the settings of a handler on the stack.
func handlerEnv(s *stack.Stack) map[string]string {
	env := maps.Clone(s.HandlerEnv())
	env["FUNCTIONS_CUSTOMHANDLER_PORT"] = "1"
	return env
}

func bootstrapKeyring(ctx context.Context, s *stack.Stack) error {
	c, err := config.Load(handlerEnv(s))
	if err != nil {
		return err
	}
	transport, err := azure.NewTransport(c.LocalStackFile, func(string) string { return "" }, clock.System)
	if err != nil {
		return err
	}
	defer transport.Close()
	tables, err := newStores(c, s.Credential(), transport, nil)
	if err != nil {
		return err
	}
	options, err := keyringOptions(c, tables.keyring, s.Credential(), transport, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	_, err = keyring.Bootstrap(ctx, options)
	return err
}

// startApp assembles the handler as run does and serves it.
func startApp(t *testing.T) (*app, *httptest.Server) {
	t.Helper()
	env := handlerEnv(local)
	c, err := config.Load(env)
	if err != nil {
		t.Fatal(err)
	}
	a, err := assemble(t.Context(), c, func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.echo)
	t.Cleanup(server.Close)
	return a, server
}

const (
	apiTrace = "0af7651916cd43dd8448eb211c80319c"
	jobTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	span     = "b7ad6b7169203331"
)

// post sends a body in a trace as the host does: to the API as a caller's, with
// its length, and to a function chunked.
func post(t *testing.T, url, trace, token, body string) int {
	t.Helper()
	var reader io.Reader = strings.NewReader(body)
	if !strings.Contains(url, "/api/") {
		reader = io.MultiReader(reader)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", "00-"+trace+"-"+span+"-01")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// item is what the test looks at in a telemetry item.
type item struct {
	Name string            `json:"name"`
	Tags map[string]string `json:"tags"`
	Data struct {
		Base map[string]any `json:"baseData"`
	} `json:"data"`
}

const (
	testCard = "4111111111111111"
	tick     = `{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"IsPastDue":false}},"Metadata":{}}`
)

// TestTelemetryOfARequestAndOfAFailingJob: what operators see of a call and of
// a job that fails arrives under the trace of the caller, each part below the
// span of this process, and holds no value.
func TestTelemetryOfARequestAndOfAFailingJob(t *testing.T) {
	a, server := startApp(t)
	token, err := local.Entra.PersonaToken("writer", entra.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	if status := post(t, server.URL+"/api/v1/tokens", apiTrace, token, `{"class":"pan","value":"`+testCard+`"}`); status != http.StatusCreated {
		t.Fatalf("tokenize: status %d", status)
	}
	local.Vault.Faults.Set(fault.Fault{Status: http.StatusForbidden})
	defer local.Vault.Faults.Clear()
	if status := post(t, server.URL+"/RotateKeys", jobTrace, "", tick); status != http.StatusInternalServerError {
		t.Fatalf("RotateKeys without a vault: status %d", status)
	}
	a.close(t.Context())

	api, job := map[string]int{}, map[string]int{}
	for _, raw := range local.Ingest.Items() {
		if strings.Contains(string(raw.Raw), testCard) {
			t.Error("a telemetry item holds the value")
		}
		if !raw.Authenticated {
			t.Error("an item came without a token")
		}
		var i item
		if err := json.Unmarshal(raw.Raw, &i); err != nil {
			t.Fatal(err)
		}
		kind := i.Name[strings.LastIndex(i.Name, ".")+1:]
		if kind == "RemoteDependency" {
			kind = fmt.Sprint(i.Data.Base["type"])
		}
		switch i.Tags["ai.operation.id"] {
		case apiTrace:
			api[kind]++
		case jobTrace:
			job[kind]++
		}
		if kind == "Request" && i.Tags["ai.operation.parentId"] != span {
			t.Errorf("request below %q", i.Tags["ai.operation.parentId"])
		}
	}
	if api["Request"] != 1 || api["Azure table"] == 0 || api["Exception"] != 0 {
		t.Errorf("of the request: %v", api)
	}
	if job["Request"] != 1 || job["Azure key vault"] == 0 || job["Exception"] != 1 {
		t.Errorf("of the job: %v", job)
	}
}

// TestNothingWaitsForTelemetry: with an endpoint that never answers, requests
// are served, and the end of the process is bounded.
func TestNothingWaitsForTelemetry(t *testing.T) {
	before := local.Ingest.Total()
	local.Ingest.Faults.Set(fault.Fault{Hang: true})
	defer local.Ingest.Faults.Clear()
	a, server := startApp(t)
	for range 20 {
		if status := post(t, server.URL+"/api/v1/tokens", apiTrace, "", `{}`); status != http.StatusUnauthorized {
			t.Fatalf("status %d", status)
		}
	}
	done := make(chan struct{})
	go func() { a.close(t.Context()); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the end waits for telemetry")
	}
	if a.recorder.insights.Dropped() == 0 {
		t.Error("nothing was lost, so nothing was tested")
	}
	if n := local.Ingest.Total() - before; n != 0 {
		t.Errorf("%d items arrived", n)
	}
}

func TestTelemetrySettings(t *testing.T) {
	const (
		key   = "InstrumentationKey=2f6e8d10-9b47-4c35-8f0a-d41c7e5b9366;IngestionEndpoint=https://in.example.com/"
		own   = "a96e2f18-d0b4-4f7c-8c63-1e5d7b3a9f55"
		other = "b96e2f18-d0b4-4f7c-8c63-1e5d7b3a9f55"
	)
	for name, tt := range map[string]struct {
		connection, authentication string
		ok                         bool
	}{
		"none":                     {"", "", true},
		"anonymous":                {key, "", true},
		"the system's identity":    {key, "Authorization=AAD", true},
		"the handler's identity":   {key, "Authorization=AAD;ClientId=" + own, true},
		"another identity":         {key, "Authorization=AAD;ClientId=" + other, false},
		"not an identity":          {key, "Authorization=AAD;ClientId=me", false},
		"another scheme":           {key, "Authorization=Key", false},
		"authentication of naught": {"", "Authorization=AAD", false},
		"plain HTTP":               {strings.Replace(key, "https:", "http:", 1), "", false},
		"no key":                   {"IngestionEndpoint=https://in.example.com/", "", false},
	} {
		c := config.Config{ClientID: own, InsightsConnection: tt.connection, InsightsAuthentication: tt.authentication}
		if _, err := connection(c); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
