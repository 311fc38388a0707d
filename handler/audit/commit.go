package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"secureapi/handler/rowstore"
)

const (
	streamsPartition = "streams"
	closedPartition  = "streams.closed"
	maxEntries       = rowstore.MaxTransaction - 1
	maxCommitBytes   = rowstore.MaxTransactionBytes / 2
	storeTimeout     = 20 * time.Second
	firstRetry       = 50 * time.Millisecond
	lastRetry        = 5 * time.Second
)

// stream is the stream that this process appends to.
type stream struct {
	id      string
	next    uint64
	last    hash
	version string // of the head row; "" before the first append
	opened  time.Time
}

// firstAppendWithin is how long a registered stream may stay empty before its
// writer takes a new one: the sealer retires an empty stream after idleAfter.
const firstAppendWithin = idleAfter / 3

// run is the committer: one commit at a time, each with all that waits.
func (l *Log) run() {
	defer close(l.stopped)
	counting := time.NewTicker(countEvery)
	defer counting.Stop()
	for {
		batch, closing := l.take()
		switch {
		case len(batch) > 0:
			l.commit(batch)
			continue
		case closing:
			l.closeStream()
			return
		}
		select {
		case <-l.wake:
		case <-counting.C:
			l.flushCounts()
		}
	}
}

// take gives the next batch, leaving out entries that nobody waits for any more.
func (l *Log) take() (batch []*pending, closing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, i := 0, 0
	for ; i < len(l.waiting) && len(batch) < maxEntries; i++ {
		p := l.waiting[i]
		if p.gone {
			continue
		}
		size += len(p.entry) + 256
		if size > maxCommitBytes && len(batch) > 0 {
			break
		}
		batch = append(batch, p)
	}
	l.waiting = append([]*pending(nil), l.waiting[i:]...)
	return batch, l.closed && len(l.waiting) == 0
}

// commit makes the batch durable, however long it takes: until then nothing
// else is authorised. A closed Log gives up after one round, since the
// process is about to end.
func (l *Log) commit(batch []*pending) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		err := l.tryCommit(ctx, batch)
		cancel()
		if err == nil {
			for _, p := range batch {
				if p.done != nil {
					close(p.done)
				}
			}
			return
		}
		l.Logger.Error("audit commit failed", "entries", len(batch), "error", err)
		l.mu.Lock()
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return
		}
		time.Sleep(wait)
	}
}

// tryCommit appends the batch to the stream. Where the outcome is in doubt it
// reads the head: it tells whether this very batch is in.
func (l *Log) tryCommit(ctx context.Context, batch []*pending) error {
	key, err := l.MACKey(ctx)
	if err != nil {
		return fmt.Errorf("audit MAC key: %w", err)
	}
	if l.stream == nil {
		if l.stream, err = l.open(ctx, key); err != nil {
			return err
		}
	}
	mutations, after, err := l.mutations(key, batch)
	if err != nil {
		return err
	}
	versions, err := l.Store.Apply(ctx, l.stream.id, mutations)
	if err == nil {
		after.version = versions[0]
		l.stream = after
		return nil
	}
	return l.resolve(ctx, key, after, err)
}

// resolve decides what a failed Apply left behind.
func (l *Log) resolve(ctx context.Context, key []byte, after *stream, cause error) error {
	row, err := l.Store.Get(ctx, l.stream.id, headKey)
	if errors.Is(err, rowstore.ErrNotFound) && l.stream.version == "" {
		if l.Clock().Sub(l.stream.opened) > firstAppendWithin {
			l.stream = nil
		}
		return fmt.Errorf("appending: %w", cause) // nothing is there: try again
	}
	if err != nil {
		return fmt.Errorf("appending: %w; reading head: %w", cause, err)
	}
	var h head
	if err := openRow(key, row, &h); err != nil {
		l.abandon("stream head is forged")
		return fmt.Errorf("reading head: %w", err)
	}
	switch {
	case h.Next == after.next && h.Last == after.last:
		after.version = row.Version // it was applied
		l.stream = after
		return nil
	case h.State == stateOpen && h.Next == l.stream.next && h.Last == l.stream.last:
		l.stream.version = row.Version // it was not applied: try again
		return fmt.Errorf("appending: %w", cause)
	case h.State == stateClosed && h.Next == l.stream.next && h.Last == l.stream.last:
		l.stream = nil // the sealer closed it: go on in a new one
		return fmt.Errorf("appending: stream is closed: %w", cause)
	default:
		l.abandon("stream was rolled back or taken over")
		return fmt.Errorf("appending: %w", cause)
	}
}

// abandon leaves a stream that somebody else has changed, and says so in the
// next one.
func (l *Log) abandon(what string) {
	l.Logger.Error("security alarm", "reason", "audit_stream_changed", "what", what, "stream", l.stream.id)
	l.stream = nil
	l.later(Entry{Phase: Alarm, Action: "audit.append", ReasonCode: "audit_stream_changed"})
}

// open registers a new stream. Its head comes with the first entries.
func (l *Log) open(ctx context.Context, key []byte) (*stream, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("drawing stream id: %w", err)
	}
	opened := l.Clock().UTC()
	row, err := macedRow(key, streamsPartition, id.String(),
		registration{Stream: id.String(), Instance: l.Instance, Opened: opened})
	if err != nil {
		return nil, err
	}
	_, err = l.Store.Apply(ctx, streamsPartition, []rowstore.Mutation{{Action: rowstore.Insert, Row: row}})
	if err != nil && !errors.Is(err, rowstore.ErrExists) {
		return nil, fmt.Errorf("registering stream: %w", err)
	}
	return &stream{id: id.String(), opened: opened}, nil
}

// mutations gives the transaction of a batch and the stream after it.
func (l *Log) mutations(key []byte, batch []*pending) ([]rowstore.Mutation, *stream, error) {
	after := *l.stream
	mutations := make([]rowstore.Mutation, 1, len(batch)+1)
	for _, p := range batch {
		after.last = after.last.chain(p.entry)
		mutations = append(mutations, rowstore.Mutation{Action: rowstore.Insert, Row: rowstore.Row{
			Partition: after.id, Key: entryKey(after.next), Body: p.entry,
			Attributes: map[string]string{macAttribute: entryMAC(key, after.id, after.next, after.last)},
		}})
		after.next++
	}
	var err error
	mutations[0], err = headMutation(key, &after, stateOpen, l.Clock().UTC())
	return mutations, &after, err
}

func headMutation(key []byte, s *stream, state string, now time.Time) (rowstore.Mutation, error) {
	row, err := macedRow(key, s.id, headKey,
		head{Stream: s.id, Next: s.next, Last: s.last, State: state, Updated: now})
	if err != nil {
		return rowstore.Mutation{}, err
	}
	row.Version = s.version
	if s.version == "" {
		return rowstore.Mutation{Action: rowstore.Insert, Row: row}, nil
	}
	return rowstore.Mutation{Action: rowstore.Replace, Row: row}, nil
}

// closeStream marks the own stream as ended, so that the sealer need not wait.
func (l *Log) closeStream() {
	if l.stream == nil || l.stream.version == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	key, err := l.MACKey(ctx)
	if err == nil {
		var m rowstore.Mutation
		if m, err = headMutation(key, l.stream, stateClosed, l.Clock().UTC()); err == nil {
			_, err = l.Store.Apply(ctx, l.stream.id, []rowstore.Mutation{m})
		}
	}
	if err != nil {
		// The sealer closes it when it has been idle long enough.
		l.Logger.Warn("audit stream left open", "error", err)
	}
}
