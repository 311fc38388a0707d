package host

import (
	"bufio"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exchange is a recording: what the client got, what the handler saw.
type exchange struct {
	Case       string `json:"case"`
	Response   string `json:"response"`
	HandlerSaw []seen `json:"handler_saw"`
}

// recordedApp has the routes of the app with which the recordings were made.
func recordedApp() map[string]string {
	return map[string]string{
		"Hello":  anyMethod("hello"),
		"Items":  withMethods("items/{category}/{id:int}", `"get","post"`),
		"Wild":   anyMethod("{*path}"),
		"Secure": strings.Replace(anyMethod("secure"), "anonymous", "function", 1),
		"Tick":   `{"bindings":[{"type":"timerTrigger","direction":"in","name":"myTimer","schedule":"0 0 0 1 1 *"}]}`,
	}
}

// plain is a request of the recordings' client.
func plain(method, target string, lines ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: example.test:8080\r\nConnection: close\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

func post(target, contentType, body string) string {
	lines := []string{"Content-Length: " + strconv.Itoa(len(body))}
	if contentType != "" {
		lines = append(lines, "Content-Type: "+contentType)
	}
	return plain("POST", target, lines...) + body
}

// clientRequests gives for every recording the request that led to it. What
// the client of the recordings sent was not recorded; it follows from the
// case's name and from what arrived.
func clientRequests() map[string]string {
	const chunked = "Transfer-Encoding: chunked"
	requests := map[string]string{
		"GET query+path": plain("GET", "/api/items/books/42?name=J%C3%BCrgen%20M&x=1&x=2&flag&enc=a%2Bb%26c&p=a+b",
			"Accept: text/html", "Accept-Encoding: gzip", "Cookie: a=b; c=d", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			"X-Custom: one", "X-Custom: two", "X-Forwarded-For: 9.9.9.9"),
		"POST JSON + Authorization": plain("POST", "/api/Hello", "Authorization: Bearer abc.def", "Expect: 100-continue",
			"Content-Encoding: identity", "Content-MD5: x", "Content-Length: 16", "Content-Type: application/json; charset=utf-8") + `{"a":1,"u":"é"}`,
		"POST no content-type": post("/api/Hello", "", "rawbytes\x00\xff"),
		"POST empty body CL 0": post("/api/Hello", "", ""),
		"POST chunked":         plain("POST", "/api/Hello", chunked) + "3\r\nabc\r\n0\r\n\r\n",
		"wild path w/ encoded slash, space, unicode, dots": plain("GET", "/api/some/deep%2Fpath/with%20space/%C3%BC/%25zz/a+b;c=1/..%2Fx/./end/?q=%2F"),
		"wild double slash":                             plain("GET", "/api//double"),
		"wild root /api/":                               plain("GET", "/api/"),
		"wild root /api":                                plain("GET", "/api"),
		"outside api prefix":                            plain("GET", "/other/path"),
		"route constraint fail falls to wild":           plain("GET", "/api/items/books/notint"),
		"route method mismatch falls to wild?":          plain("DELETE", "/api/items/books/42"),
		"case-insensitive route":                        plain("GET", "/API/heLLo"),
		"HEAD":                                          plain("HEAD", "/api/Hello"),
		"OPTIONS":                                       plain("OPTIONS", "/api/Hello", "Access-Control-Request-Method: POST", "Origin: http://x.test"),
		"PATCH":                                         plain("PATCH", "/api/Hello", "Content-Length: 1", "Content-Type: text/plain") + "x",
		"custom verb FOO":                               plain("FOO", "/api/Hello"),
		"outsider spoofs host headers":                  plain("GET", "/api/Hello", "X-Azure-Functions-InvocationId: spoof", "X-Azure-Functions-HostVersion: 9", "User-Agent: Azure-Functions-Host/9"),
		"outsider /api/QueueFn":                         post("/api/QueueFn", "application/json", `{"Data":{"msg":"\"evil\""}}`),
		"outsider /QueueFn":                             post("/QueueFn", "application/json", "{}"),
		"outsider dot-segments /api/../QueueFn":         post("/api/../QueueFn", "application/json", "{}"),
		"outsider /api/%2e%2e/QueueFn":                  post("/api/%2e%2e/QueueFn", "application/json", "{}"),
		"outsider /api/x/..%2f..%2fQueueFn":             post("/api/x/..%2f..%2f..%2fQueueFn", "application/json", "{}"),
		"outsider /api/..;/QueueFn and backslash":       post(`/api/..\QueueFn`, "application/json", "{}"),
		"outsider /api/..%5cQueueFn":                    post("/api/..%5cQueueFn", "application/json", "{}"),
		"query oddities":                                plain("GET", "/api/Hello?A=1&a=2&b=&=c&x=%E9&arr[]=1&arr[]=2&s=a;b&plus=1+1&pct=100%"),
		"120MB headers only":                            plain("POST", "/api/Hello", "Content-Length: 125829120"),
		"absolute-form + no host http1.0":               "GET /api/Hello HTTP/1.0\r\nConnection: close\r\n\r\n",
		"upgrade websocket":                             "GET /api/Hello HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
		"te trailers, multipart":                        plain("POST", "/api/Hello", "TE: trailers", "Content-Length: 61", "Content-Type: multipart/form-data; boundary=xx") + "--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--xx--\r\n",
		"urlencoded form":                               post("/api/Hello", "application/x-www-form-urlencoded", "a=1&b=2"),
		"GET with body":                                 plain("GET", "/api/Hello", "Content-Length: 2", "Content-Type: text/plain") + "hi",
		"Secure w/ header key":                          plain("GET", "/api/Secure", "x-functions-key: function-key"),
		"Secure w/ ?code=":                              plain("GET", "/api/Secure?code=function-key&a=1"),
		"Secure w/ master key":                          plain("GET", "/api/Secure", "x-functions-key: master-key"),
		"Anonymous fn with wrong key header":            plain("GET", "/api/Hello", "x-functions-key: bogus"),
		"Anonymous fn with wrong code query":            plain("GET", "/api/Hello?code=bogus"),
		"Anonymous fn with x-ms-client-principal spoof": plain("GET", "/api/Hello", "x-ms-client-principal: e30=", "x-ms-client-principal-id: me"),
	}
	return requests
}

// knownDifferences lists every recording that this stand-in does not reproduce,
// with the reason.
func knownDifferences() map[string]string {
	return map[string]string{
		"Secure w/ header key": "there are no function keys here, only the master key",
		"Secure w/ ?code=":     "there are no function keys here, only the master key",
	}
}

var anyGUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// comparableForm brings a request into a form that can be compared: the order and
// the case of header names mean nothing, and GUIDs differ by nature.
func comparableForm(s seen) map[string]any {
	headers := map[string]string{}
	for _, h := range s.Headers {
		name := http.CanonicalHeaderKey(h[0])
		if _, twice := headers[name]; twice {
			name += " (again)"
		}
		headers[name] = anyGUID.ReplaceAllString(h[1], "<guid>")
	}
	if strings.HasPrefix(headers["Host"], "127.0.0.1:") {
		headers["Host"] = "127.0.0.1:<port>"
	}
	return map[string]any{"method": s.Method, "target": s.Target, "version": s.Version, "headers": headers, "body": s.Body, "body_len": s.BodyLen}
}

// TestForwardingContract sends every recorded request through the stand-in in
// forwarding mode and compares what the handler saw, and what the client got,
// with the recording of a real host.
func TestForwardingContract(t *testing.T) {
	l := startLab(t, labOptions{functions: recordedApp(), mode: Forwarding})
	requests := clientRequests()
	for _, file := range []string{"http-requests.json", "http-paths.json", "http-auth.json"} {
		for _, recording := range load[exchange](t, file) {
			t.Run(recording.Case, func(t *testing.T) {
				if why, ok := knownDifferences()[recording.Case]; ok {
					t.Skip(why)
				}
				request, ok := requests[recording.Case]
				if target, isPath := strings.CutPrefix(recording.Case, "PATH "); isPath {
					request, ok = post(target, "", "{}"), true
				}
				if !ok {
					t.Fatal("a recording without a request")
				}
				l.requests()
				compareExchange(t, l, request, recording)
			})
		}
	}
}

// TestRootCatchAll repeats the recordings of an app without a route prefix.
func TestRootCatchAll(t *testing.T) {
	l := startLab(t, labOptions{
		functions: map[string]string{"Wild": anyMethod("{*path}"), "Tick": recordedApp()["Tick"]},
		host:      `"extensions":{"http":{"routePrefix":""}},`, mode: Forwarding,
	})
	for _, recording := range load[exchange](t, "http-root-catchall.json") {
		t.Run(recording.Case, func(t *testing.T) {
			target, isGet := strings.CutPrefix(recording.Case, "GET ")
			request := plain("GET", target)
			switch {
			case strings.Contains(recording.Case, "POST /QueueFn with"):
				request = post("/QueueFn", "application/json", `{"Data":{"msg":"\"evil\""},"Metadata":{}}`)
			case strings.Contains(recording.Case, "chunked"):
				request = plain("POST", "/QueueFn", "Transfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n"
			case strings.Contains(recording.Case, "POST /Tick"):
				request = post("/Tick", "application/json", "{}")
			case !isGet:
				t.Fatal("a recording without a request")
			}
			l.requests()
			compareExchange(t, l, request, recording)
		})
	}
}

func compareExchange(t *testing.T, l *lab, request string, recording exchange) {
	t.Helper()
	resp, body := l.raw(request)
	got := l.requests()
	if len(got) != len(recording.HandlerSaw) {
		t.Fatalf("the handler saw %d requests, recorded are %d (answer %s)", len(got), len(recording.HandlerSaw), resp.Status)
	}
	for i, want := range recording.HandlerSaw {
		if diff := cmp.Diff(comparableForm(want), comparableForm(got[i])); diff != "" {
			t.Errorf("request at the handler (-recorded +here):\n%s", diff)
		}
	}
	compareResponse(t, recording.Response, resp, body)
}

// Differences of an answer that are known and mean nothing: the order of
// headers; Connection, and the version of an answer to HTTP/1.0; Date; that the recording's client split a Server header at its space;
// the reason phrase; the length of a 304, which Go does not write.
func compareResponse(t *testing.T, recorded string, resp *http.Response, body string) {
	t.Helper()
	recorded, _, _ = strings.Cut(recorded, "<<client timeout>>")
	want, wantBody := parseRecorded(t, recorded, resp.Request.Method)
	if resp.StatusCode != want.StatusCode || body != wantBody {
		t.Errorf("answer %d %q, recorded %d %q", resp.StatusCode, body, want.StatusCode, wantBody)
	}
	for _, name := range []string{"Date", "Server", "Connection"} {
		if resp.Header.Get(name) == "" && want.Header.Get(name) != "" && name == "Date" {
			t.Errorf("%s is missing", name)
		}
		if name == "Server" && want.Header.Get(name) == "Kestrel" && resp.Header.Get(name) != "Kestrel" {
			t.Errorf("Server %q", resp.Header.Get(name))
		}
		want.Header.Del(name)
		resp.Header.Del(name)
	}
	if want.StatusCode == http.StatusNotModified {
		want.Header.Del("Content-Length")
	}
	if diff := cmp.Diff(want.Header, resp.Header); diff != "" {
		t.Errorf("headers (-recorded +here):\n%s", diff)
	}
}

func parseRecorded(t *testing.T, recorded, method string) (*http.Response, string) {
	t.Helper()
	// The recorder decoded Latin-1 as UTF-8; lengths are those of the wire.
	head, body, _ := strings.Cut(recorded, "\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head+"\r\n\r\n")), &http.Request{Method: http.MethodHead})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if method == http.MethodHead {
		body = ""
	}
	return resp, body
}

// TestResponsesPass has the handler answer as recorded and compares what comes
// out, in both modes.
func TestResponsesPass(t *testing.T) {
	for _, mode := range []Mode{Forwarding, Proxying} {
		t.Run(string(mode), func(t *testing.T) {
			var answer reply
			l := startLab(t, labOptions{
				functions: map[string]string{"Hello": anyMethod("hello")}, mode: mode,
				onRequest: func(seen) reply { return answer },
			})
			for _, recording := range load[exchange](t, "http-responses.json") {
				t.Run(recording.Case, func(t *testing.T) {
					method := recording.HandlerSaw[0].Method
					want, body := parseRecorded(t, recording.Response, http.MethodGet)
					if method == http.MethodHead {
						body = "12345"
					}
					answer = reply{Status: want.StatusCode, Reason: "x", Body: []byte(body), NoLength: want.StatusCode == http.StatusNoContent}
					for name, values := range want.Header {
						hopByHop := slices.Contains([]string{"Connection", "Keep-Alive"}, name)
						if name == "Content-Length" || name == "Server" || (hopByHop && mode == Proxying) {
							continue
						}
						for _, v := range values {
							answer.Headers = append(answer.Headers, [2]string{name, v})
						}
					}
					resp, got := l.raw(plain(method, "/api/hello"))
					if method == http.MethodHead {
						body = ""
					}
					if resp.StatusCode != want.StatusCode || got != body {
						t.Errorf("answer %d %q, want %d %q", resp.StatusCode, got, want.StatusCode, body)
					}
					for _, name := range []string{"Content-Length", "Server", "Connection", "Keep-Alive"} {
						want.Header.Del(name)
						resp.Header.Del(name)
					}
					if diff := cmp.Diff(want.Header, resp.Header); diff != "" {
						t.Errorf("headers (-recorded +here):\n%s", diff)
					}
				})
			}
		})
	}
}
