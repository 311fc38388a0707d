package azure

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secureapi/handler/clock"
)

// environment is a fixed one for NewTransport.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

// stackOf writes a local stack file that leads names to the server. The
// server's certificate is for example.com.
func stackOf(t *testing.T, server *httptest.Server, names ...string) string {
	t.Helper()
	hosts := map[string]string{}
	for _, name := range names {
		hosts[name] = server.Listener.Addr().String()
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return writeStack(t, 0o600, map[string]any{"rootsPem": string(root), "hosts": hosts})
}

func writeStack(t *testing.T, mode os.FileMode, document any) string {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "transport.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func newTransport(t *testing.T, path string, env environment) *Transport {
	t.Helper()
	transport, err := NewTransport(path, env.get, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	return transport
}

func newRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func get(t *testing.T, client *http.Client, url string) (string, error) {
	t.Helper()
	response, err := client.Do(newRequest(t, url))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s", response.StatusCode, body), err
}

func TestLocalStack(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.Host, r.TLS.ServerName) //nolint:gosec // G705: read by the test, not a browser
	}))
	defer server.Close()
	transport := newTransport(t, stackOf(t, server, "example.com", "other.example.org"), nil)
	if !transport.Local() {
		t.Error("not local")
	}
	client := transport.Client(5 * time.Second)
	if got, err := get(t, client, "https://example.com/x"); err != nil || got != "200 example.com example.com" {
		t.Errorf("a name of the stack: %q, %v", got, err)
	}
	for name, url := range map[string]string{
		"a name outside":                 "https://login.microsoftonline.com/x",
		"a port outside":                 "https://example.com:8443/x",
		"the address itself":             server.URL,
		"a name the certificate has not": "https://other.example.org/x",
		"plain HTTP":                     "http://example.com/x",
	} {
		if got, err := get(t, client, url); err == nil {
			t.Errorf("%s: answered %q", name, got)
		}
	}
}

func TestStackFileRefused(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	root := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	good := stackOf(t, server, "example.com")
	document := func(pem, name, target string) map[string]any {
		return map[string]any{"rootsPem": pem, "hosts": map[string]string{name: target}}
	}
	extra := document(root, "example.com", "127.0.0.1:1")
	extra["extra"] = true
	link := filepath.Join(t.TempDir(), "dir")
	for name, c := range map[string]struct {
		path string
		env  environment
	}{
		"on App Service":     {good, environment{"WEBSITE_SITE_NAME": "x"}},
		"on an instance":     {good, environment{"WEBSITE_INSTANCE_ID": "x"}},
		"in a container app": {good, environment{"CONTAINER_NAME": "x"}},
		"missing":            {link, nil},
		"a directory":        {t.TempDir(), nil},
		"readable by group":  {writeStack(t, 0o640, document(root, "example.com", "127.0.0.1:1")), nil},
		"readable by others": {writeStack(t, 0o604, document(root, "example.com", "127.0.0.1:1")), nil},
		"writable by others": {writeStack(t, 0o602, document(root, "example.com", "127.0.0.1:1")), nil},
		"another machine":    {writeStack(t, 0o600, document(root, "example.com", "10.0.0.1:443")), nil},
		"any address":        {writeStack(t, 0o600, document(root, "example.com", "0.0.0.0:443")), nil},
		"a name as target":   {writeStack(t, 0o600, document(root, "example.com", "localhost:443")), nil},
		"no port":            {writeStack(t, 0o600, document(root, "example.com", "127.0.0.1")), nil},
		"port zero":          {writeStack(t, 0o600, document(root, "example.com", "127.0.0.1:0")), nil},
		"not a name":         {writeStack(t, 0o600, document(root, "example.com:443", "127.0.0.1:1")), nil},
		"upper case":         {writeStack(t, 0o600, document(root, "Example.com", "127.0.0.1:1")), nil},
		"no roots":           {writeStack(t, 0o600, document("", "example.com", "127.0.0.1:1")), nil},
		"no hosts":           {writeStack(t, 0o600, map[string]any{"rootsPem": root}), nil},
		"unknown member":     {writeStack(t, 0o600, extra), nil},
		"not an object":      {writeStack(t, 0o600, []int{1}), nil},
		"too large":          {writeStack(t, 0o600, strings.Repeat("x", maxStackFile)), nil},
	} {
		if _, err := NewTransport(c.path, c.env.get, clock.System); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var asked []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	transport := newTransport(t, stackOf(t, server, "example.com"), nil)
	if _, err := get(t, transport.Client(5*time.Second), "https://example.com/x"); !errors.Is(err, errRedirect) {
		t.Errorf("redirect: %v, want errRedirect", err)
	}
	if len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
}

func TestResponseLimit(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := clientLimit
		if r.URL.Path == "/large" {
			size++
		}
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		_, _ = w.Write(make([]byte, size))
	}))
	defer server.Close()
	transport := newTransport(t, stackOf(t, server, "example.com"), nil)
	client := transport.Client(5 * time.Second)
	response, err := client.Do(newRequest(t, "https://example.com/large?length"))
	if err == nil {
		response.Body.Close()
		t.Error("a length over the limit was let through")
	}
	for path, want := range map[string]error{"/": nil, "/?length": nil, "/large": errTooLarge, "/large?length": errTooLarge} {
		if _, err := get(t, client, "https://example.com"+path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// TestMetadataIsOutOfReach: in production mode nothing leads to an address of
// the instance itself, however it is written.
func TestMetadataIsOutOfReach(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	client := newTransport(t, "", nil).Client(5 * time.Second)
	for _, host := range []string{
		"169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "168.63.129.16", "0.0.0.0:" + port,
		"127.0.0.1:" + port, "[::1]", "localhost:" + port, "[ff02::1]", "255.255.255.255",
	} {
		if _, err := get(t, client, "https://"+host+"/metadata"); !errors.Is(err, errAddress) {
			t.Errorf("%s: %v, want errAddress", host, err)
		}
	}
}

func TestIdentityClient(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.URL.Path) //nolint:gosec // G705: read by the test, not a browser
	}))
	defer server.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	client := newTransport(t, "", environment{"IDENTITY_ENDPOINT": server.URL + "/msi/token"}).IdentityClient(5 * time.Second)
	if got, err := get(t, client, server.URL+"/msi/token"); err != nil || got != "200 /msi/token" {
		t.Errorf("the endpoint: %q, %v", got, err)
	}
	for name, url := range map[string]string{
		"another port": other.URL, "https": strings.Replace(server.URL, "http", "https", 1), "metadata": "http://169.254.169.254/",
	} {
		if _, err := get(t, client, url); !errors.Is(err, errAddress) {
			t.Errorf("%s: %v, want errAddress", name, err)
		}
	}
	for _, endpoint := range []string{"https://127.0.0.1/msi", "127.0.0.1:1", "http://", "http://user@127.0.0.1/", "://"} {
		if _, err := NewTransport("", environment{"IDENTITY_ENDPOINT": endpoint}.get, clock.System); err == nil {
			t.Errorf("identity endpoint %q was taken", endpoint)
		}
	}
}

func TestIdentityClientOfTheLocalStackIsLoopback(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	path := stackOf(t, server, "example.com")
	client := newTransport(t, path, nil).IdentityClient(5 * time.Second)
	if _, err := get(t, client, "http://169.254.169.254/"); !errors.Is(err, errAddress) {
		t.Errorf("metadata: %v, want errAddress", err)
	}
	client = newTransport(t, path, environment{"IDENTITY_ENDPOINT": "http://192.0.2.1/msi"}).IdentityClient(5 * time.Second)
	if _, err := get(t, client, "http://192.0.2.1/msi"); !errors.Is(err, errAddress) {
		t.Errorf("a far endpoint: %v, want errAddress", err)
	}
}

func TestNoProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	transport := newTransport(t, stackOf(t, server, "example.com"), nil)
	if got, err := get(t, transport.Client(5*time.Second), "https://example.com/"); err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	connections := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections++
		}
	}
	server.StartTLS()
	defer server.Close()
	transport := newTransport(t, stackOf(t, server, "example.com"), nil)
	for range 20 {
		if _, err := get(t, transport.Client(5*time.Second), "https://example.com/"); err != nil {
			t.Fatal(err)
		}
	}
	if connections != 1 {
		t.Errorf("%d connections for 20 calls in a row", connections)
	}
}

func TestContextEndsADial(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := newTransport(t, "", nil).Client(time.Second).Do(request)
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
}
