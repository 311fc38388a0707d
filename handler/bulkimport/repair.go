package bulkimport

import (
	"context"
	"errors"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/operation"
)

// maxRepairPause bounds the pause between two rings for an operation that
// does not move.
const maxRepairPause = time.Hour

// finish completes the operation when none of its chunks is pending.
func (s *Imports) finish(ctx context.Context, o *op) error {
	chunks, err := s.chunks.All(ctx, o.Tenant, o.ID)
	if err != nil {
		return s.tampered(ctx, o.Tenant, o.ID, err)
	}
	progress := progressOf(chunks)
	// The operation row counts its chunks: none of them was taken away.
	if len(chunks) != o.Detail.Chunks {
		return s.brokenBlob(ctx, o, errors.New("operation has lost chunks"))
	}
	if progress.ChunksPending > 0 {
		return nil
	}
	o, err = s.apply(ctx, o, func(o *op) error {
		if o.State.Final() {
			return operation.ErrState
		}
		o.State, o.Detail.Result = operation.Completed, progress
		return nil
	})
	if errors.Is(err, operation.ErrState) {
		return nil // another run was first
	}
	if err != nil {
		return err
	}
	return s.ended(ctx, o)
}

// ended writes the operation's outcome and takes it off the due list. After a
// crash before, Repair does both: the outcome may then stand twice.
func (s *Imports) ended(ctx context.Context, o *op) error {
	p := authz.System(jobName, o.Tenant, o.ID, authz.ImportsRun)
	entry := audit.Entry{
		ID: o.Authorised, Phase: audit.Completed, Action: string(authz.ImportsRun), Actor: audit.ActorOf(p),
		Operation: o.ID, Count: o.Detail.Result.Imported, Reason: string(o.State),
	}
	if o.Detail.Result.ChunksFailed > 0 {
		entry.Phase, entry.ReasonCode = audit.Failed, "chunks_failed"
	}
	if err := s.Audit.Outcome(ctx, entry); err != nil {
		return err
	}
	return s.due.Remove(ctx, Kind, o.Tenant, o.ID)
}

// Repair rings for running imports that stand still, ends what a crash left
// open, and destroys what has outlived Life. It is safe to run at any time and
// beside itself. One operation that cannot be helped does not keep the others
// waiting; the errors are joined.
func (s *Imports) Repair(ctx context.Context) error {
	p := authz.System(jobName, "", "", authz.OperationsRepair)
	if err := s.Audit.Check(ctx, p, authz.OperationsRepair); err != nil {
		return err
	}
	var problems []error
	var forged error // of any number, one: rows must not be able to fill the log
	each := func(kind string, minAge time.Duration, visit func(context.Context, *op) error) {
		err := s.due.Each(ctx, kind, minAge, func(d operation.Due) error {
			problems = append(problems, s.visit(ctx, kind, d, visit))
			return ctx.Err()
		}, func(err error) { forged = err })
		problems = append(problems, err)
	}
	each(Kind, 0, s.repair)
	each(purgeKind, Life, s.purge)
	if forged != nil {
		problems = append(problems, s.tampered(ctx, "", "", forged))
	}
	return errors.Join(problems...)
}

func (s *Imports) visit(ctx context.Context, kind string, d operation.Due, do func(context.Context, *op) error) error {
	o, err := s.read(ctx, d.Tenant, d.Operation)
	if errors.Is(err, operation.ErrNotFound) {
		// Listed, and then never written.
		return s.due.Drop(ctx, kind, d)
	}
	if err != nil {
		return err
	}
	return do(ctx, o)
}

// repair looks at an operation on the due list.
func (s *Imports) repair(ctx context.Context, o *op) error {
	switch o.State {
	case operation.Running:
		return s.ringLate(ctx, o)
	case operation.Completed, operation.Cancelled:
		return s.ended(ctx, o)
	case operation.Receiving:
		// Its commit is under way, or died: the caller commits again.
		return nil
	default:
		return nil // paused
	}
}

// ringLate rings for an operation none of whose chunks has ended for some
// time. The pause doubles, and is written before the ring, so that a timer
// that comes often does not fill the queue.
func (s *Imports) ringLate(ctx context.Context, o *op) error {
	chunks, err := s.chunks.All(ctx, o.Tenant, o.ID)
	if err != nil {
		return s.tampered(ctx, o.Tenant, o.ID, err)
	}
	now := s.Clock().UTC()
	moved := progressOf(chunks).LastChunk
	if moved.Before(o.UpdatedAt) {
		moved = o.UpdatedAt
	}
	if now.Sub(moved) < s.RepairAfter || now.Before(o.Detail.NextRing) {
		return nil
	}
	o.Detail.Rings++
	o.Detail.NextRing = now.Add(min(s.RepairAfter<<min(o.Detail.Rings, 10), maxRepairPause))
	if err := s.ops.Update(ctx, o); errors.Is(err, operation.ErrChanged) {
		return nil // somebody is at it
	} else if err != nil {
		return err
	}
	return s.send(ctx, operation.Doorbell{Tenant: o.Tenant, Operation: o.ID}, 0)
}

// purge destroys an import's key, and with it every chunk and result, Life
// after its end. One that was never committed is cancelled first.
func (s *Imports) purge(ctx context.Context, o *op) error {
	if s.Clock().Sub(o.UpdatedAt) < Life || !o.State.Final() && o.State != operation.Receiving {
		return nil
	}
	p := authz.System(jobName, o.Tenant, o.ID, authz.OperationsRepair)
	ticket, err := s.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.OperationsRepair), Actor: audit.ActorOf(p), Operation: o.ID, Reason: "purge",
	})
	if err != nil {
		return err
	}
	if err := s.destroy(ctx, o); err != nil {
		ticket.Failed(reasonOf(err))
		return err
	}
	ticket.Completed(nil)
	return s.due.Remove(ctx, purgeKind, o.Tenant, o.ID)
}

func (s *Imports) destroy(ctx context.Context, o *op) error {
	chunks, err := s.chunks.All(ctx, o.Tenant, o.ID)
	if err != nil {
		return s.tampered(ctx, o.Tenant, o.ID, err)
	}
	_, err = s.apply(ctx, o, func(o *op) error {
		if !o.State.Final() {
			o.State = operation.Cancelled
		}
		o.Detail.Key, o.Detail.KeyID = nil, nil
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range chunks {
		s.forget(ctx, o, c.Detail.Blob)
		s.forget(ctx, o, resultBlob(c.Detail.Blob))
	}
	return nil
}
