package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

// job names the restore in the audit log.
const job = "vaultbackup"

// verifiedRing opens the backup's keyring with Key Vault, which verifies every
// signature. It is in this process' memory only.
func verifiedRing(ctx context.Context, s *site, rows copied) (*keyring.Keyring, error) {
	parts := s.ring
	parts.Store = rows
	ring, err := keyring.New(parts)
	if err != nil {
		return nil, err
	}
	if err := ring.Load(ctx); err != nil {
		return nil, err
	}
	return ring, nil
}

// noStepUp: a restore reveals nothing.
type noStepUp struct{}

func (noStepUp) RequireStepUp(authz.Principal) error { return errors.New("a restore reveals nothing") }

// replay erases again whom the register names, and holds the log against it.
func (r *report) replay(ctx context.Context, o options, s *site, ring *keyring.Keyring) (err error) {
	logger := slog.New(slog.DiscardHandler)
	auditOptions := audit.Options{
		Store: s.tables[auditTable], MACKey: ring.AuditMAC, Clock: clock.System, Instance: job, Logger: logger,
		Telemetry: telemetry.Log{Logger: logger},
	}
	log, err := audit.New(auditOptions) //nolint:contextcheck // its committer outlives every call; Close ends it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close(context.WithoutCancel(ctx))) }()
	vault, err := tokenvault.New(tokenvault.Options{
		Store: s.tables[tokenvault.Table], Erased: s.tables[tokenvault.ErasuresTable], Keys: ring, Audit: log,
		Plans:  operation.NewPlans[[]tokenvault.PlannedToken]("tokenize", s.tables[operation.Table], ring, clock.System),
		StepUp: noStepUp{}, Purposes: []string{"restore"}, Clock: clock.System, Logger: logger,
	})
	if err != nil {
		return err
	}
	erasures, err := tokenvault.NewErasures(vault, tokenvault.ErasureOptions{
		Operations: s.tables[operation.Table], BackupRetention: o.retention,
	})
	if err != nil {
		return err
	}
	events, err := audit.NewReader(auditOptions)
	if err != nil {
		return err
	}
	for _, tenant := range o.tenantIDs() {
		done, err := erasures.Replay(ctx, authz.System(job, tenant, "", authz.ErasuresReplay))
		if err != nil {
			return fmt.Errorf("erasing again: %w", err)
		}
		r.Erased += done.Subjects
		if err := r.compare(ctx, events, tenant, done.Pseudonyms); err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
	}
	return nil
}

// compare reads a tenant's log, which verifies it: each erasure that was
// authorised, and did not fail, has its row in the register.
func (r *report) compare(ctx context.Context, events *audit.Reader, tenant string, registered map[string]bool) error {
	const page = 500
	unregistered := map[string]bool{}
	query := audit.Query{Tenant: tenant, Limit: page}
	for {
		found, err := events.Events(ctx, query)
		if err != nil {
			return err
		}
		for _, e := range found.Entries {
			switch {
			case e.Action == string(authz.SubjectsErase) && e.Phase == audit.Authorised:
				unregistered[e.ID] = len(e.Objects) != 1 || !registered[e.Objects[0].Pseudonym]
			case e.Action == string(authz.SubjectsErase) && e.Phase == audit.Failed:
				delete(unregistered, e.ID)
			case e.Phase == audit.Completed && !e.Time.Before(r.AsOf) && len(e.Objects) > 0 &&
				(e.Action == string(authz.TokensCreate) || e.Action == string(authz.ImportsRun)):
				r.LostCalls++
				r.LostValues += e.Count
			}
		}
		if found.Next == (audit.Cursor{}) {
			break
		}
		query.After = found.Next
	}
	for id, missing := range unregistered {
		if missing {
			r.Unregistered = append(r.Unregistered, id)
		}
	}
	return nil
}
