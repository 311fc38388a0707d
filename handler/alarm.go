package main

import (
	"context"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/telemetry"
)

// alarmTimeout bounds the writing of one alarm.
const alarmTimeout = 10 * time.Second

// keyringRefused tells that the stored keyring is forged or rolled back: to
// telemetry at once, and to the audit log while the copy that was good still
// gives the key to write it with.
//
// It returns without waiting: whoever found out may be the audit log itself,
// fetching that key, and would wait for its own next entry.
func (a *app) keyringRefused(ctx context.Context) {
	a.recorder.Event(ctx, telemetry.EventKeyringRefused)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), alarmTimeout)
	a.alarms.Go(func() {
		defer cancel()
		err := a.audit.Alarm(ctx, audit.Entry{
			Action: "keyring.load", Actor: audit.ActorOf(authz.System("keyring", "", "")), ReasonCode: "keyring_forged",
		})
		if err != nil {
			a.logger.ErrorContext(ctx, "alarm not written", "error", err)
		}
	})
}
