package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// The probe is a handler process that tells what it sees. It is this test binary
// started again by the stand-in: it reads requests off the wire without any
// library between, reports each to the test, and does what the test answers.

const probeVariable = "TEST_PROBE_CONTROL"

func TestMain(m *testing.M) {
	if control := os.Getenv(probeVariable); control != "" {
		if err := runProbe(control); err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			os.Exit(99)
		}
	}
	if os.Getenv(realHandlerVariable) != "" {
		os.Exit(runRealHandler())
	}
	os.Exit(m.Run())
}

// seen is a request as it came over the wire, in the form of the recordings.
type seen struct {
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Version string      `json:"version"`
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"`
	BodyLen int         `json:"body_len"`
}

func (s seen) header(name string) string {
	for _, h := range s.Headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// started is what the probe tells of itself at its start.
type started struct {
	PID  int      `json:"pid"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	Args []string `json:"args"`
}

// reply is what the test has the probe do.
type reply struct {
	Status  int         `json:"status"`
	Reason  string      `json:"reason"`
	Headers [][2]string `json:"headers"`
	Body    []byte      `json:"body"`
	// NoLength leaves Content-Length out, as a 204 does.
	NoLength bool `json:"no_length"`
	// Chunks are sent one at a time, each when the test has seen the last.
	Chunks []string `json:"chunks"`
	// Exit ends the process instead of answering.
	Exit *int `json:"exit"`
	// Stdout and Stderr are written before the answer.
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	// Drop closes the connection instead of answering.
	Drop bool `json:"drop"`
	// Hang never answers.
	Hang bool `json:"hang"`
}

func runProbe(control string) error {
	tell := func(path string, v, answer any) error {
		body, err := json.Marshal(v)
		if err != nil {
			return err
		}
		resp, err := http.Post(control+path, "application/json", bytes.NewReader(body)) //nolint:noctx // the test's own process
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return json.UnmarshalRead(resp.Body, answer)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	var first reply
	if err := tell("/start", started{os.Getpid(), os.Environ(), dir, os.Args[1:]}, &first); err != nil {
		return err
	}
	if first.Exit != nil {
		os.Exit(*first.Exit)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")) //nolint:noctx // a child process
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for {
				s, err := readSeen(in)
				if err != nil {
					return
				}
				var r reply
				if err := tell("/request", s, &r); err != nil {
					fmt.Fprintln(os.Stderr, "probe:", err)
					os.Exit(98)
				}
				if !r.do(conn, s) {
					return
				}
			}
		}()
	}
}

func readSeen(in *bufio.Reader) (seen, error) {
	var s seen
	line, err := in.ReadString('\n')
	if err != nil {
		return s, err
	}
	parts := strings.SplitN(strings.TrimRight(line, "\r\n"), " ", 3)
	if len(parts) != 3 {
		return s, errors.New("no request line")
	}
	s.Method, s.Target, s.Version = parts[0], parts[1], parts[2]
	for {
		if line, err = in.ReadString('\n'); err != nil {
			return s, err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		s.Headers = append(s.Headers, [2]string{name, strings.TrimSpace(value)})
	}
	var body []byte
	if s.header("Transfer-Encoding") == "chunked" {
		body, err = io.ReadAll(httputil.NewChunkedReader(in))
		if err == nil {
			_, err = in.ReadString('\n')
		}
	} else if n, _ := strconv.Atoi(s.header("Content-Length")); n > 0 {
		body = make([]byte, n)
		_, err = io.ReadFull(in, body)
	}
	s.BodyLen, s.Body = len(body), string(body)
	if !utf8.Valid(body) {
		s.Body = fmt.Sprintf("hex:%x", body)
	}
	return s, err
}

// do carries the reply out and reports whether the connection goes on.
func (r reply) do(conn net.Conn, s seen) bool {
	fmt.Print(r.Stdout)
	fmt.Fprint(os.Stderr, r.Stderr)
	switch {
	case r.Exit != nil:
		os.Exit(*r.Exit)
	case r.Drop:
		return false
	case r.Hang:
		select {}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", r.Status, r.Reason)
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if len(r.Chunks) > 0 {
		fmt.Fprint(&b, "Transfer-Encoding: chunked\r\n\r\n")
		for _, c := range r.Chunks {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
			if _, err := conn.Write(b.Bytes()); err != nil {
				return false
			}
			b.Reset()
			time.Sleep(50 * time.Millisecond)
		}
		fmt.Fprint(&b, "0\r\n\r\n")
	} else {
		if !r.NoLength {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
		}
		b.WriteString("\r\n")
		if s.Method != http.MethodHead {
			b.Write(r.Body)
		}
	}
	_, err := conn.Write(b.Bytes())
	return err == nil && !strings.EqualFold(s.header("Connection"), "close")
}

// jsonOK is the answer of the recordings' handler.
func jsonOK() reply {
	return reply{Status: 200, Reason: "OK", Headers: [][2]string{{"Content-Type", "application/json"}}, Body: []byte(`{"Outputs": {}, "Logs": [], "ReturnValue": null}`)}
}

func exitWith(code int) reply { return reply{Exit: &code} }

// lab is a stand-in with a probe as its handler.
type lab struct {
	*Host
	t    *testing.T
	dir  string
	stop context.CancelFunc
	done chan error
	log  *logBuffer

	mu     sync.Mutex
	starts []started
	seen   []seen
	onReq  func(seen) reply
	onInit func(started) reply
	arrive chan seen
}

// labOptions describe the app of a lab. Zero values give one without triggers.
type labOptions struct {
	functions map[string]string // name -> function.json
	host      string            // members of host.json
	env       []string
	mode      Mode
	onRequest func(seen) reply
	onStart   func(started) reply
	client    *http.Client
	stateDir  string
}

const (
	httpFunction  = `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"%s","route":"%s"%s},{"type":"http","direction":"out","name":"res"}]}`
	timerFunction = `{"bindings":[{"type":"timerTrigger","direction":"in","name":"myTimer","schedule":"%s"}]}`
	queueFunction = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"msg","queueName":"%s","connection":"DataStorage"}]}`
)

func anyMethod(route string) string { return fmt.Sprintf(httpFunction, "anonymous", route, "") }
func withMethods(route, methods string) string {
	return fmt.Sprintf(httpFunction, "anonymous", route, `,"methods":[`+methods+`]`)
}

// newLab writes the app and makes its host without running it.
func newLab(t *testing.T, o labOptions) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), log: &logBuffer{}, done: make(chan error, 1), onReq: o.onRequest, onInit: o.onStart, arrive: make(chan seen, 1000)}
	control := httptest.NewServer(http.HandlerFunc(l.control))
	t.Cleanup(control.Close)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"host.json": `{"version":"2.0",` + o.host + `"customHandler":{"description":{"defaultExecutablePath":` + quote(executable) +
		`,"arguments":["--flag","%PROBE_ARG%"]},"enableForwardingHttpRequest":true,"enableProxyingHttpRequest":true}}`}
	for name, text := range o.functions {
		files[name+"/function.json"] = text
	}
	for name, text := range files {
		path := l.dir + "/" + name
		if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if o.stateDir == "" {
		o.stateDir = t.TempDir()
	}
	// The race detector would sleep for a second at every exit of the probe.
	env := append(os.Environ(), "GORACE=atexit_sleep_ms=0", probeVariable+"="+control.URL, "PROBE_ARG=expanded")
	l.Host, err = New(Options{
		Dir: l.dir, Mode: o.mode, Env: append(env, o.env...), Log: l.log, StateDir: o.stateDir,
		HTTPClient: o.client, MasterKey: "master-key",
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// startLab runs a lab until the end of the test.
func startLab(t *testing.T, o labOptions) *lab {
	t.Helper()
	l := newLab(t, o)
	l.run()
	select {
	case <-l.Ready():
	case err := <-l.done:
		t.Fatalf("the host ended: %v\n%s", err, l.log)
	}
	return l
}

func (l *lab) run() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	ended := make(chan struct{})
	go func() {
		l.done <- l.Run(ctx)
		close(ended)
	}()
	l.t.Cleanup(func() {
		stop()
		<-ended
		if l.t.Failed() {
			l.t.Logf("log of the host:\n%s", l.log)
		}
	})
}

// control is the test's side of the probe.
func (l *lab) control(w http.ResponseWriter, r *http.Request) {
	var answer reply
	if r.URL.Path == "/start" {
		var s started
		if err := json.UnmarshalRead(r.Body, &s); err != nil {
			l.t.Error(err)
		}
		l.mu.Lock()
		l.starts = append(l.starts, s)
		l.mu.Unlock()
		if l.onInit != nil {
			answer = l.onInit(s)
		}
	} else {
		var s seen
		if err := json.UnmarshalRead(r.Body, &s); err != nil {
			l.t.Error(err)
		}
		answer = jsonOK()
		// The host's own question whether the handler is up has no
		// invocation id.
		if s.Target != "/" || s.header(headerInvocationID) != "" {
			l.mu.Lock()
			l.seen = append(l.seen, s)
			l.mu.Unlock()
			l.arrive <- s
			if l.onReq != nil {
				answer = l.onReq(s)
			}
		}
	}
	if err := json.MarshalWrite(w, answer); err != nil {
		l.t.Error(err)
	}
}

// requests returns what the probe saw so far and forgets it.
func (l *lab) requests() []seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.seen
	l.seen = nil
	for len(l.arrive) > 0 {
		<-l.arrive
	}
	return all
}

func (l *lab) allStarts() []started {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]started(nil), l.starts...)
}

// wait returns the next request that reaches the probe.
func (l *lab) wait() seen {
	l.t.Helper()
	select {
	case s := <-l.arrive:
		return s
	case <-time.After(time.Minute):
		l.t.Fatalf("nothing reached the handler\n%s", l.log)
		return seen{}
	}
}

// raw sends bytes to the host and reads one answer to its end.
func (l *lab) raw(request string) (*http.Response, string) {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.Addr()) //nolint:noctx // a test
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		l.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err == nil && resp.StatusCode == http.StatusContinue {
		resp.Body.Close()
		resp, err = http.ReadResponse(in, &http.Request{Method: method})
	}
	if err != nil {
		l.t.Fatalf("%v\n%s", err, l.log)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp, string(body)
}

// get asks the host for a path.
func (l *lab) get(path string) (int, string) {
	l.t.Helper()
	resp, body := l.raw("GET " + path + " HTTP/1.1\r\nHost: example.test:8080\r\nConnection: close\r\n\r\n")
	return resp.StatusCode, body
}

// logBuffer collects the host's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func load[T any](t *testing.T, file string) []T {
	t.Helper()
	text, err := os.ReadFile("testdata/recordings/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", file)
	}
	return all
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
