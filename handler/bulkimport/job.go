package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

const (
	// jobName is the system principal's name in the audit log.
	jobName = "import"
	// maxDeliveries is how often one message may be delivered: the host's
	// maxDequeueCount. The last one finds a chunk that ends the process.
	maxDeliveries = 5
	// firstPause is how long an unavailable dependency is left alone; it
	// doubles up to 64 times.
	firstPause = 5 * time.Second
	// ringTimeout bounds a ring that outlives its caller's deadline.
	ringTimeout = 10 * time.Second
)

// RunMessage does what a queue message asks for: ring for each chunk of an
// operation, or import one chunk. A nil error means that the message is done
// with: its work is done, recorded as failed, or rung for again. An error is
// right where nothing is known about the message yet.
func (s *Imports) RunMessage(ctx context.Context, text string, deliveries int) error {
	bell, err := s.bell.Open(ctx, text)
	if errors.Is(err, operation.ErrForgedMessage) {
		return s.alarm(ctx, "", "", reasonForged)
	}
	if err != nil {
		return err
	}
	err = s.work(ctx, bell, deliveries)
	switch {
	case err == nil, errors.Is(err, operation.ErrNotFound), errors.Is(err, ErrExpired):
		return nil // destroyed since the message was sent
	case errors.Is(err, tokenvault.ErrIntegrity):
		// Alarmed where it was found. Ringing again would not help.
		s.Logger.ErrorContext(ctx, "import stopped", "operation", bell.Operation, "chunk", bell.Part, "error", err)
		return nil
	}
	s.Logger.WarnContext(ctx, "import delayed", "operation", bell.Operation, "chunk", bell.Part, "attempt", bell.Attempt, "error", err)
	pause := firstPause << min(bell.Attempt, 6)
	bell.Attempt++
	s.ring(ctx, bell, pause)
	return nil
}

// Quarantine takes a message that the host gave up on. A forged one is
// alarmed; for an honest one the operation row has the truth, and Repair rings
// for what is left.
func (s *Imports) Quarantine(ctx context.Context, text string) error {
	s.Telemetry.Event(ctx, telemetry.EventPoisonMessage)
	bell, err := s.bell.Open(ctx, text)
	if errors.Is(err, operation.ErrForgedMessage) {
		return s.alarm(ctx, "", "", reasonForged)
	}
	if err != nil {
		return err
	}
	s.Logger.ErrorContext(ctx, "import message given up by the host", "operation", bell.Operation, "chunk", bell.Part)
	return nil
}

// ring sends a doorbell. That it could not be sent is no error: the due list
// has the operation, and Repair rings.
func (s *Imports) ring(ctx context.Context, bell operation.Doorbell, delay time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ringTimeout)
	defer cancel()
	if err := s.send(ctx, bell, delay); err != nil {
		s.Logger.WarnContext(ctx, "import not rung for", "operation", bell.Operation, "chunk", bell.Part, "error", err)
	}
}

func (s *Imports) send(ctx context.Context, bell operation.Doorbell, delay time.Duration) error {
	text, err := s.bell.Seal(ctx, bell)
	if err != nil {
		return err
	}
	if err := s.Queue.Send(ctx, text, delay); err != nil {
		return fmt.Errorf("ringing for an import: %w", err)
	}
	return nil
}

func (s *Imports) work(ctx context.Context, bell operation.Doorbell, deliveries int) error {
	o, err := s.read(ctx, bell.Tenant, bell.Operation)
	if err != nil {
		return err
	}
	if o.State != operation.Running {
		return nil // paused, cancelled or completed
	}
	if bell.Part == "" {
		return s.ringAll(ctx, o)
	}
	c, err := s.chunks.Get(ctx, o.Tenant, o.ID, bell.Part)
	if err != nil {
		return s.tampered(ctx, o.Tenant, o.ID, err)
	}
	if c.Detail.State == pending {
		if err := s.runChunk(ctx, o, c, deliveries); err != nil {
			return err
		}
	}
	return s.finish(ctx, o)
}

// ringAll rings for each chunk that is not done.
func (s *Imports) ringAll(ctx context.Context, o *op) error {
	chunks, err := s.chunks.All(ctx, o.Tenant, o.ID)
	if err != nil {
		return s.tampered(ctx, o.Tenant, o.ID, err)
	}
	left := 0
	for _, c := range chunks {
		if c.Detail.State != pending {
			continue
		}
		left++
		if err := s.send(ctx, operation.Doorbell{Tenant: o.Tenant, Operation: o.ID, Part: c.Name}, 0); err != nil {
			return err
		}
	}
	if left == 0 {
		return s.finish(ctx, o)
	}
	return nil
}

// runChunk imports one chunk and notes its outcome. Run twice, at once or
// after a crash, it stores the same rows and one note wins.
func (s *Imports) runChunk(ctx context.Context, o *op, c *operation.Part[chunk], deliveries int) error {
	if deliveries >= maxDeliveries {
		// Each earlier delivery ended without a word: it took the process with it.
		s.Telemetry.Event(ctx, telemetry.EventPoisonMessage)
		return s.note(ctx, o, c, "chunk_ends_process", nil)
	}
	cells, err := s.chunkRows(ctx, o, c)
	if errors.Is(err, errNoted) {
		return nil
	}
	if errors.Is(err, tokenvault.ErrIntegrity) {
		return s.note(ctx, o, c, reasonIntegrity, nil)
	}
	if err != nil {
		return err
	}
	key, err := keyOf(o)
	if err != nil {
		return err
	}
	p := authz.System(jobName, o.Tenant, o.ID, authz.ImportsRun)
	rows, places := rowsOf(cells, o.Detail.Columns, o.Detail.SubjectColumn != "")
	results, err := s.Vault.Import(ctx, p, key, c.Detail.Blob, rows)
	if errors.Is(err, tokenvault.ErrIntegrity) {
		return s.note(ctx, o, c, reasonIntegrity, nil)
	}
	if errors.Is(err, rowstore.ErrInvalid) {
		return s.note(ctx, o, c, "chunk_refused", nil) // no repeat would change that
	}
	if err != nil {
		return err
	}
	csv, err := encodeResult(o, c.Detail, results, places)
	if err != nil {
		return err
	}
	name := resultBlob(c.Detail.Blob)
	sealed, err := sealBlob(o, name, csv)
	if err != nil {
		return err
	}
	if err := s.Blobs.Put(ctx, name, sealed); err != nil {
		return fmt.Errorf("storing a result: %w", err)
	}
	return s.note(ctx, o, c, "", results)
}

// errNoted: another run has noted the chunk's outcome meanwhile.
var errNoted = errors.New("chunk is noted")

// chunkRows reads the rows of a chunk. A blob that is gone is an alarm, unless
// another run of this chunk took it away after its work.
func (s *Imports) chunkRows(ctx context.Context, o *op, c *operation.Part[chunk]) ([][]string, error) {
	sealed, err := s.Blobs.Get(ctx, c.Detail.Blob)
	if errors.Is(err, rowstore.ErrNotFound) {
		now, readErr := s.chunks.Get(ctx, o.Tenant, o.ID, c.Name)
		if readErr != nil {
			return nil, s.tampered(ctx, o.Tenant, o.ID, readErr)
		}
		if now.Detail.State != pending {
			return nil, errNoted
		}
		return nil, s.brokenBlob(ctx, o, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a chunk: %w", err)
	}
	plaintext, err := openBlob(o, c.Detail.Blob, sealed)
	if err != nil {
		return nil, s.brokenBlob(ctx, o, err)
	}
	cells, err := decodeRows(plaintext, 1+len(o.Detail.Columns))
	if err != nil || len(cells) != c.Detail.Rows {
		return nil, s.brokenBlob(ctx, o, errors.New("chunk holds other rows than its row says"))
	}
	return cells, nil
}

// note writes a chunk's outcome: done with results, or failed for a reason.
func (s *Imports) note(
	ctx context.Context, o *op, c *operation.Part[chunk], failure string, results []tokenvault.Imported,
) error {
	next := *c
	next.Detail.State, next.Detail.Ended = done, s.Clock().UTC()
	if failure != "" {
		next.Detail.State = failed
		s.Logger.ErrorContext(ctx, "import chunk failed", "operation", o.ID, "chunk", c.Name, "reason", failure)
		p := authz.System(jobName, o.Tenant, o.ID, authz.ImportsRun)
		err := s.Audit.Outcome(ctx, audit.Entry{
			ID: o.Authorised, Phase: audit.Failed, Action: string(authz.ImportsRun), Actor: audit.ActorOf(p),
			ReasonCode: failure, Operation: o.ID, Count: c.Detail.Rows,
		})
		if err != nil {
			return err
		}
	}
	for _, r := range results {
		if r.Invalid == nil {
			next.Detail.Imported++
		} else {
			next.Detail.Rejected++
		}
	}
	err := s.chunks.Update(ctx, o.Tenant, o.ID, &next)
	if err != nil && !errors.Is(err, operation.ErrChanged) {
		return err
	}
	if failure == "" {
		s.forget(ctx, o, c.Detail.Blob)
	}
	return nil
}

// forget deletes a blob that nothing needs any more. What is left over goes
// when the operation's key is destroyed.
func (s *Imports) forget(ctx context.Context, o *op, name string) {
	if err := s.Blobs.Delete(ctx, name); err != nil {
		s.Logger.WarnContext(ctx, "blob not deleted", "operation", o.ID, "error", err)
	}
}
