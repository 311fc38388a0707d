// Package fault lets a test or a person make a local service misbehave: answer
// with an error status, answer late, or not at all.
//
// Trust boundary: the switch is a part of the local stack's services only, which
// listen on loopback. It changes when and whether a service answers, never what
// it accepts, so no fault can weaken a check.
package fault

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Fault is one way to misbehave.
type Fault struct {
	// Operation limits the fault to calls of that name. "": every call.
	Operation string `json:"operation,omitempty"`
	// Status is answered instead of doing the work. 0: the work is done.
	Status int `json:"status,omitempty"`
	// DelayMS is waited before anything else.
	DelayMS int `json:"delayMs,omitempty"`
	// Hang never answers: the caller's own time-out has to end the call.
	Hang bool `json:"hang,omitempty"`
	// Times is how many calls it meets. 0: all until Clear.
	Times int `json:"times,omitempty"`
}

// Switch holds the fault in force. The zero value has none.
type Switch struct {
	mu      sync.Mutex
	current Fault
	on      bool
}

// Set puts a fault in force, in place of any other.
func (s *Switch) Set(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.on = f, true
}

// Clear ends the fault in force.
func (s *Switch) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = false
}

func (s *Switch) take(operation string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on || (s.current.Operation != "" && s.current.Operation != operation) {
		return Fault{}, false
	}
	if s.current.Times > 0 {
		s.current.Times--
		s.on = s.current.Times > 0
	}
	return s.current, true
}

// Apply waits as the fault in force says and returns the status to answer with;
// 0 means that the call goes on. A call that hangs ends with its request.
func (s *Switch) Apply(r *http.Request, operation string) int {
	f, ok := s.take(operation)
	if !ok {
		return 0
	}
	if f.Hang {
		<-r.Context().Done()
		return http.StatusServiceUnavailable
	}
	if f.DelayMS > 0 {
		timer := time.NewTimer(time.Duration(f.DelayMS) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return http.StatusServiceUnavailable
		}
	}
	return f.Status
}

// maxBody bounds the body of a PUT.
const maxBody = 4 << 10

// ServeHTTP is the local-only endpoint: PUT sets a Fault, DELETE ends it.
func (s *Switch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPut:
		var f Fault
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&f); err != nil {
			http.Error(w, "want a fault as JSON", http.StatusBadRequest)
			return
		}
		s.Set(f)
	case http.MethodDelete:
		s.Clear()
	default:
		w.Header().Set("Allow", "PUT, DELETE")
		http.Error(w, "PUT or DELETE", http.StatusMethodNotAllowed)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
