package customhandler

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
)

// Result is the answer to a successful invocation. The zero value is right for
// a function without output bindings.
type Result struct {
	// Outputs holds one value per output binding.
	Outputs map[string]any `json:"Outputs,omitempty"`
	// Logs are written to the host's log verbatim: never data.
	Logs []string `json:"Logs,omitempty"`
	// ReturnValue is the value of a $return binding.
	ReturnValue any `json:"ReturnValue,omitzero"`
}

// WriteSuccess completes an invocation: the queue message is deleted. The host
// wants status 200, this content type and a JSON object. An empty body, a 204
// or a JSON null would hang it until functionTimeout, whereupon it kills the
// handler and everything in flight.
func WriteSuccess(w http.ResponseWriter, res Result) error {
	body, err := json.Marshal(res)
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	return write(w, http.StatusOK, "application/json", body)
}

// problem is the body of a failure (RFC 9457). The host reads the status only.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
}

// WriteFailure fails an invocation: the host delivers the message again after
// visibilityTimeout, and to the poison queue after maxDequeueCount deliveries.
// The title reaches logs and must be a fixed text. A status that the host would
// take for a success, or that hangs it, becomes 500.
func WriteFailure(w http.ResponseWriter, status int, title string) error {
	if status < http.StatusBadRequest || status > 599 {
		status = http.StatusInternalServerError
	}
	body, err := json.Marshal(problem{Type: "about:blank", Title: title, Status: status})
	if err != nil {
		return fmt.Errorf("encoding the problem: %w", err)
	}
	return write(w, status, "application/problem+json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}
