package customhandler_test

import (
	"testing"
	"unicode/utf8"

	"secureapi/handler/customhandler"
)

// FuzzDecode feeds any body to both decoders: no panic, and what is accepted
// keeps the promises of Invocation.
func FuzzDecode(f *testing.F) {
	for _, r := range recordings(f, "testdata/invocations.json") {
		f.Add(r.Body)
	}
	f.Add(`{"Data":{"msg":"\"x\""},"Metadata":{"DequeueCount":"\"-1\"","Id":"\"\"","InsertionTime":"0001-01-01T00:00:00"}}`)
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
		tick, err := customhandler.DecodeTimer(request("/Tick", body), "Tick", "myTimer")
		if err != nil && tick != (customhandler.TimerInvocation{}) {
			t.Errorf("an error with data: %+v", tick)
		}
	})
}
