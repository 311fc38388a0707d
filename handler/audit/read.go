package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"secureapi/handler/rowstore"
)

// Reader reads the log for auditors. Every entry it gives was verified.
type Reader struct{ Options }

// NewReader returns a Reader.
func NewReader(o Options) (*Reader, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Reader{o}, nil
}

// Query selects entries of one tenant.
type Query struct {
	Tenant   string
	From, To time.Time // From <= time < To; zero is open
	Action   string
	Limit    int
	After    Cursor
}

// Cursor is the place behind the last entry of a page.
type Cursor struct {
	Stream string `json:"stream"`
	Next   uint64 `json:"next"`
}

// Page is a page of entries, in the order of streams' opening and then of
// their appending. Next is zero where nothing follows.
type Page struct {
	Entries []Entry
	Next    Cursor
}

// maxScanned bounds the entries that one page looks at.
const maxScanned = 5000

// errFull ends a walk whose page is full.
var errFull = errors.New("page is full")

// Events gives one page.
func (r *Reader) Events(ctx context.Context, q Query) (Page, error) {
	key, err := r.MACKey(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("audit MAC key: %w", err)
	}
	streams, err := r.streams(ctx, key)
	if err != nil {
		return Page{}, err
	}
	page, scanned := Page{}, 0
	for _, s := range streams {
		if s.Stream < q.After.Stream || !q.To.IsZero() && !s.Opened.Before(q.To) {
			continue
		}
		full, err := r.collect(ctx, key, s.Stream, q, &page, &scanned)
		if err != nil || full {
			return page, err
		}
	}
	page.Next = Cursor{}
	return page, nil
}

// collect adds a stream's entries. A stream is verified from its start: the
// chain is what makes its entries believable.
func (r *Reader) collect(ctx context.Context, key []byte, id string, q Query, page *Page, scanned *int) (full bool, err error) {
	row, err := r.Store.Get(ctx, id, headKey)
	if errors.Is(err, rowstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading stream head: %w", err)
	}
	var h head
	if err := openRow(key, row, &h); err != nil || h.Stream != id {
		return false, &Broken{Stream: id, What: "head is forged"}
	}
	err = walk(ctx, r.Store, key, id, Position{Stream: id}, h, func(seq uint64, b []byte) error {
		if id == q.After.Stream && seq < q.After.Next {
			return nil
		}
		if len(page.Entries) >= q.Limit || *scanned >= maxScanned {
			page.Next = Cursor{Stream: id, Next: seq}
			return errFull
		}
		*scanned++
		e, err := decodeEntry(b)
		if err != nil {
			return &Broken{Stream: id, Seq: seq, What: "entry is unreadable"}
		}
		if q.matches(e) {
			page.Entries = append(page.Entries, e)
		}
		return nil
	})
	if errors.Is(err, errFull) {
		return true, nil
	}
	return false, err
}

func (q Query) matches(e Entry) bool {
	return e.Actor.Tenant == q.Tenant && (q.Action == "" || e.Action == q.Action) &&
		(q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To))
}

func (r *Reader) streams(ctx context.Context, key []byte) ([]registration, error) {
	closed, err := registrations(ctx, r.Store, key, closedPartition)
	if err != nil {
		return nil, err
	}
	open, err := registrations(ctx, r.Store, key, streamsPartition)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(closed, open)
	slices.SortFunc(all, func(a, b registration) int { return strings.Compare(a.Stream, b.Stream) })
	// A stream on its way from one list to the other may be in both.
	return slices.CompactFunc(all, func(a, b registration) bool { return a.Stream == b.Stream }), nil
}

// Latest gives the newest checkpoint; Number 0 where there is none yet.
func (r *Reader) Latest(ctx context.Context) (Checkpoint, error) {
	key, err := r.MACKey(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("audit MAC key: %w", err)
	}
	c, _, _, err := latest(ctx, r.Store, key)
	return c, err
}
