package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"secureapi/handler/authz"
	"secureapi/handler/httpapi"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
)

// events keeps what is told.
type events struct {
	telemetry.Log

	mu       sync.Mutex
	requests []telemetry.Request
	metrics  map[string]float64
}

func (e *events) Request(_ context.Context, r telemetry.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, r)
}

func (e *events) Metric(_ context.Context, name string, value float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.metrics == nil {
		e.metrics = map[string]float64{}
	}
	e.metrics[name] += value
}

// told gives the requests told so far, and forgets them.
func (e *events) told() []telemetry.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	told := e.requests
	e.requests = nil
	return told
}

// observed is an API whose events the test has.
func observed(t *testing.T, change ...func(*httpapi.Options)) (*api, *events) {
	t.Helper()
	e := &events{}
	return newAPI(t, append(change, func(o *httpapi.Options) {
		e.Logger, o.Telemetry = o.Logger, e
	})...), e
}

// raw sends bytes and gives what the connection said until it was closed.
func (a *api) raw(t *testing.T, request string) []*http.Response {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", a.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	// With nothing more to come, a server that goes on with the connection ends
	// it when it has executed all.
	if tcp, ok := conn.(*net.TCPConn); ok && !strings.Contains(request, "Connection: close") {
		if err := tcp.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	var all []*http.Response
	for r := bufio.NewReader(conn); ; {
		response, err := http.ReadResponse(r, nil)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		all = append(all, response)
		if response.Close {
			return all
		}
	}
}

// securityHeaders is what every answer has, by name.
func securityHeaders() map[string]string {
	return map[string]string{
		"Cache-Control":                "no-store",
		"X-Content-Type-Options":       "nosniff",
		"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "no-referrer",
		"Strict-Transport-Security":    "max-age=31536000; includeSubDomains",
	}
}

// TestEveryAnswerHasTheSecurityHeaders: those of refusals, of panics and of
// what no route takes as well. None has a header of CORS, whatever is asked.
func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	panics := false
	a := newAPI(t, func(o *httpapi.Options) {
		o.Ready = func(context.Context) error {
			if panics {
				panic("zq")
			}
			return nil
		}
	})
	writer := a.token(t, authz.Writer)
	asked := func(r *http.Request) {
		r.Header.Set("Origin", "https://app.example.com")
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization")
	}
	for _, tt := range []struct {
		name, method, path, token, body string
		change                          func(*http.Request)
		status                          int
	}{
		{"host's question", "GET", "/", "", "", nil, 200},
		{"health", "GET", "/api/v1/health/live", "", "", nil, 200},
		{"created", "POST", "/api/v1/tokens", writer, `{"class":"email","value":"a@example.com"}`, nil, 201},
		{"malformed", "POST", "/api/v1/tokens", writer, `{`, nil, 400},
		{"no token", "POST", "/api/v1/tokens", "", `{}`, nil, 401},
		{"no role", "GET", "/api/v1/keys", writer, "", nil, 403},
		{"no route", "GET", "/api/v1/absent", writer, "", nil, 404},
		{"no such path", "GET", "/api/v1/%74okens", writer, "", nil, 404},
		{"method", "DELETE", "/api/v1/tokens", writer, "", nil, 405},
		{"preflight", "OPTIONS", "/api/v1/tokens", "", "", nil, 405},
		{"unknown length", "POST", "/api/v1/tokens", writer, `{}`, func(r *http.Request) { r.ContentLength = -1 }, 411},
		{"large body", "POST", "/api/v1/tokens", writer, strings.Repeat(" ", 2<<20), nil, 413},
		{"media type", "POST", "/api/v1/tokens", writer, `{}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415},
		{"large header", "GET", "/api/v1/keys", writer, "", func(r *http.Request) { r.Header.Set("X-Large", strings.Repeat("a", 41<<10)) }, 431},
		{"many fields", "GET", "/api/v1/keys", writer, "", func(r *http.Request) { r.Header["X-Many"] = make([]string, 129) }, 431},
		{"panic", "GET", "/api/v1/health/ready", "", "", func(*http.Request) { panics = true }, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes := []func(*http.Request){asked}
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			r := a.call(t, tt.method, tt.path, tt.token, tt.body, changes...)
			if r.status != tt.status {
				t.Errorf("status %d, want %d: %s", r.status, tt.status, r.body)
			}
			for name, want := range securityHeaders() {
				if got := r.header.Values(name); len(got) != 1 || got[0] != want {
					t.Errorf("%s: %q", name, got)
				}
			}
			for name := range r.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s is set", name)
				}
			}
			if r.header.Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
			if tt.status == http.StatusMethodNotAllowed && r.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

// guardPath is all that refuses a target with an authority: the HTTP server
// takes its path for the request's, and so would the router.
func TestATargetWithAnAuthorityIsRefused(t *testing.T) {
	a, e := observed(t)
	writer := a.token(t, authz.Operator)
	for target, status := range map[string]int{
		"/api/v1/keys":                        200,
		"http://127.0.0.1/api/v1/keys":        404,
		"http://other.example/api/v1/keys":    404,
		"https://other.example/api/v1/keys":   404,
		"http://u:p@127.0.0.1:80/api/v1/keys": 404,
		"file:///api/v1/keys":                 404,
	} {
		got := a.raw(t, "GET "+target+" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "+writer+"\r\nConnection: close\r\n\r\n")
		if len(got) != 1 || got[0].StatusCode != status {
			t.Errorf("%s: %d answers, %+v", target, len(got), got)
		}
		for _, r := range e.told() {
			if status == 404 && r.Caller != "" {
				t.Errorf("%s reached %s as a caller", target, r.Route)
			}
		}
	}
}

// TestWhatTwoPartiesCouldReadDifferently holds the shapes that the HTTP server
// takes and this service does not. Behind each stands a second request, which
// must not be executed.
func TestWhatTwoPartiesCouldReadDifferently(t *testing.T) {
	a, e := observed(t)
	auth := "Authorization: Bearer " + a.token(t, authz.Writer) + "\r\nContent-Type: application/json\r\n"
	const body = `{"class":"email","value":"a@example.com"}`
	const second = "GET /api/v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
	chunked := "29\r\n" + body + "\r\n0\r\n\r\n"
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"chunked":                   {"POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 411},
		"chunked, and a length":     {"POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 411},
		"chunked to health":         {"GET /api/v1/health/ready HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 411},
		"chunked to no route":       {"POST /absent HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 404},
		"chunked to the root":       {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 200},
		"HTTP/1.0, kept alive":      {"POST /api/v1/tokens HTTP/1.0\r\nHost: x\r\n" + auth + "Connection: keep-alive\r\nContent-Length: 41\r\n\r\n" + body, 505},
		"HTTP/1.0, chunked":         {"POST /api/v1/tokens HTTP/1.0\r\nHost: x\r\n" + auth + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked, 505},
		"HTTP/1.9":                  {"GET /api/v1/health/live HTTP/1.9\r\nHost: x\r\n\r\n", 505},
		"preface of HTTP/2":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		"large body, refused early": {"POST /api/v1/tokens HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 9999999999\r\n\r\n", 413},
	} {
		t.Run(name, func(t *testing.T) {
			e.told()
			got := a.raw(t, tt.request+second)
			if len(got) != 1 || got[0].StatusCode != tt.status || !got[0].Close {
				t.Errorf("%d answers, the first %+v", len(got), got)
			}
			for _, r := range e.told() {
				if r.Route == "/api/v1/health/live" && tt.status != http.StatusHTTPVersionNotSupported || r.Status == http.StatusCreated {
					t.Errorf("executed: %s %s %d", r.Method, r.Route, r.Status)
				}
			}
		})
	}
}

// late is a body that does not arrive in time.
type late struct{ io.Reader }

func (l late) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

func (late) Close() error { return nil }

func TestABodyThatDoesNotArriveIs408(t *testing.T) {
	a := newAPI(t)
	handler, ok := a.Config.Handler.(*echo.Echo)
	if !ok {
		t.Fatal("not echo")
	}
	writer := a.token(t, authz.Writer)
	for _, tt := range []struct{ method, target, contentType, body string }{
		{"POST", "/api/v1/tokens", "application/json", `{"class":"email","val`},
		{"PUT", absentImport + "/parts?number=1", "text/csv", "card,email\n4111"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.target, late{strings.NewReader(tt.body)})
		r.ContentLength = 100
		r.Header.Set("Authorization", "Bearer "+writer)
		r.Header.Set("Content-Type", tt.contentType)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusRequestTimeout || w.Header().Get("Connection") != "close" || !strings.Contains(w.Body.String(), `"body_timeout"`) {
			t.Errorf("%s: %d %v %s", tt.target, w.Code, w.Header(), w.Body)
		}
	}
}

// blocked makes the next call wait for the audit store, which says when it has
// come, until release.
func (a *api) blocked() (entered chan struct{}, release func()) {
	entered, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a.log.OnApply(func([]rowstore.Mutation) (bool, error) {
		once.Do(func() { close(entered) })
		<-held
		return true, nil
	})
	return entered, func() {
		a.log.OnApply(nil)
		close(held)
	}
}

func TestAFullServiceSaysSo(t *testing.T) {
	a := newAPI(t, func(o *httpapi.Options) { o.Limits.Concurrent = 1 })
	writer := a.token(t, authz.Writer)
	const body = `{"class":"email","value":"a@example.com"}`
	entered, release := a.blocked()
	first := make(chan int)
	go func() { first <- a.call(t, "POST", "/api/v1/tokens", writer, body).status }()
	<-entered
	for _, token := range []string{writer, ""} {
		r := a.call(t, "POST", "/api/v1/tokens", token, body)
		if r.status != http.StatusServiceUnavailable || r.decode(t).Code != "overloaded" || r.header.Get("Retry-After") != "1" {
			t.Errorf("%d %v %s", r.status, r.header, r.body)
		}
	}
	for _, path := range []string{"/", "/api/v1/health/live", "/api/v1/health/ready"} {
		if r := a.call(t, "GET", path, "", ""); r.status != http.StatusOK {
			t.Errorf("%s starves: %d", path, r.status)
		}
	}
	release()
	if status := <-first; status != http.StatusCreated {
		t.Errorf("the request in its place: %d", status)
	}
	if r := a.call(t, "POST", "/api/v1/tokens", writer, body); r.status != http.StatusCreated {
		t.Errorf("the place was not left: %d", r.status)
	}
}

// One upload of eight places: the second waits for nothing and is refused,
// while smaller requests go on.
func TestUploadsHaveFewerPlaces(t *testing.T) {
	a := newAPI(t, func(o *httpapi.Options) { o.Limits.Concurrent = 15 })
	writer := a.token(t, authz.Writer)
	imports := "/api/v1/imports/" + a.createImport(t, writer)
	r, w := io.Pipe()
	first := make(chan int)
	go func() {
		first <- a.call(t, "PUT", imports+"/parts?number=1", writer, "", csvBody, func(q *http.Request) {
			q.Body, q.ContentLength = r, int64(len(csvFile))
		}).status
	}()
	// The pipe is read when the header has been sent; the place is taken when
	// another upload is refused.
	if _, err := io.WriteString(w, csvFile[:1]); err != nil {
		t.Fatal(err)
	}
	for {
		second := a.call(t, "PUT", imports+"/parts?number=2", writer, csvFile, csvBody)
		if second.status == http.StatusServiceUnavailable {
			break
		}
		if second.status != http.StatusCreated && second.status != http.StatusOK {
			t.Fatalf("%d %s", second.status, second.body)
		}
	}
	if r := a.call(t, "POST", "/api/v1/tokens", writer, `{"class":"email","value":"a@example.com"}`); r.status != http.StatusCreated {
		t.Errorf("a small request: %d", r.status)
	}
	if _, err := io.WriteString(w, csvFile[1:]); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if status := <-first; status != http.StatusCreated {
		t.Errorf("the upload: %d", status)
	}
}

// The answer says when to come back; the log has the caller's name once, and
// the number of the rest.
func TestACallerOverTheRateIsToldAndAuditedOnce(t *testing.T) {
	a, e := observed(t, func(o *httpapi.Options) { o.Limits.PerMinute, o.Limits.Burst = 1, 3 })
	writer := a.token(t, authz.Writer)
	const body = `{"class":"email","value":"a@example.com"}`
	statuses := map[int]int{}
	for range 10 {
		r := a.call(t, "POST", "/api/v1/tokens", writer, body)
		statuses[r.status]++
		if r.status == http.StatusTooManyRequests && (r.decode(t).Code != "rate_limited" || r.header.Get("Retry-After") != "60") {
			t.Errorf("%v %s", r.header, r.body)
		}
	}
	if statuses[http.StatusCreated] != 3 || statuses[http.StatusTooManyRequests] != 7 {
		t.Errorf("%v", statuses)
	}
	if told := e.told(); len(told) != 10 || told[9].Reason != "rate_limited" || told[9].Caller == "" {
		t.Errorf("%d events: %+v", len(told), told)
	}
	if err := a.audit.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var entries []string
	for _, row := range a.log.All() {
		if text := string(row.Body); strings.Contains(text, `"reasonCode":"rate_limited"`) {
			entries = append(entries, text)
		}
	}
	if len(entries) != 2 {
		t.Fatalf("%d entries: %q", len(entries), entries)
	}
	all := strings.Join(entries, "\n")
	for _, want := range []string{
		`"phase":"denied"`, `"id":"aaaaaaaa-0000-4000-8000-000000000001"`, `"action":"tokens.create"`, `"count":6`, `"phase":"counted"`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in %s", want, all)
		}
	}
}

// A flood of refusals costs no line of the log each: the first are told, and
// the number of the others with the next.
func TestAFloodOfRefusalsIsToldInSum(t *testing.T) {
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	a, e := observed(t, func(o *httpapi.Options) { o.Clock = clock })
	const flood = 500
	for range flood {
		if r := a.call(t, "GET", "/api/v1/keys", "", ""); r.status != http.StatusUnauthorized || r.header.Get("WWW-Authenticate") == "" {
			t.Fatalf("%d", r.status)
		}
	}
	first := len(e.told())
	if first != 200 {
		t.Errorf("%d of %d told", first, flood)
	}
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	a.call(t, "GET", "/api/v1/keys", "", "")
	if untold := e.metrics[telemetry.MetricRequestsUntold]; int(untold) != flood-first || len(e.told()) != 1 {
		t.Errorf("%v untold", untold)
	}
	// Whoever is known is told of, and so is what fails.
	a.call(t, "GET", "/api/v1/keys", a.token(t, authz.Operator), "")
	if told := e.told(); len(told) != 1 || told[0].Status != http.StatusOK {
		t.Errorf("%+v", told)
	}
}

// What a client writes into the header is neither believed nor a reason.
func TestTheClientsAddressIsTheProxys(t *testing.T) {
	a, e := observed(t)
	operator := a.token(t, authz.Operator)
	for forwarded, want := range map[string]string{
		"192.0.2.7:4711":                        "192.0.2.7",
		"10.0.0.1, 127.0.0.1, [2001:db8::7]:80": "2001:db8::7",
		"127.0.0.1, <script>":                   "",
	} {
		r := a.call(t, "GET", "/api/v1/keys", operator, "", func(r *http.Request) { r.Header.Set("X-Forwarded-For", forwarded) })
		told := e.told()
		if r.status != http.StatusOK || len(told) != 1 {
			t.Fatalf("%d, %d events", r.status, len(told))
		}
		got := ""
		if told[0].Client != (netip.Addr{}) {
			got = told[0].Client.String()
		}
		if got != want {
			t.Errorf("%s: told as %q", forwarded, got)
		}
	}
}
