package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// wireTimeout ends a test whose connection nobody ends. Nothing waits for it.
const wireTimeout = 30 * time.Second

// send writes a named shape's bytes to an address, and reads answers until the
// other side closes.
func send(t *testing.T, name, addr, bytes string) []answer {
	t.Helper()
	d := net.Dialer{Timeout: wireTimeout}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(wireTimeout)))
	// A server that has seen enough closes while bytes are still coming.
	if _, err := io.WriteString(conn, bytes); err != nil && !isReset(err) {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(bytes, " ")
	var all []answer
	for r := bufio.NewReader(conn); ; {
		response, err := http.ReadResponse(r, &http.Request{Method: method})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: after %d answers: %v", name, len(all), err)
		}
		if response.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(response.Body)
		if err != nil && !isReset(err) {
			t.Fatal(err)
		}
		all = append(all, answer{response.StatusCode, response.Header, string(body)})
		if response.Close {
			return all
		}
		method = http.MethodGet
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// wire is a request as bytes that end their connection.
func (r request) wire() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n", r.method, r.target)
	if r.token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", r.token)
	}
	for name, value := range r.header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if r.body != "" {
		b.WriteString("Content-Type: application/json\r\n")
	}
	if r.body != "" || r.method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	return b.String() + "\r\n" + r.body
}

// requestLine is a request's event in the process' log.
var requestLine = regexp.MustCompile(`\{[^\n]*"msg":"request","requestId":"([0-9a-f-]{36})","method":"[A-Z]+","route":"([^"]*)"[^\n]*\}`)

// handled gives the requests in the handler's log: route by request id.
func (a *app) handled(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(a.dir, "logs", "host.log"))
	must(t, err)
	routes := map[string]string{}
	for _, m := range requestLine.FindAllStringSubmatch(string(content), -1) {
		routes[m[1]] = m[2]
	}
	return routes
}

// executed counts the calls that the host says it made.
func (a *app) executed(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(a.dir, "logs", "host.log"))
	must(t, err)
	return strings.Count(string(content), "Executed '")
}
