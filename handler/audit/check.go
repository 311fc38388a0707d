package audit

import (
	"context"
	"errors"

	"secureapi/handler/authz"
)

// Check asks authz whether p has the permission, and audits a denial. It is
// the first line of whatever acts for a caller.
func (l *Log) Check(ctx context.Context, p authz.Principal, permission authz.Permission) error {
	err := authz.Check(p, permission)
	if denial, ok := errors.AsType[*authz.Denial](err); ok {
		l.Refuse(ctx, p, permission, denial.Reason)
	}
	return err
}

// Refuse writes a denied entry about p. A denial stays one when the store is
// down: the failure is logged, the answer does not change.
func (l *Log) Refuse(ctx context.Context, p authz.Principal, permission authz.Permission, reason string) {
	err := l.Deny(ctx, Entry{Action: string(permission), Actor: ActorOf(p), ReasonCode: reason})
	if err != nil {
		l.Logger.ErrorContext(ctx, "denied entry not stored", "action", permission, "error", err)
	}
}
