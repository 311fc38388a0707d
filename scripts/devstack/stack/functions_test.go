package stack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/stack"
)

// TestMain is, under the stand-in, the handler of TestHost: this program again.
func TestMain(m *testing.M) {
	if port := os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"); port != "" {
		fmt.Fprintln(os.Stderr, probe(port))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// probe answers with the settings that it was given.
func probe(port string) error {
	server := &http.Server{
		Addr: net.JoinHostPort("127.0.0.1", port), ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			settings := map[string]string{}
			for _, kv := range os.Environ() {
				name, value, _ := strings.Cut(kv, "=")
				settings[name] = value
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(settings)
		}),
	}
	return server.ListenAndServe()
}

// stage makes a package whose handler is this test's program.
func stage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"handler": binary,
		"host.json": []byte(`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"},
			"enableProxyingHttpRequest":true}}`),
		"Probe/function.json": []byte(`{"bindings":[
			{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","methods":["get"],"route":"probe"},
			{"type":"http","direction":"out","name":"$return"}]}`),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestHost(t *testing.T) {
	t.Setenv("DEVELOPERS_SECRET", "not for the handler")
	s, err := stack.Start(t.Context(), stack.Options{
		Dir: t.TempDir(), InMemory: true,
		Host: &stack.Host{Dir: stage(t), Mode: host.Proxying, Env: map[string]string{"LOG_LEVEL": "debug"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			t.Error(s.Stop())
		}
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Info().API+"/api/probe", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	var seen map[string]string
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&seen); err != nil {
		t.Fatal(err)
	}
	for name, want := range s.HandlerEnv() {
		if name == "LOG_LEVEL" {
			want = "debug"
		}
		if seen[name] != want {
			t.Errorf("the handler sees %s=%q, want %q", name, seen[name], want)
		}
	}
	if seen["DEVELOPERS_SECRET"] != "" {
		t.Error("the handler sees the developer's environment")
	}
	stopped = true
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if resp, err := s.HTTPClient().Do(req.Clone(ctx)); err == nil {
		_ = resp.Body.Close()
		t.Error("the API answers after Stop")
	}
}
