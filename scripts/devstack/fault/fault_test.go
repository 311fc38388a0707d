package fault_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"secureapi/scripts/devstack/fault"
)

func request(ctx context.Context) *http.Request {
	return httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
}

func TestSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s fault.Switch
		if status := s.Apply(request(t.Context()), "get"); status != 0 {
			t.Errorf("no fault: %d", status)
		}
		s.Set(fault.Fault{Operation: "sign", Status: 503, Times: 2, DelayMS: 500})
		if status := s.Apply(request(t.Context()), "get"); status != 0 {
			t.Errorf("another operation: %d", status)
		}
		started := time.Now()
		for range 2 {
			if status := s.Apply(request(t.Context()), "sign"); status != 503 {
				t.Errorf("status %d", status)
			}
		}
		if waited := time.Since(started); waited != time.Second {
			t.Errorf("waited %s", waited)
		}
		if status := s.Apply(request(t.Context()), "sign"); status != 0 {
			t.Errorf("a third time: %d", status)
		}
		s.Set(fault.Fault{Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started = time.Now()
		s.Apply(request(ctx), "get")
		if waited := time.Since(started); waited != time.Minute {
			t.Errorf("hung for %s", waited)
		}
		s.Clear()
		if status := s.Apply(request(t.Context()), "get"); status != 0 {
			t.Errorf("after Clear: %d", status)
		}
	})
}

func TestEndpoint(t *testing.T) {
	var s fault.Switch
	for _, tt := range []struct {
		method, body string
		want, then   int
	}{
		{http.MethodPut, `{"status":429}`, 204, 429},
		{http.MethodPut, `{`, 400, 429},
		{http.MethodPost, `{"status":500}`, 405, 429},
		{http.MethodDelete, ``, 204, 0},
	} {
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), tt.method, "/", strings.NewReader(tt.body)))
		if recorder.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.method, recorder.Code, tt.want)
		}
		if got := s.Apply(request(t.Context()), "get"); got != tt.then {
			t.Errorf("%s: then %d, want %d", tt.method, got, tt.then)
		}
	}
}
