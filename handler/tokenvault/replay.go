package tokenvault

import (
	"context"
	"errors"
	"fmt"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// reasonReplayed stands for the case of an erasure whose operation row was lost.
const reasonReplayed = "RESTORE"

// Replayed is the outcome of a Replay.
type Replayed struct {
	Subjects int // registered
	Rows     int // members removed
	// Pseudonyms are those under which the audit log names the subjects.
	Pseudonyms map[string]bool
}

// Replay erases again, in tables that were restored from a backup, every
// subject of a tenant that the register names. It is for the restore, before
// anybody else may use the tables, and safe to repeat. An erasure whose
// operation the backup does not know gets one, and through Sweep a new receipt.
func (e *Erasures) Replay(ctx context.Context, p authz.Principal) (Replayed, error) {
	done := Replayed{Pseudonyms: map[string]bool{}}
	if err := e.Audit.Check(ctx, p, authz.ErasuresReplay); err != nil {
		return done, err
	}
	keys, err := e.Keys.ForWrite(ctx)
	if err != nil {
		return done, err
	}
	ticket, err := e.Audit.Authorise(ctx, audit.Entry{Action: string(authz.ErasuresReplay), Actor: audit.ActorOf(p)})
	if err != nil {
		return done, err
	}
	for shard := range len(hexDigits) {
		if err := e.replayShard(ctx, keys, p, hexDigits[shard:shard+1], &done); err != nil {
			ticket.Failed(reasonOf(err))
			return done, e.tampered(ctx, p, authz.ErasuresReplay, err)
		}
	}
	ticket.Completed(func(entry *audit.Entry) { entry.Count = done.Subjects })
	return done, nil
}

const hexDigits = "0123456789abcdef"

func (e *Erasures) replayShard(
	ctx context.Context, keys *keyring.Keys, p authz.Principal, shard string, done *Replayed,
) error {
	for row, err := range rowstore.All(ctx, e.Erased, partitionOf(p.TenantID, shard), rowstore.Range{Limit: rowstore.MaxPage}) {
		if err != nil {
			return fmt.Errorf("listing the register of erasures: %w", err)
		}
		var r registration
		if err := rowseal.Open(keys.RowSeal(), registrationPlace(p.TenantID, row.Key), row.Body, &r); err != nil {
			return err
		}
		if err := e.replayOne(ctx, keys, p, row.Key, r, done); err != nil {
			return err
		}
	}
	return nil
}

func (e *Erasures) replayOne(
	ctx context.Context, keys *keyring.Keys, p authz.Principal, subjectHash string, r registration, done *Replayed,
) error {
	o, err := e.ops.Get(ctx, p.TenantID, r.Operation)
	if errors.Is(err, operation.ErrNotFound) {
		o, err = e.record(ctx, &erasureOp{
			ID: r.Operation, Tenant: p.TenantID, State: operation.Running, CreatedBy: p.ID(), Authorised: r.Authorised,
			Detail: erasureDetail{Subject: subjectHash, Reason: reasonReplayed},
		})
	}
	if err != nil {
		return err
	}
	if err := e.eraseHead(ctx, keys, o); err != nil {
		return err
	}
	r.State = erased
	if err := e.register(ctx, keys, p.TenantID, subjectHash, r); err != nil {
		return err
	}
	found, err := e.bury(ctx, keys, o)
	if err != nil {
		return err
	}
	done.Subjects++
	done.Rows += found
	done.Pseudonyms[ErasurePseudonym(keys, p.TenantID, subjectHash)] = true
	return nil
}
