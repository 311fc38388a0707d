package host

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/stage/funcjson"
)

// recordedBody is the body of a recorded invocation, as far as tests need it.
type recordedBody struct {
	Data     map[string]jsontext.Value
	Metadata map[string]jsontext.Value
}

func parseBody(t *testing.T, s seen) recordedBody {
	t.Helper()
	var b recordedBody
	if err := json.Unmarshal([]byte(s.Body), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func text(t *testing.T, v jsontext.Value) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		t.Fatalf("%s: %v", v, err)
	}
	return s
}

// textTwice reads a value that the host quoted twice; "" when absent.
func textTwice(t *testing.T, v jsontext.Value) string {
	t.Helper()
	if len(v) == 0 {
		return ""
	}
	return text(t, jsontext.Value(text(t, v)))
}

func instant(t *testing.T, v jsontext.Value) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text(t, v))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// now is the moment of a recorded invocation.
func (b recordedBody) now(t *testing.T) time.Time {
	t.Helper()
	var s struct{ UtcNow string }
	if err := json.Unmarshal(b.Metadata["sys"], &s); err != nil {
		return time.Time{} // the message overrode it
	}
	at, err := time.Parse(time.RFC3339Nano, s.UtcNow)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func withoutGUIDs(s string) string { return anyGUID.ReplaceAllString(s, "<guid>") }

// TestQueuePayloadContract builds every recorded invocation anew and compares
// it with the recording byte for byte.
func TestQueuePayloadContract(t *testing.T) {
	checked := 0
	for _, r := range append(load[exchange](t, "queue-payloads.json"), load[exchange](t, "admin.json")...) {
		for _, s := range r.HandlerSaw {
			if s.Target != "/QueueFn" {
				continue
			}
			checked++
			t.Run(r.Case, func(t *testing.T) {
				b := parseBody(t, s)
				facts := queueFacts{
					popReceipt: textTwice(t, b.Metadata["PopReceipt"]), insertion: instant(t, b.Metadata["InsertionTime"]),
					expiration: instant(t, b.Metadata["ExpirationTime"]), nextVisible: instant(t, b.Metadata["NextVisibleTime"]),
				}
				if facts.popReceipt != "" {
					facts.id, facts.dequeueCount = "00000000-0000-0000-0000-000000000000", 1
				}
				got := queuePayload("QueueFn", "msg", textTwice(t, b.Data["msg"]), facts, b.now(t))
				if diff := cmp.Diff(withoutGUIDs(s.Body), withoutGUIDs(got)); diff != "" {
					t.Error(diff)
				}
				if len(got) != s.BodyLen && !strings.Contains(r.Case, "JSON object") {
					t.Errorf("%d bytes, recorded %d", len(got), s.BodyLen)
				}
			})
		}
	}
	if checked < 15 {
		t.Errorf("only %d recordings", checked)
	}
}

// TestTimerPayloadContract does the same for ticks. RetryContext belongs to the
// retry policy of the recorded app, which this project does not use.
func TestTimerPayloadContract(t *testing.T) {
	var ticks []seen
	for _, r := range load[exchange](t, "admin.json") {
		for _, s := range r.HandlerSaw {
			if s.Target == "/Tick" {
				ticks = append(ticks, s)
			}
		}
	}
	for _, s := range append(ticks, load[seen](t, "timer.json")...) {
		b := parseBody(t, s)
		var tick struct {
			ScheduleStatus timerStatus
			IsPastDue      bool
		}
		if err := json.Unmarshal(b.Data["myTimer"], &tick); err != nil {
			t.Fatal(err)
		}
		var input *string
		if v, ok := b.Metadata["myTimer"]; ok {
			input = new(textTwice(t, v))
		}
		got := timerPayload("Tick", "myTimer", &tick.ScheduleStatus, tick.IsPastDue, input, b.now(t))
		want := strings.Replace(s.Body, `,"RetryContext":{"RetryCount":0,"MaxRetryCount":2,"Exception":null,"Instance":null,"State":{}}`, "", 1)
		if diff := cmp.Diff(withoutGUIDs(want), withoutGUIDs(got)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTimerPayloadWithoutState(t *testing.T) {
	got := timerPayload("Tick", "myTimer", nil, false, nil, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	want := `{"Data":{"myTimer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}},"Metadata":{"sys":{"MethodName":"Tick","UtcNow":"2026-01-02T03:04:05Z","RandGuid":"<guid>"}}}`
	if diff := cmp.Diff(want, withoutGUIDs(got)); diff != "" {
		t.Error(diff)
	}
}

// TestInvocationOnTheWire compares the whole request, not its body alone.
func TestInvocationOnTheWire(t *testing.T) {
	l := startLab(t, labOptions{functions: recordedApp()})
	for _, r := range load[exchange](t, "admin.json") {
		for _, want := range r.HandlerSaw {
			if want.Target != "/Tick" {
				continue
			}
			f, ok := l.function("Tick")
			if !ok {
				t.Fatal("no function")
			}
			l.requests()
			if err := l.invoke(t.Context(), f, want.Body); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(comparableForm(want), comparableForm(l.requests()[0])); diff != "" {
				t.Errorf("%s (-recorded +here):\n%s", r.Case, diff)
			}
		}
	}
}

// TestAnswerContract judges every recorded answer of a handler: completed on the
// first attempt, delivered again until it was poison, or never completed.
func TestAnswerContract(t *testing.T) {
	type recording struct {
		Case string `json:"case"`
		Rule struct {
			Status  int            `json:"status"`
			Headers *[][2]string   `json:"headers"`
			Body    jsontext.Value `json:"body"`
		} `json:"rule"`
		Attempts []jsontext.Value `json:"attempts"`
		Poison   []jsontext.Value `json:"poison_after"`
	}
	hangs := map[string]bool{
		"204 no content": true, "200 empty body no content-type (CL 0)": true,
		"200 empty body application/json (CL 0)": true, "200 body null json": true,
	}
	for _, r := range load[recording](t, "queue-answers.json") {
		t.Run(r.Case, func(t *testing.T) {
			a := &buffered{status: r.Rule.Status, header: http.Header{}}
			if a.status == 0 {
				a.status = 200
			}
			if r.Rule.Headers == nil {
				a.header.Set("Content-Type", "application/json") // the recorder's default
			} else {
				for _, h := range *r.Rule.Headers {
					a.header.Add(h[0], h[1])
				}
			}
			a.body = r.Rule.Body
			if r.Rule.Body.Kind() == '"' {
				a.body = []byte(text(t, r.Rule.Body))
			}
			_, err := judge(a)
			poisoned := strings.Contains(string(r.Poison[1]), "raw")
			switch {
			case hangs[r.Case]:
				if !errors.Is(err, errHangs) {
					t.Errorf("judged %v, recorded: it hangs", err)
				}
			case poisoned != (err != nil) || errors.Is(err, errHangs):
				t.Errorf("judged %v, recorded: poison %v", err, poisoned)
			}
		})
	}
}

func TestAnswerLogs(t *testing.T) {
	l := startLab(t, labOptions{functions: recordedApp(), onRequest: func(seen) reply {
		r := jsonOK()
		r.Body = []byte(`{"logs":["first",null,"second"]}`)
		return r
	}})
	f, _ := l.function("Tick")
	if err := l.invoke(t.Context(), f, "{}"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[Information] Function.Tick.User: first\n", "Function.Tick.User: second\n"} {
		if !strings.Contains(l.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// Messages that are almost objects are not merged.
func TestMergeIgnores(t *testing.T) {
	for _, message := range []string{"{", "{]}", `{"a":1} {"b":2}`, `{"a":}`, "[]", `"{}"`, "{}{", "\ufeff{\"a\":1}"} {
		var m members
		mergeObject(&m, message)
		if len(m) != 0 {
			t.Errorf("%q gave %v", message, m)
		}
	}
}

func TestNumber(t *testing.T) {
	for literal, want := range map[string]string{
		"7": "7", "-0": "-0", "1.50": "1.5", "1e400": "Infinity", "-1e400": "-Infinity", "1e3": "1000",
		"1e20": "1E+20", "1.25e-7": "1.25E-07", "0.0": "0", "12345678901234567890": "12345678901234567890",
	} {
		if got := number(literal); got != want {
			t.Errorf("%s: %s, want %s", literal, got, want)
		}
	}
}

func TestAdminContract(t *testing.T) {
	functions := maps.Clone(recordedApp())
	l := startLab(t, labOptions{functions: functions})
	const key = "x-functions-key: master-key"
	status := func(request string) int {
		t.Helper()
		resp, _ := l.raw(request)
		return resp.StatusCode
	}
	invoke := func(name, body string) string {
		return plain("POST", "/admin/functions/"+name, key, "Content-Length: "+strconv.Itoa(len(body))) + body
	}
	recorded := map[string]int{}
	for _, r := range load[exchange](t, "admin.json") {
		resp, _ := parseRecorded(t, r.Response, http.MethodGet)
		recorded[r.Case] = resp.StatusCode
	}
	for name, request := range map[string]string{
		"admin no key":           plain("POST", "/admin/functions/Tick"),
		"admin Tick":             invoke("Tick", `{"input":""}`),
		"admin Tick {}":          invoke("tick", `{}`),
		"admin Hello (http fn)":  invoke("Hello", `{"input":"x"}`),
		"admin nope":             invoke("nope", `{"input":"x"}`),
		"GET /admin/functions":   plain("GET", "/admin/functions", key),
		"GET /admin/host/status": plain("GET", "/admin/host/status", key),
		"GET /admin/host/ping":   plain("GET", "/admin/host/ping"),
	} {
		if got := status(request); got != recorded[name] {
			t.Errorf("%s: %d, recorded %d", name, got, recorded[name])
		}
	}
	if got := l.wait(); got.Target != "/Tick" {
		t.Errorf("the handler saw %+v", got)
	}
	l.wait()
	if got := l.requests(); len(got) != 2 {
		t.Errorf("the handler saw %d calls, want 2: an HTTP function is not called", len(got))
	}
	for name, request := range map[string]string{
		"no key":        plain("GET", "/admin/functions"),
		"wrong key":     plain("GET", "/admin/functions", "x-functions-key: master-kez"),
		"decoded path":  plain("GET", "/admi%6e/host/status"),
		"webhooks":      plain("GET", "/runtime/webhooks/x"),
		"wrong ?code=":  plain("GET", "/admin/host/status?code=x"),
		"unknown, open": plain("POST", "/admin/functions/nope"),
	} {
		if got := status(request); got != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got)
		}
	}
	for name, request := range map[string]string{
		"object input": invoke("Tick", `{"input":{"a":1}}`),
		"no body":      invoke("Tick", ""),
		"not JSON":     invoke("Tick", "{"),
	} {
		if got := status(request); got != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := status(plain("GET", "/admin/host/status?code=master-key")); got != 200 {
		t.Errorf("?code=: %d", got)
	}
	if _, body := l.raw(plain("GET", "/admin/host/status", key)); !strings.Contains(body, `"state":"Running"`) {
		t.Errorf("status %s", body)
	}
}

// The admin endpoint calls a queue function only with input.
func TestAdminPayload(t *testing.T) {
	h := &Host{}
	f := funcjson.Function{Name: "QueueFn", Bindings: []funcjson.Binding{{Type: funcjson.QueueTrigger, Name: "msg"}}}
	if _, ok := h.adminPayload(f, nil, time.Now()); ok {
		t.Error("called without input")
	}
	payload, ok := h.adminPayload(f, new("hi"), time.Now())
	if !ok || !strings.Contains(payload, `"msg":"\"hi\""`) || !strings.Contains(payload, `"DequeueCount":"0"`) || strings.Contains(payload, "PopReceipt") {
		t.Errorf("%v %s", ok, payload)
	}
}

// A request whose kept connection breaks is not sent again by the stand-in, as
// Go's transport would: the handler may have acted on it.
func TestOnceSendsOnce(t *testing.T) {
	l := startLab(t, labOptions{functions: hello, onRequest: func(s seen) reply {
		if strings.Contains(s.Target, "drop") {
			return reply{Drop: true}
		}
		return jsonOK()
	}})
	for i, target := range []string{"/api/hello", "/api/hello?drop"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr()+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := []int{http.StatusOK, http.StatusInternalServerError}[i]; resp.StatusCode != want {
			t.Errorf("%s: %d", target, resp.StatusCode)
		}
	}
	if n := len(l.requests()); n != 2 {
		t.Errorf("the handler saw %d requests, want 2", n)
	}
}
