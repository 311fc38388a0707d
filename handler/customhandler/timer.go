package customhandler

import (
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// TimerInvocation is one tick of a schedule. It carries no authority: whoever
// forges one gets due work done early, and nothing else.
type TimerInvocation struct {
	// Function is the name under which the route was registered.
	Function string
	// InvocationID is the host's id of this call, for correlation; may be "".
	InvocationID string
	// IsPastDue tells that the tick should have come earlier, for instance
	// while the app was stopped.
	IsPastDue bool
	// Last and Next are the schedule's state. Both are zero when the host
	// keeps none (a schedule below a minute), Last also at the first run.
	Last, Next time.Time
}

// tick is the form of Data.<binding>. The schedule itself differs by its kind
// and host, and nobody needs it.
type tick struct {
	Schedule       jsontext.Value  `json:"Schedule"`
	ScheduleStatus *scheduleStatus `json:"ScheduleStatus"`
	IsPastDue      bool            `json:"IsPastDue"`
}

type scheduleStatus struct {
	Last        string `json:"Last"`
	Next        string `json:"Next"`
	LastUpdated string `json:"LastUpdated"`
}

// DecodeTimer decodes a tick for function, whose binding in function.json is
// named binding. The error wraps ErrNotInvocation or ErrBody.
func DecodeTimer(r *http.Request, function, binding string) (TimerInvocation, error) {
	data, _, err := decode(r, function, binding)
	if err != nil {
		return TimerInvocation{}, err
	}
	if data.Kind() != '{' {
		return TimerInvocation{}, bodyError("decoding the timer")
	}
	var t tick
	if err := json.Unmarshal(data, &t, json.RejectUnknownMembers(true)); err != nil {
		return TimerInvocation{}, bodyError("decoding the timer")
	}
	in := TimerInvocation{Function: function, InvocationID: InvocationID(r), IsPastDue: t.IsPastDue}
	if t.ScheduleStatus == nil {
		return in, nil
	}
	if in.Last, err = hostTime(t.ScheduleStatus.Last); err != nil {
		return TimerInvocation{}, bodyError("decoding ScheduleStatus.Last")
	}
	if in.Next, err = hostTime(t.ScheduleStatus.Next); err != nil {
		return TimerInvocation{}, bodyError("decoding ScheduleStatus.Next")
	}
	return in, nil
}
