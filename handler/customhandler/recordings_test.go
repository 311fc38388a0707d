package customhandler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"secureapi/handler/customhandler"
)

// recorded is a request as a real Functions host 4.1036 sent it to its handler.
type recorded struct {
	Case    string      `json:"case"`
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"`
}

func recordings(t testing.TB, file string) []recorded {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", file)
	}
	return all
}

// send puts the recorded request on the wire byte for byte, chunked where the
// recording was, and returns the answer.
func send(t *testing.T, addr string, r recorded) (*http.Response, string) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.Method, r.Target)
	chunked := false
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
		chunked = chunked || h[0] == "Transfer-Encoding"
	}
	b.WriteString("\r\n")
	if chunked {
		if r.Body != "" {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(r.Body), r.Body)
		}
		b.WriteString("0\r\n\r\n")
	} else {
		b.WriteString(r.Body)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// catcher serves one queue and one timer function and keeps what they got.
type catcher struct {
	queue    []customhandler.Invocation
	timer    []customhandler.TimerInvocation
	observed []error
}

func (c *catcher) server(t *testing.T) string {
	t.Helper()
	observe := func(_ context.Context, _ string, err error) { c.observed = append(c.observed, err) }
	mux := http.NewServeMux()
	mux.Handle("/QueueFn", customhandler.Queue("QueueFn", "msg", observe, func(_ context.Context, in customhandler.Invocation) error {
		c.queue = append(c.queue, in)
		return nil
	}))
	mux.Handle("/Tick", customhandler.Timer("Tick", "myTimer", observe, func(_ context.Context, in customhandler.TimerInvocation) error {
		c.timer = append(c.timer, in)
		return nil
	}))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func utc(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

// TestRecordedInvocations replays every invocation recorded from a real host.
func TestRecordedInvocations(t *testing.T) {
	// Cases whose message is a JSON object give no metadata: the host let the
	// message override it.
	messages := map[string]struct {
		text    string
		count   int
		noFacts bool
	}{
		"plain text":                        {text: "hello world", count: 1},
		"JSON object":                       {text: `{"id":7,"name":"Jürgen","nested":{"a":[1,2]},"flag":true,"nul":null,"when":"2024-01-02T03:04:05Z","f":1.50,"Id":"x","dequeueCount":99}`, noFacts: true},
		"JSON array":                        {text: `[1,{"a":2}]`, count: 1},
		"JSON string":                       {text: `"quoted"`, count: 1},
		"number text":                       {text: "123", count: 1},
		"true":                              {text: "true", count: 1},
		"empty":                             {text: "", count: 1},
		"special chars":                     {text: "line1\nline2\ttab \"q\" \\ </script> \u2028 😀  \u001f é &amp; %41 + ", count: 1},
		"NUL+control b64":                   {text: "a\x00b\x01\x1f\x7f", count: 1},
		"JSON with $type/ref and dup keys":  {text: `{"$type":"System.Object","$id":"1","a":1,"a":2,"Data":{"x":1},"sys":"mine","msg":"shadow"}`, noFacts: true},
		"big ints / dates":                  {text: `{"big":12345678901234567890,"d":"2024-05-06T07:08:09.123456+02:00","e":1e400}`, noFacts: true},
		"JSON text with leading spaces/BOM": {text: "\ufeff {\"a\":1}", noFacts: true},
		"admin QueueFn string":              {text: "hi there"},
		"admin QueueFn json string":         {text: `{"a":1}`, noFacts: true},
		"admin QueueFn ?code=":              {text: "viacode"},
		"admin QueueFn handler 500":         {text: "fails"},
	}
	ticks := map[string]customhandler.TimerInvocation{
		"admin Tick":    {Last: utc("2026-11-23T21:57:00.002125Z"), Next: utc("2026-11-23T21:58:00Z")},
		"admin Tick {}": {Last: utc("2026-11-23T21:57:00.002125Z"), Next: utc("2026-11-23T21:58:00Z")},
		"timer tick 0":  {Last: utc("2026-11-23T21:59:00Z"), Next: utc("2026-11-23T22:00:00Z"), IsPastDue: true},
		"timer tick 3":  {Last: utc("2026-11-23T22:01:32.8068866Z"), Next: utc("2026-11-23T22:02:00Z")},
	}
	for _, r := range recordings(t, "testdata/invocations.json") {
		t.Run(r.Case, func(t *testing.T) {
			var c catcher
			resp, body := send(t, c.server(t), r)
			if resp.StatusCode != http.StatusOK || body != "{}" || resp.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("answer %d %q %v (%v)", resp.StatusCode, body, resp.Header, c.observed)
			}
			if len(c.observed) != 0 {
				t.Errorf("observed %v", c.observed)
			}
			if want, ok := messages[r.Case]; ok {
				got := c.queue[0]
				if got.Message != want.text || got.DequeueCount != want.count || got.Function != "QueueFn" {
					t.Errorf("got %q %+v, want %q %+v", got.Message, got, want.text, want)
				}
				if want.noFacts && (got.ID != "" || !got.InsertionTime.IsZero() || !got.ExpirationTime.IsZero() || !got.NextVisibleTime.IsZero()) {
					t.Errorf("metadata that the message could have written: %+v", got)
				}
				if !want.noFacts && (got.InsertionTime.IsZero() || got.ExpirationTime.IsZero()) {
					t.Errorf("times missing: %+v", got)
				}
				if got.InvocationID == "" {
					t.Error("no invocation id")
				}
				return
			}
			want, ok := ticks[r.Case]
			if !ok {
				t.Fatal("recording without an expectation")
			}
			want.Function, want.InvocationID = "Tick", c.timer[0].InvocationID
			if diff := cmp.Diff(want, c.timer[0]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRecordedFacts checks one delivery in full.
func TestRecordedFacts(t *testing.T) {
	var c catcher
	send(t, c.server(t), recordings(t, "testdata/invocations.json")[0])
	want := []customhandler.Invocation{{
		Function:        "QueueFn",
		InvocationID:    "c5cf8bb1-42a9-4056-ac46-d9e1d0dda3ae",
		Message:         "hello world",
		ID:              "3da08322-6cb5-4a06-b982-a3dd6d65dc74",
		DequeueCount:    1,
		InsertionTime:   utc("2026-11-23T21:50:43Z"),
		ExpirationTime:  utc("2026-11-30T21:50:43Z"),
		NextVisibleTime: utc("2026-11-23T22:00:43Z"),
	}}
	if diff := cmp.Diff(want, c.queue); diff != "" {
		t.Error(diff)
	}
}

// TestRecordedOutsiders replays what requests from outside looked like when
// they reached the handler at or near a function's path, through the host in
// forwarding mode. None may become an invocation.
func TestRecordedOutsiders(t *testing.T) {
	for _, r := range recordings(t, "testdata/outsiders.json") {
		t.Run(r.Case, func(t *testing.T) {
			var c catcher
			resp, body := send(t, c.server(t), r)
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("answer %d %q", resp.StatusCode, body)
			}
			if len(c.queue)+len(c.timer) != 0 {
				t.Errorf("it became an invocation: %+v %+v", c.queue, c.timer)
			}
			if r.Target == "/QueueFn" || r.Target == "/Tick" {
				if len(c.observed) != 1 || !errors.Is(c.observed[0], customhandler.ErrNotInvocation) {
					t.Errorf("observed %v", c.observed)
				}
			}
		})
	}
}
