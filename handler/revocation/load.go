package revocation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

const (
	rowKey           = "list"
	rowKind          = "revocations"
	versionAttribute = "Version"
	// alarmTimeout bounds the writing of one alarm.
	alarmTimeout = 10 * time.Second
)

// tenant is one tenant's copy.
type tenant struct {
	id     string
	shared singleflight.Group
	// held is the last good copy; nil before the first.
	held    atomic.Pointer[held]
	alarmed atomic.Bool
	// turn lets one goroutine at a time read or write the row and change held, so
	// that held never goes back.
	turn chan struct{}
}

func (t *tenant) fresh(now time.Time) *held {
	h := t.held.Load()
	if h == nil {
		return nil
	}
	if age := clock.Age(now, h.checked); age < 0 || age >= MaxAge {
		return nil
	}
	return h
}

func (t *tenant) enter(ctx context.Context) error {
	select {
	case t.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the revocation list: %w", context.Cause(ctx))
	}
}

func (t *tenant) leave() { <-t.turn }

// load compares the copy with the row. Concurrent calls share one load, which
// outlives the caller that happened to start it.
func (l *List) load(ctx context.Context, t *tenant) error {
	result := t.shared.DoChan("load", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		if err := t.enter(ctx); err != nil {
			return nil, err
		}
		defer t.leave()
		_, err := l.refresh(ctx, t)
		return nil, err
	})
	select {
	case r := <-result:
		return l.report(ctx, t, r.Err)
	case <-ctx.Done():
		return fmt.Errorf("loading revocation list: %w", context.Cause(ctx))
	}
}

// stored is what stands in the table.
type stored struct {
	document
	rowVersion string // "" where there is no row
}

// refresh reads the row, believes it or not, and makes it the copy. It is for
// who has the turn.
func (l *List) refresh(ctx context.Context, t *tenant) (stored, error) {
	// Taken before the read: what is written during it may be missed.
	started := l.Clock()
	s, err := l.read(ctx, t.id)
	if err != nil {
		return stored{}, err
	}
	if h := t.held.Load(); h != nil {
		switch {
		case s.Version < h.Version:
			return stored{}, fmt.Errorf("%w: its version went back", ErrForged)
		case h.lostBy(s.document, started):
			return stored{}, fmt.Errorf("%w: it lacks what was revoked", ErrForged)
		}
	}
	t.held.Store(hold(s.document, started))
	t.alarmed.Store(false)
	return s, nil
}

// read opens the row. A tenant without one has revoked nothing yet.
func (l *List) read(ctx context.Context, tenant string) (stored, error) {
	keys, err := l.Keys.ForRead(ctx)
	if err != nil {
		return stored{}, err
	}
	row, err := l.Store.Get(ctx, tenant, rowKey)
	if errors.Is(err, rowstore.ErrNotFound) {
		return stored{document: document{Tenant: tenant}}, nil
	}
	if err != nil {
		return stored{}, fmt.Errorf("reading revocation list: %w", err)
	}
	version, err := strconv.ParseUint(row.Attributes[versionAttribute], 10, 64)
	if err != nil {
		return stored{}, fmt.Errorf("%w: version unreadable", ErrForged)
	}
	s := stored{rowVersion: row.Version}
	if err := rowseal.Open(keys.RowSeal(), place(tenant, version), row.Body, &s.document); err != nil {
		return stored{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return s, nil
}

// write replaces the row that s was read from. ErrChanged, ErrExists and
// ErrNotFound of rowstore mean that it is another one now.
func (l *List) write(ctx context.Context, s stored, next document) error {
	keys, err := l.Keys.ForWrite(ctx)
	if err != nil {
		return err
	}
	body, err := rowseal.Seal(keys.RowSeal(), place(next.Tenant, next.Version), next)
	if err != nil {
		return err
	}
	m := rowstore.Mutation{Action: rowstore.Replace, Row: rowstore.Row{
		Partition: next.Tenant, Key: rowKey, Body: body, Version: s.rowVersion,
		Attributes: map[string]string{versionAttribute: strconv.FormatUint(next.Version, 10)},
	}}
	if s.rowVersion == "" {
		m.Action = rowstore.Insert
	}
	if _, err := l.Store.Apply(ctx, next.Tenant, []rowstore.Mutation{m}); err != nil {
		return fmt.Errorf("writing revocation list: %w", err)
	}
	return nil
}

func place(tenant string, version uint64) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: tenant, Key: rowKey, Kind: rowKind, Counter: version,
	}
}

// report raises the alarm when a refusal begins, and passes err on.
func (l *List) report(ctx context.Context, t *tenant, err error) error {
	if !errors.Is(err, ErrForged) || t.alarmed.Swap(true) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), alarmTimeout)
	defer cancel()
	alarmErr := l.Audit.Alarm(ctx, audit.Entry{
		Action: "revocations.load", Actor: audit.ActorOf(authz.System("revocations", t.id, "")), ReasonCode: "revocations_forged",
	})
	if alarmErr != nil {
		l.Logger.ErrorContext(ctx, "alarm entry not stored", "tenant", t.id, "error", alarmErr)
	}
	return err
}
