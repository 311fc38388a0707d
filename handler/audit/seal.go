package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
)

const (
	checkpointsPartition = "checkpoints"
	// idleAfter is how long an open stream may rest before the sealer closes
	// it; its writer, if it lives, goes on in a new one.
	idleAfter = 15 * time.Minute
	// maxStreams bounds a checkpoint's body.
	maxStreams = 3000
)

// ErrRace: another sealer wrote this checkpoint. Nothing is left to do.
var ErrRace = errors.New("another sealer was first")

// Broken is a stream that does not verify. Sealing does not go past it.
type Broken struct {
	Stream string
	Seq    uint64
	What   string
}

// Error implements error.
func (b *Broken) Error() string {
	return fmt.Sprintf("audit stream %s is broken at entry %d: %s", b.Stream, b.Seq, b.What)
}

// Position is how far a stream is sealed.
type Position struct {
	Stream string `json:"stream"`
	Next   uint64 `json:"next"`
	Last   hash   `json:"last"`
	Closed bool   `json:"closed,omitzero"`
}

// Checkpoint says that everything up to its positions was verified.
type Checkpoint struct {
	Number   uint64     `json:"number"`
	Previous hash       `json:"previous"`
	Time     time.Time  `json:"time"`
	Entries  uint64     `json:"entries"`
	Streams  []Position `json:"streams"`
}

// Sealer verifies the log and writes checkpoints. Any number may run.
type Sealer struct {
	Options
	Publication

	// published is the largest size that this process has seen in the
	// container: it needs no look, and nothing smaller is ever signed.
	published atomic.Uint64
}

// NewSealer returns a Sealer.
func NewSealer(o Options, p Publication) (*Sealer, error) {
	if err := errors.Join(o.check(), p.check()); err != nil {
		return nil, err
	}
	return &Sealer{Options: o, Publication: p}, nil
}

// Seal verifies each stream since the last checkpoint and writes the next,
// adds its entries to the tree, signs the tree's head and publishes it. Where
// nothing was appended it writes nothing. Killed anywhere, the next run goes on.
func (s *Sealer) Seal(ctx context.Context) (Checkpoint, error) {
	key, err := s.MACKey(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit MAC key: %w", err)
	}
	latest, version, hashed, err := latest(ctx, s.Store, key)
	if err != nil {
		return Checkpoint{}, err
	}
	sealed := make(map[string]Position, len(latest.Streams))
	for _, p := range latest.Streams {
		sealed[p.Stream] = p
	}
	next := Checkpoint{Number: latest.Number + 1, Previous: hashed, Time: s.Clock().UTC(), Entries: latest.Entries}
	streams, err := registrations(ctx, s.Store, key, streamsPartition)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(streams) > maxStreams {
		return Checkpoint{}, fmt.Errorf("sealing audit log: %d streams are open", len(streams))
	}
	ends, err := s.ends(ctx, key, streams)
	if err != nil {
		return Checkpoint{}, err
	}
	signed, _, err := newestNote(ctx, s.Store, key)
	if err != nil {
		return Checkpoint{}, err
	}
	unsealed := latest.Entries - min(latest.Entries, signed.Size)
	for _, e := range ends {
		unsealed += e.Next - min(e.Next, sealed[e.stream].Next)
	}
	// Told however this ends: what stays unsealed is an alert's matter.
	defer func() { s.Telemetry.Metric(ctx, telemetry.MetricAuditUnsealed, float64(unsealed)) }()
	changed, err := s.advance(ctx, key, ends, sealed, version, &next)
	if err != nil {
		return Checkpoint{}, err
	}
	if changed {
		if err := s.write(ctx, key, next, version); err != nil {
			return Checkpoint{}, err
		}
		latest.Number = next.Number
	}
	if err := s.retire(ctx, key, next); err != nil {
		return Checkpoint{}, err
	}
	tree, err := s.grow(ctx, key, latest.Number)
	if err != nil {
		return Checkpoint{}, err
	}
	if tree.Size > 0 {
		if err := s.publish(ctx, key, tree); err != nil {
			return Checkpoint{}, err
		}
	}
	unsealed = 0
	if !changed {
		return latest, nil
	}
	return next, nil
}

// advance verifies each stream from where it is sealed and notes in next where
// it is sealed then. It says whether that is further than before.
func (s *Sealer) advance(
	ctx context.Context, key []byte, ends []end, sealed map[string]Position, version string, next *Checkpoint,
) (changed bool, err error) {
	for _, e := range ends {
		before, known := sealed[e.stream]
		if err := s.notRetired(ctx, e, known, version); err != nil {
			return false, err
		}
		position, err := s.verify(ctx, key, e, before)
		if err != nil {
			return false, err
		}
		changed = changed || position != before && (position.Next > 0 || position.Closed)
		next.Entries += position.Next - before.Next
		next.Streams = append(next.Streams, position)
		delete(sealed, e.stream)
	}
	for stream, p := range sealed {
		if !p.Closed {
			return false, s.unlessRaced(ctx, version, &Broken{Stream: stream, Seq: p.Next, What: "stream is no longer registered"})
		}
	}
	return changed, nil
}

// unlessRaced is the finding, or ErrRace where another sealer has moved the
// latest checkpoint since it was read, and may have retired the stream.
func (s *Sealer) unlessRaced(ctx context.Context, version string, finding *Broken) error {
	pointer, err := s.Store.Get(ctx, checkpointsPartition, headKey)
	switch {
	case err != nil && !errors.Is(err, rowstore.ErrNotFound):
		return fmt.Errorf("reading checkpoint: %w", err)
	case pointer.Version != version:
		return ErrRace
	default:
		return finding
	}
}

// notRetired refuses the registration of a stream that was sealed to its end
// and is registered again: its entries would be sealed twice.
func (s *Sealer) notRetired(ctx context.Context, e end, known bool, version string) error {
	if known {
		return nil
	}
	_, err := s.Store.Get(ctx, closedPartition, e.stream)
	switch {
	case errors.Is(err, rowstore.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("reading closed streams: %w", err)
	}
	return s.unlessRaced(ctx, version, &Broken{Stream: e.stream, What: "registration of a sealed stream was put back"})
}

// end is where a registered stream ends.
type end struct {
	head // zero where there is none, or it is forged

	stream  string
	opened  time.Time
	version string // of the head's row; "" where there is none
	forged  bool
}

// ends reads the heads of the registered streams.
func (s *Sealer) ends(ctx context.Context, key []byte, streams []registration) ([]end, error) {
	list := make([]end, 0, len(streams))
	for _, r := range streams {
		e := end{stream: r.Stream, opened: r.Opened}
		row, err := s.Store.Get(ctx, r.Stream, headKey)
		switch {
		case errors.Is(err, rowstore.ErrNotFound):
		case err != nil:
			return nil, fmt.Errorf("reading stream head: %w", err)
		default:
			e.version = row.Version
			if err := openRow(key, row, &e.head); err != nil || e.Stream != r.Stream {
				e.head, e.forged = head{}, true
			}
		}
		list = append(list, e)
	}
	return list, nil
}

// verify walks a stream from its sealed position to its head.
func (s *Sealer) verify(ctx context.Context, key []byte, e end, from Position) (Position, error) {
	switch {
	case e.forged:
		return from, &Broken{Stream: e.stream, Seq: from.Next, What: "head is forged"}
	case e.version == "" && from.Next > 0:
		return from, &Broken{Stream: e.stream, Seq: from.Next, What: "head is gone"}
	case e.version == "":
		// Registered, and nothing written yet; or never, when it is old.
		return Position{Stream: e.stream, Closed: s.Clock().Sub(e.opened) > idleAfter}, nil
	case e.Next < from.Next:
		return from, &Broken{Stream: e.stream, Seq: e.Next, What: "head was rolled back behind a checkpoint"}
	}
	if err := walk(ctx, s.Store, key, e.stream, from, e.head, nil); err != nil {
		return from, err
	}
	position := Position{Stream: e.stream, Next: e.Next, Last: e.Last, Closed: e.State == stateClosed}
	if !position.Closed && s.Clock().Sub(e.Updated) > idleAfter {
		m, err := headMutation(key, &stream{id: e.stream, next: e.Next, last: e.Last, version: e.version}, stateClosed, s.Clock().UTC())
		if err != nil {
			return from, err
		}
		_, err = s.Store.Apply(ctx, e.stream, []rowstore.Mutation{m})
		// Where it changed meanwhile it is not idle: the next run sees.
		position.Closed = err == nil
	}
	return position, nil
}

// walk verifies entries [from.Next, h.Next) and that they end in the head's
// hash. visit, where given, gets each entry.
func walk(
	ctx context.Context, store Store, key []byte, id string, from Position, h head, visit func(seq uint64, entry []byte) error,
) error {
	seq, last := from.Next, from.Last
	page := rowstore.Range{From: entryKey(seq), To: entryKey(h.Next), Limit: rowstore.MaxPage}
	for page.From != "" && seq < h.Next {
		rows, next, err := store.List(ctx, id, page)
		if err != nil {
			return fmt.Errorf("reading audit entries: %w", err)
		}
		for _, row := range rows {
			if row.Key != entryKey(seq) {
				return &Broken{Stream: id, Seq: seq, What: "an entry is missing"}
			}
			last = last.chain(row.Body)
			if !hmac.Equal([]byte(entryMAC(key, id, seq, last)), []byte(row.Attributes[macAttribute])) {
				return &Broken{Stream: id, Seq: seq, What: "an entry was altered"}
			}
			if visit != nil {
				if err := visit(seq, row.Body); err != nil {
					return err
				}
			}
			seq++
		}
		page.From = next
	}
	if seq != h.Next {
		return &Broken{Stream: id, Seq: seq, What: "entries are missing at the end"}
	}
	if last != h.Last {
		return &Broken{Stream: id, Seq: seq, What: "the chain does not end in the head"}
	}
	return nil
}

// write stores the checkpoint and moves the latest, or ErrRace.
func (s *Sealer) write(ctx context.Context, key []byte, c Checkpoint, version string) error {
	row, err := macedRow(key, checkpointsPartition, checkpointKey(c.Number), c)
	if err != nil {
		return err
	}
	pointer := row
	pointer.Key, pointer.Body, pointer.Version = headKey, nil, version
	pointer.Attributes = map[string]string{"Number": checkpointKey(c.Number)}
	move := rowstore.Mutation{Action: rowstore.Replace, Row: pointer}
	if version == "" {
		move.Action = rowstore.Insert
	}
	_, err = s.Store.Apply(ctx, checkpointsPartition, []rowstore.Mutation{{Action: rowstore.Insert, Row: row}, move})
	switch {
	case errors.Is(err, rowstore.ErrExists), errors.Is(err, rowstore.ErrChanged), errors.Is(err, rowstore.ErrNotFound):
		return ErrRace
	case err != nil:
		return fmt.Errorf("writing checkpoint: %w", err)
	}
	return nil
}

// retire takes streams that are sealed to their end off the open list.
func (s *Sealer) retire(ctx context.Context, key []byte, c Checkpoint) error {
	for _, p := range c.Streams {
		if !p.Closed {
			continue
		}
		row, err := s.Store.Get(ctx, streamsPartition, p.Stream)
		if errors.Is(err, rowstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("retiring stream: %w", err)
		}
		var r registration
		if err := openRow(key, row, &r); err != nil {
			return &Broken{Stream: p.Stream, What: "registration is forged"}
		}
		moved, err := macedRow(key, closedPartition, p.Stream, r)
		if err != nil {
			return err
		}
		_, err = s.Store.Apply(ctx, closedPartition, []rowstore.Mutation{{Action: rowstore.Insert, Row: moved}})
		if err != nil && !errors.Is(err, rowstore.ErrExists) {
			return fmt.Errorf("retiring stream: %w", err)
		}
		_, err = s.Store.Apply(ctx, streamsPartition, []rowstore.Mutation{{Action: rowstore.Delete, Row: rowstore.Row{
			Partition: streamsPartition, Key: p.Stream, Version: row.Version,
		}}})
		if err != nil && !errors.Is(err, rowstore.ErrNotFound) && !errors.Is(err, rowstore.ErrChanged) {
			return fmt.Errorf("retiring stream: %w", err)
		}
	}
	return nil
}

func checkpointKey(number uint64) string { return fmt.Sprintf("%020d", number) }

// latest reads the newest checkpoint, the version of the pointer to it, and
// its hash; zero values where there is none yet.
func latest(ctx context.Context, store Store, key []byte) (c Checkpoint, version string, hashed hash, err error) {
	pointer, err := store.Get(ctx, checkpointsPartition, headKey)
	if errors.Is(err, rowstore.ErrNotFound) {
		return c, "", hashed, nil
	}
	if err != nil {
		return c, "", hashed, fmt.Errorf("reading checkpoint: %w", err)
	}
	row, err := store.Get(ctx, checkpointsPartition, pointer.Attributes["Number"])
	if err != nil {
		return c, "", hashed, fmt.Errorf("reading checkpoint: %w", err)
	}
	if err := openRow(key, row, &c); err != nil {
		return Checkpoint{}, "", hashed, &Broken{What: "checkpoint is forged"}
	}
	return c, pointer.Version, sha256.Sum256(row.Body), nil
}

// registrations lists the streams of a partition in the order they were opened.
func registrations(ctx context.Context, store Store, key []byte, partition string) ([]registration, error) {
	var list []registration
	for row, err := range rowstore.All(ctx, store, partition, rowstore.Range{Limit: rowstore.MaxPage}) {
		if err != nil {
			return nil, fmt.Errorf("listing streams: %w", err)
		}
		var r registration
		if err := openRow(key, row, &r); err != nil {
			return nil, &Broken{Stream: row.Key, What: "registration is forged"}
		}
		list = append(list, r)
	}
	return list, nil
}
