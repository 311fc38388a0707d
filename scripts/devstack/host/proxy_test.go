package host

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Proxying mode: no recording of it exists. What is known of it is that the
// host's headers replace the client's, and that path, query and body pass.
func TestProxyingPasses(t *testing.T) {
	l := startLab(t, labOptions{functions: recordedApp()})
	t.Run("headers", func(t *testing.T) {
		l.requests()
		l.raw(plain("GET", "/api/Hello?x=1&x=2&flag&p=a+b%20c", "X-Azure-Functions-InvocationId: spoof", "X-Azure-Functions-HostVersion: 9",
			"User-Agent: me/1", "X-Forwarded-For: 9.9.9.9", "X-Custom: one", "X-Custom: two", "Cookie: a=b", "X-MS-CLIENT-PRINCIPAL: e30="))
		got := l.requests()[0]
		if got.Target != "/api/Hello?x=1&x=2&flag&p=a+b%20c" {
			t.Errorf("target %q", got.Target)
		}
		for name, want := range map[string]string{
			"X-Azure-Functions-HostVersion": Version, "User-Agent": "me/1", "X-Forwarded-For": "9.9.9.9",
			"Cookie": "a=b", "X-MS-CLIENT-PRINCIPAL": "e30=", "Host": "example.test:8080",
		} {
			if v := got.header(name); v != want {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
		if id := got.header("X-Azure-Functions-InvocationId"); !anyGUID.MatchString(id) || strings.Contains(id, "spoof") {
			t.Errorf("invocation id %q", id)
		}
	})
	t.Run("no User-Agent is made up", func(t *testing.T) {
		l.requests()
		l.raw(plain("GET", "/api/Hello"))
		if ua := l.requests()[0].header("User-Agent"); ua != "" {
			t.Errorf("User-Agent %q", ua)
		}
	})
	t.Run("chunked body", func(t *testing.T) {
		l.requests()
		resp, _ := l.raw(plain("POST", "/api/Hello", "Transfer-Encoding: chunked") + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
		got := l.requests()[0]
		if resp.StatusCode != http.StatusOK || got.Body != "abcde" || got.header("Transfer-Encoding") != "chunked" {
			t.Errorf("%s, %+v", resp.Status, got)
		}
	})
	t.Run("length 0", func(t *testing.T) {
		l.requests()
		l.raw(post("/api/Hello", "", ""))
		if got := l.requests()[0]; got.header("Content-Length") != "0" {
			t.Errorf("%+v", got)
		}
	})
	for sent, want := range map[string]string{
		"/api/a%252Fb":                 "/api/a%252Fb",
		"/api/a%3Fb":                   "/api/a%3Fb",
		"/api/items/..%5c..%5cQueueFn": "/api/items/..%5c..%5cQueueFn",
		"/api/%2e%2e%5cQueueFn":        "/api/%2e%2e%5cQueueFn",
		"/api/%48ello":                 "/api/%48ello",
		"/api/x/../Hello":              "/api/Hello",
		"/api/x/%2e%2E/Hello":          "/api/Hello",
		"/api/%F0%9F%98%80":            "/api/%F0%9F%98%80",
		"/api/a|b":                     "/api/a|b",
	} {
		t.Run("path "+sent, func(t *testing.T) {
			l.requests()
			l.raw(plain("GET", sent))
			if got := l.requests(); len(got) != 1 || got[0].Target != want {
				t.Errorf("the handler saw %+v, want target %q", got, want)
			}
		})
	}
}

// The answer's first part reaches the client while the last is not yet made.
func TestProxyingStreams(t *testing.T) {
	l := startLab(t, labOptions{
		functions: recordedApp(),
		onRequest: func(seen) reply {
			return reply{Status: 200, Headers: [][2]string{{"Content-Type", "text/event-stream"}}, Chunks: []string{"one", "two", "three"}}
		},
	})
	conn, err := net.Dial("tcp", l.Addr()) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, plain("GET", "/api/Hello"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ContentLength >= 0 {
		t.Errorf("a streamed answer with a length: %v", resp.Header)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "onetwothree" {
		t.Errorf("body %q, %v", body, err)
	}
}

// Older hosts hold an answer back until it is complete.
func TestForwardingBuffers(t *testing.T) {
	l := startLab(t, labOptions{
		functions: recordedApp(), mode: Forwarding,
		onRequest: func(seen) reply { return reply{Status: 200, Chunks: []string{"one", "two"}} },
	})
	resp, body := l.raw(plain("GET", "/api/Hello"))
	if resp.ContentLength != 6 || body != "onetwo" {
		t.Errorf("length %d, body %q", resp.ContentLength, body)
	}
}

// Neither mode lets a request reach a queue or timer function over the routes
// that this project uses: fixed segments and {id:guid}.
func TestFixedRoutesCannotBeBent(t *testing.T) {
	const id = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
	functions := map[string]string{
		"Fixed": withMethods("v1/tokens", `"post"`),
		"ByID":  withMethods("v1/operations/{id:guid}", `"post"`),
		"Parts": withMethods("v1/imports/{id:guid}/parts", `"post"`),
		"Tick":  recordedApp()["Tick"],
	}
	upper := strings.ToUpper(id)
	bare := strings.ReplaceAll(id, "-", "")
	reaches := map[string]string{
		"/api/v1/tokens":                      "/api/v1/tokens",
		"/api/v1/tokens/":                     "/api/v1/tokens/",
		"/api/V1/Tokens":                      "/api/V1/Tokens",
		"/api/v1/operations/" + id:            "/api/v1/operations/" + id,
		"/api/v1/operations/" + upper:         "/api/v1/operations/" + upper,
		"/api/v1/operations/" + bare:          "/api/v1/operations/" + bare,
		"/api/v1/operations/(" + id + ")":     "/api/v1/operations/(" + id + ")",
		"/api/v1/operations/%7B" + id + "%7D": "/api/v1/operations/%7B" + id + "%7D",
		"/api/v1/operations/%20" + id:         "/api/v1/operations/%20" + id,
		"/api/v1/operations/%7B0x0a1b2c3d,0x4e5f,0x4a6b,%7B0x8c,0x7d,0x9e,0x0f,0x1a,0x2b,0x3c,0x4d%7D%7D": "/api/v1/operations/%7B0x0a1b2c3d,0x4e5f,0x4a6b,%7B0x8c,0x7d,0x9e,0x0f,0x1a,0x2b,0x3c,0x4d%7D%7D",
	}
	refused := []string{
		"/Tick", "//Tick", "/api/Tick", "/api//v1/tokens", "/api/v1/tokens//",
		"/api/v1/tokens/..%5c..%5c..%5cTick", "/api/v1/tokens%5c..%5c..%5c..%5cTick", "/api/v1/tokens/%2e%2e/%2e%2e/%2e%2e/Tick",
		"/api/v1/tokens/..%2f..%2f..%2fTick", "/api/v1/tokens;/../../../Tick", "/api/v1/tokens%3f/../Tick", "/api/v1/tokens%23",
		"/api/v1/operations/..%5c..%5c..%5cTick", "/api/v1/operations/" + id + "%5c..%5c..%5c..%5c..%5cTick",
		"/api/v1/operations/" + id + "%2f..%2f..%2f..%2f..%2fTick", "/api/v1/operations/" + id + ";x", "/api/v1/operations/" + id + "%3fx",
		"/api/v1/imports/..%5c..%5c..%5c..%5cTick%3f/parts", "/api/v1/imports/" + id + "%5c../parts", `/api/v1/operations/..\..\..\Tick`,
		"/api/v1/operations/not-a-guid", "/api/v1/operations/" + id[1:],
	}
	for _, mode := range []Mode{Forwarding, Proxying} {
		t.Run(string(mode), func(t *testing.T) {
			l := startLab(t, labOptions{functions: functions, mode: mode})
			for sent, want := range reaches {
				l.requests()
				resp, _ := l.raw(post(sent, "application/json", "{}"))
				if got := l.requests(); len(got) != 1 || got[0].Target != want {
					t.Errorf("%s: %s, the handler saw %+v", sent, resp.Status, got)
				}
			}
			for _, sent := range refused {
				resp, _ := l.raw(post(sent, "application/json", "{}"))
				if got := l.requests(); resp.StatusCode != http.StatusNotFound || len(got) != 0 {
					t.Errorf("%s: %s, the handler saw %+v", sent, resp.Status, got)
				}
			}
			if resp, _ := l.raw(post("/api/v1/tokens%00", "", "")); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("NUL: %s", resp.Status)
			}
			if resp, _ := l.raw(plain("GET", "/api/v1/tokens")); resp.StatusCode != http.StatusNotFound {
				t.Errorf("a method that is not listed: %s", resp.Status)
			}
			if mode == Forwarding {
				l.requests()
				l.raw(post("/api/v1/operations/"+id+"%0a", "", "{}"))
				if got := l.requests(); len(got) != 1 || got[0].Target != "/api/v1/operations/"+id {
					t.Errorf("a line feed at the end: %+v", got)
				}
			}
		})
	}
}
