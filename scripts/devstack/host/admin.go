package host

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secureapi/scripts/stage/funcjson"
)

// maxAdminBody bounds what the admin endpoints read.
const maxAdminBody = 1 << 20

// serveAdmin answers the host's own endpoints and reports whether it did. Like
// on the host they are found by the decoded path and in any case, and a path
// below /admin that is none of them is an ordinary path.
func (h *Host) serveAdmin(w http.ResponseWriter, r *http.Request, path string) bool {
	lower := strings.ToLower(path)
	name, isFunction := strings.CutPrefix(lower, "/admin/functions/")
	if strings.HasPrefix(lower, "/runtime/webhooks/") {
		w.Header().Set("WWW-Authenticate", "Bearer")
		hostAnswer(w, http.StatusUnauthorized)
		return true
	}
	if lower == "/admin/host/ping" {
		w.Header().Set("Cache-Control", "no-store,no-cache")
		w.Header().Set("Pragma", "no-cache")
		hostAnswer(w, http.StatusOK)
		return true
	}
	if !isFunction && lower != "/admin/functions" && lower != "/admin/host/status" {
		return false
	}
	if h.key(r) != keyMaster {
		w.Header().Set("WWW-Authenticate", "Bearer")
		hostAnswer(w, http.StatusUnauthorized)
		return true
	}
	name, isStatus := strings.CutSuffix(name, "/status")
	f, known := h.function(name)
	switch {
	case lower == "/admin/host/status":
		h.writeJSON(w, h.status())
	case lower == "/admin/functions":
		h.writeJSON(w, h.list())
	case !known:
		hostAnswer(w, http.StatusNotFound)
	case isStatus:
		h.writeJSON(w, struct{}{})
	case r.Method == http.MethodPost:
		hostAnswer(w, h.adminInvoke(r, f))
	default:
		h.writeJSON(w, describe(f))
	}
	return true
}

type hostStatus struct {
	ID            string `json:"id"`
	State         string `json:"state"`
	Version       string `json:"version"`
	ProcessUptime int64  `json:"processUptime"`
}

func (h *Host) status() hostStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return hostStatus{ID: "local", State: "Running", Version: Version, ProcessUptime: time.Since(h.started).Milliseconds()}
}

type functionInfo struct {
	Name   string `json:"name"`
	Config struct {
		Bindings []funcjson.Binding `json:"bindings"`
	} `json:"config"`
	IsDisabled bool `json:"isDisabled"`
}

func describe(f funcjson.Function) functionInfo {
	info := functionInfo{Name: f.Name}
	info.Config.Bindings = f.Bindings
	return info
}

func (h *Host) list() []functionInfo {
	all := make([]functionInfo, 0, len(h.functions))
	for _, f := range h.functions {
		all = append(all, describe(f))
	}
	return all
}

func (h *Host) writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		h.log.printf(failure, "Host.Admin", "encoding the answer: %v", err)
		hostAnswer(w, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Server", "Kestrel")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if _, err := w.Write(body); err != nil {
		h.log.printf(warning, "Host.Admin", "answering: %v", err)
	}
}

// adminInvoke starts a function by hand and returns the status of the answer.
// It does not wait: the outcome is in the log only.
func (h *Host) adminInvoke(r *http.Request, f funcjson.Function) int {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxAdminBody))
	if err != nil {
		return http.StatusBadRequest
	}
	var body struct {
		Input jsontext.Value `json:"input"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return http.StatusBadRequest
	}
	var input *string
	if len(body.Input) > 0 {
		if err := json.Unmarshal(body.Input, &input); err != nil {
			return http.StatusBadRequest
		}
	}
	payload, ok := h.adminPayload(f, input, time.Now())
	if !ok {
		return http.StatusAccepted
	}
	ctx := context.WithoutCancel(r.Context())
	h.running.Go(func() {
		// The outcome was logged by the call itself.
		_ = h.invoke(ctx, f, payload) //nolint:errcheck // logged
	})
	return http.StatusAccepted
}

// adminPayload makes up the trigger. Without input a queue function is not
// called, and an HTTP function never is.
func (h *Host) adminPayload(f funcjson.Function, input *string, now time.Time) (string, bool) {
	trigger := f.Trigger()
	switch trigger.Type {
	case funcjson.QueueTrigger:
		if input == nil {
			return "", false
		}
		facts := queueFacts{insertion: now.UTC().Truncate(time.Second), expiration: never(), nextVisible: never()}
		return queuePayload(f.Name, trigger.Name, *input, facts, now), true
	case funcjson.TimerTrigger:
		for _, t := range h.timers {
			if t.function.Name == f.Name {
				return timerPayload(f.Name, trigger.Name, t.snapshot(), false, input, now), true
			}
		}
	}
	return "", false
}
