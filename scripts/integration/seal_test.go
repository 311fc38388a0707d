package integration

import (
	"net/http"
	"testing"

	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/stack"
)

// everySecond is SealAudit's function.json with a schedule for the impatient.
const everySecond = `{"bindings":[{"type":"timerTrigger","direction":"in","name":"timer","schedule":"* * * * * *","useMonitor":true}]}`

// What is done is under a checkpoint soon after, because the timer runs.
func TestTheTimerSealsWhatWasDone(t *testing.T) {
	for _, mode := range []host.Mode{host.Proxying, host.Forwarding} {
		t.Run(string(mode), func(t *testing.T) {
			dist := repackage(t, map[string]string{"SealAudit/function.json": everySecond})
			a := startApp(t, mode, func(o *stack.Options) { o.Host.Dir = dist })
			checkpoint := func() content {
				return a.call(t, "auditor", http.MethodGet, "/api/v1/audit/checkpoint", nil).want(t, http.StatusOK).decode(t)
			}
			before := checkpoint()
			for range 3 {
				a.tokenize(t, "email", "seal@example.com")
			}
			// Three times authorised and completed.
			a.eventually(t, "a checkpoint over six more entries", func() bool {
				now := checkpoint()
				return now.Number > before.Number && now.Entries >= before.Entries+6
			})
		})
	}
}
