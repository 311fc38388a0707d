package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"secureapi/handler/clock"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
)

// ErrUnavailable: the entry could not be made durable. Whatever it was to
// allow must not happen; the caller answers 503.
var ErrUnavailable = errors.New("audit log unavailable")

// Store is what this package needs of table storage; rowstore has the contract.
type Store interface {
	Get(ctx context.Context, partition, key string) (rowstore.Row, error)
	List(ctx context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// Options are the parts of a Log, a Sealer and a Reader; all are required.
type Options struct {
	Store Store
	// MACKey gives the key that entries and rows are MACed with.
	MACKey   func(ctx context.Context) ([]byte, error)
	Clock    clock.Clock
	Instance string
	Logger   *slog.Logger
	// Telemetry is told of every alarm entry, and of what is not sealed.
	Telemetry telemetry.Recorder
}

func (o Options) check() error {
	if o.Store == nil || o.MACKey == nil || o.Clock == nil || o.Instance == "" || o.Logger == nil || o.Telemetry == nil {
		return errors.New("audit: an option is missing")
	}
	return nil
}

const (
	// appendWait bounds how long a request waits for its entry.
	appendWait = 10 * time.Second
	// maxBacklog bounds the entries that wait; beyond it nothing is authorised.
	maxBacklog = 10000
	// maxReasons bounds the reasons counted at once.
	maxReasons = 64
	// countEvery is how often counted refusals become entries.
	countEvery = time.Minute
)

// Log appends entries. Safe for concurrent use; each process has one.
type Log struct {
	Options

	mu      sync.Mutex
	waiting []*pending
	counts  map[string]int
	closed  bool

	wake    chan struct{}
	stopped chan struct{}
	stream  *stream // the committer's own
}

// pending is an entry on its way into the stream.
type pending struct {
	entry []byte
	done  chan struct{} // closed when durable; nil where nobody waits
	gone  bool          // nobody waits any more, and it is not to be written
}

// New returns a Log and starts its committer; Close ends it.
func New(o Options) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	l := &Log{
		Options: o, counts: map[string]int{}, wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	go l.run()
	return l, nil
}

// Authorise makes an entry durable before what it allows takes effect.
func (l *Log) Authorise(ctx context.Context, e Entry) (*Ticket, error) {
	e.Phase, e.SpanID = Authorised, telemetry.SpanID(ctx)
	if e.ID == "" {
		e.ID = NewID()
	}
	if err := l.append(ctx, e); err != nil {
		return nil, err
	}
	return &Ticket{log: l, entry: e}, nil
}

// Ticket is an authorised action whose outcome is still to be written.
type Ticket struct {
	log   *Log
	entry Entry
}

// ID is the id that the authorised entry and its outcome share.
func (t *Ticket) ID() string { return t.entry.ID }

// Completed writes the outcome with the next group commit, without waiting.
// A process that dies before leaves an authorised entry without outcome,
// which says just that.
func (t *Ticket) Completed(change func(*Entry)) {
	e := t.entry
	e.Phase = Completed
	if change != nil {
		change(&e)
	}
	t.log.later(e)
}

// Failed writes that the action did not succeed, and why.
func (t *Ticket) Failed(reasonCode string) {
	e := t.entry
	e.Phase, e.ReasonCode = Failed, reasonCode
	t.log.later(e)
}

// Deny writes a denied entry. A denial stays one whatever this returns.
func (l *Log) Deny(ctx context.Context, e Entry) error {
	e.Phase = Denied
	return l.append(ctx, e)
}

// Alarm writes that something happened that must not happen.
func (l *Log) Alarm(ctx context.Context, e Entry) error {
	e.Phase = Alarm
	l.Logger.ErrorContext(ctx, "security alarm", "action", e.Action, "reason", e.ReasonCode, "operation", e.Operation)
	return l.append(ctx, e)
}

// Outcome writes a Completed or Failed entry, waiting until it is durable: of
// an operation that another process authorised under e.ID.
func (l *Log) Outcome(ctx context.Context, e Entry) error { return l.append(ctx, e) }

// CountRefusal counts a request refused before its token's signature was
// verified. Such requests cost nothing to make, so that they must not each
// cost an entry: one a reason and minute.
func (l *Log) CountRefusal(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.counts[reason]; !known && len(l.counts) >= maxReasons {
		reason = "other"
	}
	l.counts[reason]++
}

// append waits until the entry is durable.
func (l *Log) append(ctx context.Context, e Entry) error {
	b, err := l.encode(ctx, e)
	if err != nil {
		return err
	}
	p := &pending{entry: b, done: make(chan struct{})}
	if err := l.push(p); err != nil {
		return err
	}
	timeout := time.NewTimer(appendWait)
	defer timeout.Stop()
	select {
	case <-p.done:
		return nil
	case <-timeout.C:
		err = errors.New("store does not answer")
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.stopped:
		err = errors.New("log is closed")
	}
	l.mu.Lock()
	p.gone = true
	l.mu.Unlock()
	select {
	case <-p.done:
		return nil
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// later queues an entry that nobody waits for.
//
//nolint:contextcheck,nolintlint // it outlives the call that it is about; the finding would be at its callers
func (l *Log) later(e Entry) {
	b, err := l.encode(context.Background(), e)
	if err != nil {
		l.Logger.Error("audit outcome not encoded", "action", e.Action, "error", err)
		return
	}
	l.mu.Lock()
	// Over the bound Authorise refuses, so that this list stays bounded too.
	l.waiting = append(l.waiting, &pending{entry: b})
	l.mu.Unlock()
	l.signal()
}

func (l *Log) push(p *pending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting) >= maxBacklog {
		return fmt.Errorf("%w: closed or overloaded", ErrUnavailable)
	}
	l.waiting = append(l.waiting, p)
	l.signal()
	return nil
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close writes what waits, closes the stream and ends the committer.
func (l *Log) Close(ctx context.Context) error {
	l.flushCounts()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing audit log: %w", ctx.Err())
	}
}

func (l *Log) flushCounts() {
	l.mu.Lock()
	counts := l.counts
	l.counts = map[string]int{}
	l.mu.Unlock()
	for reason, n := range counts {
		l.later(Entry{Class: classAuthentication, Phase: Counted, Action: "authentication", ReasonCode: reason, Count: n})
	}
}
