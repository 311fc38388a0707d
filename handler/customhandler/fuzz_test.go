package customhandler_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"secureapi/handler/customhandler"
	"secureapi/handler/fuzzcheck"
)

// FuzzDecode feeds any body to both decoders: no panic, and what is accepted
// keeps the promises of Invocation.
func FuzzDecode(f *testing.F) {
	for _, r := range recordings(f, "testdata/invocations.json") {
		f.Add(r.Body)
	}
	f.Add(`{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"\"-1\"","Id":"\"\"","InsertionTime":"0001-01-01T00:00:00"}}`)
	f.Add(`{"Data":{"msg":"\"a\"","msg":"\"b\""}}`)
	f.Add(`{"Data":{"msg":"\"\ud800\""},"Metadata":null}`)
	f.Add(strings.Repeat(`{"Data":`, 3000))
	f.Fuzz(func(t *testing.T, body string) {
		in, err := customhandler.DecodeQueue(request("/QueueFn", body), "QueueFn", "msg")
		if err != nil && in != (customhandler.Invocation{}) {
			t.Errorf("an error with data: %+v", in)
		}
		if in.DequeueCount < 0 || in.DequeueCount > customhandler.MaxDequeueCount {
			t.Errorf("count %d", in.DequeueCount)
		}
		if !utf8.ValidString(in.Message) || !utf8.ValidString(in.ID) {
			t.Error("invalid UTF-8 accepted")
		}
		for _, text := range []string{body, fuzzcheck.Marked(body)} {
			if _, err := customhandler.DecodeQueue(request("/QueueFn", text), "QueueFn", "msg"); err != nil && (!errors.Is(err, customhandler.ErrBody) || fuzzcheck.Quotes(err.Error())) {
				t.Errorf("%q: %v", text, err)
			}
			if _, err := customhandler.DecodeTimer(request("/Tick", text), "Tick", "myTimer"); err != nil && (!errors.Is(err, customhandler.ErrBody) || fuzzcheck.Quotes(err.Error())) {
				t.Errorf("%q: %v", text, err)
			}
		}
		r := request("/QueueFn", body)
		if n, ok := fuzzcheck.Allocates(len(body), func() { _, _ = customhandler.DecodeQueue(r, "QueueFn", "msg") }); err != nil && !ok {
			t.Errorf("refusing %d bytes took %d", len(body), n)
		}
		tick, err := customhandler.DecodeTimer(request("/Tick", body), "Tick", "myTimer")
		if err != nil && tick != (customhandler.TimerInvocation{}) {
			t.Errorf("an error with data: %+v", tick)
		}
	})
}
