package customhandler_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/go-json-experiment/json"

	"secureapi/handler/customhandler"
)

// request is a request exactly as the host sends it.
func request(target, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, io.NopCloser(strings.NewReader(body)))
	r.RequestURI = target
	r.ContentLength = -1
	r.TransferEncoding = []string{"chunked"}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("X-Azure-Functions-InvocationId", "c5cf8bb1-42a9-4056-ac46-d9e1d0dda3ae")
	return r
}

func decode(body string) (customhandler.Invocation, error) {
	return customhandler.DecodeQueue(request("/QueueFn", body), "QueueFn", "msg")
}

func TestOnlyTheHostsShape(t *testing.T) {
	const body = `{"Data":{"msg":"\"x\""},"Metadata":{}}`
	if _, err := decode(body); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*http.Request){
		"GET":                   func(r *http.Request) { r.Method = http.MethodGet },
		"PUT":                   func(r *http.Request) { r.Method = http.MethodPut },
		"query":                 func(r *http.Request) { r.RequestURI += "?x=1" },
		"other function":        func(r *http.Request) { r.RequestURI = "/Other" },
		"prefix":                func(r *http.Request) { r.RequestURI = "/api/QueueFn" },
		"encoded target":        func(r *http.Request) { r.RequestURI = "/%51ueueFn" },
		"trailing slash":        func(r *http.Request) { r.RequestURI += "/" },
		"other case":            func(r *http.Request) { r.RequestURI = "/queuefn" },
		"absolute target":       func(r *http.Request) { r.RequestURI = "http://127.0.0.1/QueueFn" },
		"content length":        func(r *http.Request) { r.TransferEncoding, r.ContentLength = nil, int64(len(body)) },
		"HTTP/1.0 until close":  func(r *http.Request) { r.TransferEncoding = nil },
		"two codings":           func(r *http.Request) { r.TransferEncoding = []string{"gzip", "chunked"} },
		"no content type":       func(r *http.Request) { r.Header.Del("Content-Type") },
		"text":                  func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		"two content types":     func(r *http.Request) { r.Header.Add("Content-Type", "application/json") },
		"another charset":       func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-16") },
		"a parameter too many":  func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8; x=1") },
		"problem+json and such": func(r *http.Request) { r.Header.Set("Content-Type", "application/problem+json") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := request("/QueueFn", body)
			change(r)
			_, err := customhandler.DecodeQueue(r, "QueueFn", "msg")
			if !errors.Is(err, customhandler.ErrNotInvocation) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestMalformedBodies(t *testing.T) {
	const secret = "4111111111111111"
	tests := map[string]string{
		"empty":              ``,
		"not JSON":           secret,
		"array":              `["` + secret + `"]`,
		"null":               `null`,
		"truncated":          `{"Data":{"msg":"\"` + secret,
		"trailing":           `{"Data":{"msg":"\"x\""},"Metadata":{}}{"` + secret + `":1}`,
		"unknown member":     `{"Data":{"msg":"\"x\""},"Metadata":{},"` + secret + `":1}`,
		"duplicate member":   `{"Data":{"msg":"\"x\"","msg":"\"` + secret + `\""},"Metadata":{}}`,
		"duplicate envelope": `{"Data":{"msg":"\"x\""},"Data":{"msg":"\"` + secret + `\""}}`,
		"wrong case":         `{"data":{"msg":"\"x\""},"Metadata":{}}`,
		"other binding":      `{"Data":{"` + secret + `":"\"x\""},"Metadata":{}}`,
		"two bindings":       `{"Data":{"msg":"\"x\"","` + secret + `":"\"x\""},"Metadata":{}}`,
		"no data":            `{"Metadata":{}}`,
		"data null":          `{"Data":null,"Metadata":{}}`,
		"binding object":     `{"Data":{"msg":{"a":"` + secret + `"}},"Metadata":{}}`,
		"binding null":       `{"Data":{"msg":null},"Metadata":{}}`,
		"encoded once only":  `{"Data":{"msg":"` + secret + `"},"Metadata":{}}`,
		"inner not a string": `{"Data":{"msg":"{\"a\":1}"},"Metadata":{}}`,
		"inner trailing":     `{"Data":{"msg":"\"x\"` + secret + `"},"Metadata":{}}`,
		"invalid UTF-8":      "{\"Data\":{\"msg\":\"\\\"\xff" + secret + "\\\"\"},\"Metadata\":{}}",
		"lone surrogate":     `{"Data":{"msg":"\"\\ud800` + secret + `\""},"Metadata":{}}`,
		"metadata array":     `{"Data":{"msg":"\"x\""},"Metadata":["` + secret + `"]}`,
		"count negative":     `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"-1"}}`,
		"count plus":         `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"+1"}}`,
		"count huge":         `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"99999999999999999999"}}`,
		"count absurd":       `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"1001"}}`,
		"count fraction":     `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"1.0"}}`,
		"count exponent":     `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"1e2"}}`,
		"count number":       `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":1}}`,
		"count text":         `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"\"` + secret + `x\""}}`,
		"count overflow":     `{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"4294967297"}}`,
		"id object":          `{"Data":{"msg":"\"x\""},"Metadata":{"Id":{"a":"` + secret + `"}}}`,
		"time":               `{"Data":{"msg":"\"x\""},"Metadata":{"InsertionTime":"` + secret + `"}}`,
		"too large":          `{"Data":{"msg":"\"` + strings.Repeat("x", 1<<20) + `\""},"Metadata":{}}`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			in, err := decode(body)
			if !errors.Is(err, customhandler.ErrBody) {
				t.Fatalf("got %+v, error %v", in, err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes the body: %v", err)
			}
		})
	}
}

func TestDequeueCount(t *testing.T) {
	for value, want := range map[string]int{`"0"`: 0, `"5"`: 5, `"1000"`: 1000, `"\"7\""`: 7, `""`: 0} {
		in, err := decode(`{"Data":{"msg":"\"sealed\""},"Metadata":{"DequeueCount":` + value + `}}`)
		if err != nil || in.DequeueCount != want {
			t.Errorf("%s: %d, %v", value, in.DequeueCount, err)
		}
	}
}

// A message that is a JSON object may have written its own metadata, however
// the host's lenient parser was led to see the object.
func TestForgedMetadataIsDropped(t *testing.T) {
	for _, message := range []string{`{"dequeueCount":99}`, " \t\n{\"Id\":\"x\"}", "\u00a0{}", "\u2003{}", "\ufeff{}", "\u0085{}", "\x00{}"} {
		encoded := quote(t, quote(t, message))
		in, err := decode(`{"Data":{"msg":` + encoded + `},"Metadata":{"DequeueCount":"\"-99\"","Id":{"x":1},"InsertionTime":"never"}}`)
		if err != nil {
			t.Errorf("%q: %v", message, err)
			continue
		}
		if in.Message != message || in.DequeueCount != 0 || in.ID != "" || !in.InsertionTime.IsZero() {
			t.Errorf("%q: %+v", message, in)
		}
	}
}

func TestInvocationID(t *testing.T) {
	const id = "33e5ef09-ba23-443f-bf28-281d3068e3ae"
	for name, tt := range map[string]struct {
		values []string
		want   string
	}{
		"the host's":       {[]string{id}, id},
		"joined":           {[]string{"spoof, " + id}, ""},
		"joined with guid": {[]string{id + ", " + id}, ""},
		"repeated":         {[]string{id, id}, ""},
		"absent":           {nil, ""},
		"upper case":       {[]string{strings.ToUpper(id)}, ""},
		"log injection":    {[]string{id + "\nlevel=INFO"}, ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		for _, v := range tt.values {
			r.Header.Add("X-Azure-Functions-InvocationId", v)
		}
		if got := customhandler.InvocationID(r); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Every text that a queue can hold arrives unchanged.
func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := rapid.StringN(0, 200, -1).Draw(t, "message")
		count := rapid.IntRange(0, customhandler.MaxDequeueCount).Draw(t, "count")
		inner, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		outer, err := json.Marshal(string(inner))
		if err != nil {
			t.Fatal(err)
		}
		in, err := decode(`{"Data":{"msg":` + string(outer) + `},"Metadata":{"DequeueCount":"` + strconv.Itoa(count) + `"}}`)
		if err != nil || in.Message != message {
			t.Fatalf("%q became %q, %v", message, in.Message, err)
		}
		if in.DequeueCount != count && in.DequeueCount != 0 {
			t.Fatalf("count %d became %d", count, in.DequeueCount)
		}
	})
}

func quote(t testing.TB, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
