package customhandler_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/customhandler"
)

func decodeTimer(body string) (customhandler.TimerInvocation, error) {
	return customhandler.DecodeTimer(request("/Tick", body), "Tick", "timer")
}

func TestDecodeTimer(t *testing.T) {
	const id = "c5cf8bb1-42a9-4056-ac46-d9e1d0dda3ae"
	tests := map[string]struct {
		timer string
		want  customhandler.TimerInvocation
	}{
		"first run": {
			`{"Schedule":{"AdjustForDST":true},"ScheduleStatus":{"Last":"0001-01-01T00:00:00+00:00","Next":"2026-11-23T22:00:00+00:00","LastUpdated":"0001-01-01T00:00:00+00:00"},"IsPastDue":false}`,
			customhandler.TimerInvocation{Next: utc("2026-11-23T22:00:00Z")},
		},
		"first run of a host that writes no offset": {
			`{"Schedule":{},"ScheduleStatus":{"Last":"0001-01-01T00:00:00","Next":"2026-11-23T22:00:00","LastUpdated":"0001-01-01T00:00:00"},"IsPastDue":false}`,
			customhandler.TimerInvocation{Next: utc("2026-11-23T22:00:00Z")},
		},
		"below a minute":    {`{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":false}`, customhandler.TimerInvocation{}},
		"another time zone": {`{"Schedule":{},"ScheduleStatus":{"Last":"2026-11-23T23:00:00.1234567+01:00","Next":"2026-11-23T22:01:00+00:00","LastUpdated":""},"IsPastDue":true}`, customhandler.TimerInvocation{IsPastDue: true, Last: utc("2026-11-23T22:00:00.1234567Z"), Next: utc("2026-11-23T22:01:00Z")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := decodeTimer(`{"Data":{"timer":` + tt.timer + `},"Metadata":{"sys":{}}}`)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Function, tt.want.InvocationID = "Tick", id
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if tt.want.Last.IsZero() != got.Last.IsZero() {
				t.Error("a first run must have a zero Last")
			}
		})
	}
}

func TestDecodeTimerRefuses(t *testing.T) {
	for name, timer := range map[string]string{
		"null":           `null`,
		"string":         `"\"\""`,
		"unknown member": `{"IsPastDue":true,"Other":1}`,
		"wrong type":     `{"IsPastDue":"true"}`,
		"status array":   `{"ScheduleStatus":[]}`,
		"bad Last":       `{"ScheduleStatus":{"Last":"soon","Next":"2026-11-23T22:00:00+00:00","LastUpdated":""}}`,
		"bad Next":       `{"ScheduleStatus":{"Last":"2026-11-23T22:00:00+00:00","Next":"1","LastUpdated":""}}`,
	} {
		if in, err := decodeTimer(`{"Data":{"timer":` + timer + `}}`); !errors.Is(err, customhandler.ErrBody) {
			t.Errorf("%s: %+v, %v", name, in, err)
		}
	}
}
