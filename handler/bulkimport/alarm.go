package bulkimport

import (
	"context"
	"errors"
	"fmt"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/rowseal"
	"secureapi/handler/tokenvault"
)

// Reason codes of alarms.
const (
	reasonForged    = "forged_message"
	reasonIntegrity = "integrity_failure"
)

// tampered alarms where err says that a row is not this system's, and makes it
// tokenvault.ErrIntegrity. Any other error passes through.
func (s *Imports) tampered(ctx context.Context, tenant, id string, err error) error {
	if !errors.Is(err, rowseal.ErrTampered) {
		return err
	}
	return s.broken(ctx, tenant, id, err)
}

// brokenBlob alarms where a blob is not the one that the sealed row names.
func (s *Imports) brokenBlob(ctx context.Context, o *op, err error) error {
	if errors.Is(err, ErrExpired) {
		return err
	}
	return s.broken(ctx, o.Tenant, o.ID, err)
}

// broken alarms and gives tokenvault.ErrIntegrity.
func (s *Imports) broken(ctx context.Context, tenant, id string, err error) error {
	if alarmErr := s.alarm(ctx, tenant, id, reasonIntegrity); alarmErr != nil {
		s.Logger.ErrorContext(ctx, "alarm entry not stored", "operation", id, "error", alarmErr)
	}
	return fmt.Errorf("%w: %w", tokenvault.ErrIntegrity, err)
}

// alarm writes an alarm entry in the system's own name.
func (s *Imports) alarm(ctx context.Context, tenant, id, reason string) error {
	p := authz.System(jobName, tenant, id, authz.ImportsRun)
	return s.Audit.Alarm(ctx, audit.Entry{
		Action: string(authz.ImportsRun), Actor: audit.ActorOf(p), ReasonCode: reason, Operation: id,
	})
}
