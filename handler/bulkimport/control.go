package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/envelope"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

// Commit starts the work when exactly parts 1 to n have been uploaded. Again
// with the same number it changes nothing.
func (s *Imports) Commit(ctx context.Context, p authz.Principal, id string, n int) (Status, error) {
	o, err := s.own(ctx, p, id)
	if err != nil {
		return Status{}, err
	}
	if o.State != operation.Receiving {
		if o.Detail.Committed != n || o.State == operation.Cancelled {
			return Status{}, operation.ErrState
		}
		if o.State == operation.Running {
			// The first call may have died before it rang.
			s.ring(ctx, operation.Doorbell{Tenant: o.Tenant, Operation: o.ID}, 0)
		}
		return s.status(ctx, o)
	}
	if err := s.complete(ctx, o, n); err != nil {
		return Status{}, err
	}
	return s.change(ctx, p, authz.ImportsManage, o, "commit", func(o *op) error {
		if o.State != operation.Receiving {
			return operation.ErrState
		}
		// A part that came between has changed the row: it is counted here.
		if o.Detail.Parts != n {
			return ErrPartsMissing
		}
		o.State, o.Detail.Committed = operation.Running, n
		return nil
	})
}

// complete checks that parts 1 to n are there. That there is no other is told
// by their number.
func (s *Imports) complete(ctx context.Context, o *op, n int) error {
	parts, err := s.parts.All(ctx, o.Tenant, o.ID)
	if err != nil {
		return s.tampered(ctx, o.Tenant, o.ID, err)
	}
	if n < 1 || len(parts) != n || parts[n-1].Name != partName(n) {
		return ErrPartsMissing
	}
	return nil
}

// Pause keeps chunks that have not begun from beginning.
func (s *Imports) Pause(ctx context.Context, p authz.Principal, id string) (Status, error) {
	return s.control(ctx, p, id, "pause", operation.Paused, operation.Running)
}

// Resume lets a paused import go on.
func (s *Imports) Resume(ctx context.Context, p authz.Principal, id string) (Status, error) {
	return s.control(ctx, p, id, "resume", operation.Running, operation.Paused)
}

// Cancel ends an import. Rows already stored stay: the result of the chunks
// that were done has their tokens.
func (s *Imports) Cancel(ctx context.Context, p authz.Principal, id string) (Status, error) {
	return s.control(ctx, p, id, "cancel", operation.Cancelled, operation.Receiving, operation.Running, operation.Paused)
}

func (s *Imports) control(
	ctx context.Context, p authz.Principal, id, what string, to operation.State, from ...operation.State,
) (Status, error) {
	o, err := s.anyOrOwn(ctx, p, id, authz.ImportsControl)
	if err != nil {
		return Status{}, err
	}
	if o.State == to {
		return s.status(ctx, o)
	}
	return s.change(ctx, p, authz.ImportsControl, o, what, func(o *op) error {
		if !slices.Contains(from, o.State) {
			return operation.ErrState
		}
		o.State = to
		return nil
	})
}

// change audits a new state and writes it by compare-and-swap. Where the
// import then runs, it stands on the due list before and is rung for after, so
// that a crash between costs time only.
func (s *Imports) change(
	ctx context.Context, p authz.Principal, permission authz.Permission, o *op, what string, edit func(*op) error,
) (Status, error) {
	trial := *o
	if err := edit(&trial); err != nil {
		return Status{}, err
	}
	ticket, err := s.Audit.Authorise(ctx, audit.Entry{
		Action: string(permission), Actor: audit.ActorOf(p), Operation: o.ID, Reason: what,
	})
	if err != nil {
		return Status{}, err
	}
	if o, err = s.apply(ctx, o, edit); err != nil {
		ticket.Failed(reasonOf(err))
		return Status{}, err
	}
	ticket.Completed(nil)
	if o.State == operation.Running {
		s.ring(ctx, operation.Doorbell{Tenant: o.Tenant, Operation: o.ID}, 0)
	}
	return s.status(ctx, o)
}

func (s *Imports) apply(ctx context.Context, o *op, edit func(*op) error) (*op, error) {
	for range maxTries {
		if err := edit(o); err != nil {
			return nil, err
		}
		if o.State == operation.Running {
			if err := s.due.Add(ctx, Kind, o.Tenant, o.ID); err != nil {
				return nil, err
			}
		}
		err := s.ops.Update(ctx, o)
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, operation.ErrChanged) {
			return nil, err
		}
		if o, err = s.read(ctx, o.Tenant, o.ID); err != nil {
			return nil, err
		}
	}
	return nil, tokenvault.ErrBusy
}

// Get tells how far an import is, to its creator or an operator. It is not an
// entry of its own in the audit log; a denial is.
func (s *Imports) Get(ctx context.Context, p authz.Principal, id string) (Status, error) {
	o, err := s.anyOrOwn(ctx, p, id, authz.OperationsReadAny)
	if err != nil {
		return Status{}, err
	}
	return s.status(ctx, o)
}

// Page is one chunk's part of the result.
type Page struct {
	CSV  []byte
	Next int // 0: this is the last
}

// Result gives the tokens of the n-th chunk that was done, from 1, once the
// import has ended.
func (s *Imports) Result(ctx context.Context, p authz.Principal, id string, n int) (Page, error) {
	o, err := s.own(ctx, p, id)
	if err != nil {
		return Page{}, err
	}
	if !o.State.Final() {
		return Page{}, operation.ErrState
	}
	if len(o.Detail.Key) == 0 {
		return Page{}, ErrExpired
	}
	chunks, err := s.chunks.All(ctx, o.Tenant, o.ID)
	if err != nil {
		return Page{}, s.tampered(ctx, o.Tenant, o.ID, err)
	}
	chunks = slices.DeleteFunc(chunks, func(c *operation.Part[chunk]) bool { return c.Detail.State != done })
	if n < 1 || n > len(chunks) {
		return Page{}, ErrNoChunk
	}
	ticket, err := s.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.ImportsManage), Actor: audit.ActorOf(p), Operation: id, Reason: "result",
		Count: chunks[n-1].Detail.Rows,
	})
	if err != nil {
		return Page{}, err
	}
	csv, err := s.openResult(ctx, o, chunks[n-1].Detail)
	if err != nil {
		ticket.Failed(reasonOf(err))
		return Page{}, err
	}
	ticket.Completed(nil)
	page := Page{CSV: csv}
	if n < len(chunks) {
		page.Next = n + 1
	}
	return page, nil
}

func (s *Imports) openResult(ctx context.Context, o *op, c chunk) ([]byte, error) {
	name := resultBlob(c.Blob)
	sealed, err := s.Blobs.Get(ctx, name)
	if errors.Is(err, rowstore.ErrNotFound) {
		return nil, s.brokenBlob(ctx, o, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the result: %w", err)
	}
	plaintext, err := openBlob(o, name, sealed)
	if err != nil {
		return nil, s.brokenBlob(ctx, o, err)
	}
	return plaintext, nil
}

// reasonOf is the reason code of a failed outcome.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, operation.ErrState):
		return "operation_state"
	case errors.Is(err, ErrPartsMissing):
		return "parts_missing"
	case errors.Is(err, ErrPartExists):
		return "part_exists"
	case errors.Is(err, ErrTooLarge):
		return "import_too_large"
	case errors.Is(err, ErrExpired):
		return "import_expired"
	case errors.Is(err, tokenvault.ErrBusy):
		return "busy"
	case errors.Is(err, tokenvault.ErrIntegrity), errors.Is(err, envelope.ErrForged):
		return reasonIntegrity
	default:
		return "dependency_unavailable"
	}
}
