package customhandler_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/customhandler"
)

func TestWriteSuccess(t *testing.T) {
	for want, res := range map[string]customhandler.Result{
		`{}`: {},
		`{"Outputs":{"out":"x"},"Logs":["done"],"ReturnValue":"v"}`: {Outputs: map[string]any{"out": "x"}, Logs: []string{"done"}, ReturnValue: "v"},
	} {
		w := httptest.NewRecorder()
		if err := customhandler.WriteSuccess(w, res); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d %v %s, want %s", w.Code, w.Header(), w.Body, want)
		}
	}
	if err := customhandler.WriteSuccess(httptest.NewRecorder(), customhandler.Result{ReturnValue: func() {}}); err == nil {
		t.Error("an unencodable value was accepted")
	}
}

// No status may be one that the host takes for a success or that hangs it.
func TestWriteFailureIsAFailure(t *testing.T) {
	for given, want := range map[int]int{500: 500, 400: 400, 599: 599, 200: 500, 204: 500, 302: 500, 0: 500, 600: 500} {
		w := httptest.NewRecorder()
		if err := customhandler.WriteFailure(w, given, "The function failed."); err != nil {
			t.Fatal(err)
		}
		if w.Code != want || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d: %d %v", given, w.Code, w.Header())
		}
	}
}

func TestDispatch(t *testing.T) {
	failure := errors.New("reading the row: 4111111111111111")
	const ok = `{"Data":{"msg":"\"x\""},"Metadata":{}}`
	tests := map[string]struct {
		body     string
		returns  error
		status   int
		observed error
	}{
		"success":               {ok, nil, 200, nil},
		"failure":               {ok, failure, 500, failure},
		"malformed":             {`{}`, nil, 400, customhandler.ErrBody},
		"own errors stay 500":   {ok, customhandler.ErrNotInvocation, 500, customhandler.ErrNotInvocation},
		"a cancelled call, 500": {ok, context.Canceled, 500, context.Canceled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var observed []error
			var functions []string
			h := customhandler.Queue("QueueFn", "msg", func(_ context.Context, function string, err error) {
				observed, functions = append(observed, err), append(functions, function)
			}, func(context.Context, customhandler.Invocation) error { return tt.returns })
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request("/QueueFn", tt.body))
			if w.Code != tt.status {
				t.Errorf("status %d %s", w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), "4111") {
				t.Errorf("the answer holds the error: %s", w.Body)
			}
			if tt.observed == nil {
				if len(observed) != 0 {
					t.Errorf("observed %v", observed)
				}
				return
			}
			if len(observed) != 1 || !errors.Is(observed[0], tt.observed) || !cmp.Equal(functions, []string{"QueueFn"}) {
				t.Errorf("observed %v for %v", observed, functions)
			}
		})
	}
}
