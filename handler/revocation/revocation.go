// Package revocation takes access tokens back before they expire: one token by
// its id (uti), or all tokens of a subject (oid) that were issued before a
// moment. It says so to package authn on every request, from memory.
//
// A tenant's revocations are one document, sealed under the keyring's row-seal
// key, with a version that grows by one with each write. A write is a
// compare-and-swap of the whole of it. Every process reads it about every
// RefreshEvery; one that has not managed to for MaxAge accepts no token at all.
//
//	revoked at t ─ own process: at once
//	             ─ others: by t + Within while the table answers, else they fail closed by t + MaxAge
//
// Table "revocations", partition <tenant>, row "list".
//
// Trust boundary: storage is not trusted. A writer of the table cannot make or
// alter a list. What he can do is put back an older one, or none: a process
// refuses a version lower than it has seen, a list that lacks what it has seen
// and is still due, and the absence of what was there. It alarms, keeps what it
// has, and accepts no token once that is MaxAge old. Not prevented: a process
// that has just started has seen nothing, and takes what it finds for the newest;
// nor does one notice that has not yet read what another has written and storage
// took back at once: the one that wrote does.
package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/handler/rowstore"
)

// Table is the name of the table, part of every seal.
const Table = "revocations"

const (
	// RefreshEvery is how often a process reads, give or take a tenth, so that
	// processes that started together do not read together.
	RefreshEvery = 15 * time.Second
	// Within is the bound in which a revocation takes effect in every process
	// whose reads succeed: one that had just begun, a pause and the next.
	Within = 30 * time.Second
	// MaxAge is the age of a copy beyond which no token is accepted.
	MaxAge = 60 * time.Second

	loadTimeout = 5 * time.Second
	retryEvery  = 2 * time.Second
)

// This does not compile where the constants do not keep Within.
const _ = uint64(Within - (loadTimeout + RefreshEvery + RefreshEvery/10 + loadTimeout))

// MaxEntries bounds a tenant's list. Its document then stays below what a row
// holds, whatever the ids.
const MaxEntries = 1000

// The errors of this package. Those of keyring, audit and rowstore pass through.
var (
	// ErrStale: this process' copy is too old and could not be refreshed. It
	// wraps the reason.
	ErrStale = errors.New("revocation list is too old")
	// ErrForged: what is stored is not what this system wrote, or goes back
	// behind what this process has seen. Alarmed.
	ErrForged = errors.New("revocation list is forged or rolled back")
	// ErrFull: the list has MaxEntries that are still due.
	ErrFull = errors.New("revocation list is full")
)

// InvalidError is a revocation with a field that cannot be accepted.
type InvalidError struct{ Pointer, Code, Detail string }

// Error implements error.
func (e *InvalidError) Error() string { return e.Pointer + ": " + e.Detail }

// Store is what this package needs of table storage; rowstore has the contract.
type Store interface {
	Get(ctx context.Context, partition, key string) (rowstore.Row, error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// Keys gives the current keys; *keyring.Keyring does.
type Keys interface {
	ForRead(ctx context.Context) (*keyring.Keys, error)
	ForWrite(ctx context.Context) (*keyring.Keys, error)
}

// Options are the parts of a List; all are required.
type Options struct {
	Store Store
	Keys  Keys
	Audit *audit.Log
	// Tenants have lists; tokens of others are not accepted.
	Tenants []string
	// TokenLife is how long after its issue a token can be accepted at most: a
	// revocation is forgotten when it cannot hit any more.
	TokenLife time.Duration
	Clock     clock.Clock
	Logger    *slog.Logger
}

// List is this process' copy of the tenants' lists. Safe for concurrent use.
type List struct {
	Options
	tenants map[string]*tenant
}

// New returns a List that has read nothing yet: Run and Check do.
func New(o Options) (*List, error) {
	if o.Store == nil || o.Keys == nil || o.Audit == nil || len(o.Tenants) == 0 || o.TokenLife <= 0 || o.Clock == nil ||
		o.Logger == nil {
		return nil, errors.New("revocation: an option is missing")
	}
	l := &List{Options: o, tenants: make(map[string]*tenant, len(o.Tenants))}
	for _, id := range o.Tenants {
		l.tenants[id] = &tenant{id: id, turn: make(chan struct{}, 1)}
	}
	return l, nil
}

// Check says what was taken back of the token that p was made from. A copy that
// is too old is refreshed first; an error means that nobody can say now.
func (l *List) Check(ctx context.Context, p authz.Principal) (authz.Revocation, error) {
	t, err := l.of(p.TenantID)
	if err != nil {
		return authz.Revocation{}, err
	}
	h := t.fresh(l.Clock())
	if h == nil {
		if err := l.load(ctx, t); err != nil {
			return authz.Revocation{}, fmt.Errorf("%w: %w", ErrStale, err)
		}
		if h = t.fresh(l.Clock()); h == nil {
			return authz.Revocation{}, ErrStale
		}
	}
	return h.check(p), nil
}

func (l *List) of(tenant string) (*tenant, error) {
	t, ok := l.tenants[tenant]
	if !ok {
		return nil, errors.New("revocation: no list of this tenant")
	}
	return t, nil
}

// Run keeps the copies fresh until ctx ends, each tenant's by itself: one list
// that cannot be read does not hold up another.
func (l *List) Run(ctx context.Context) {
	var group sync.WaitGroup
	for _, t := range l.tenants {
		group.Go(func() { l.keepFresh(ctx, t) })
	}
	group.Wait()
}

func (l *List) keepFresh(ctx context.Context, t *tenant) {
	for ctx.Err() == nil {
		wait := RefreshEvery
		if err := l.load(ctx, t); err != nil && ctx.Err() == nil {
			l.Logger.WarnContext(ctx, "revocation list not refreshed", "tenant", t.id, "error", err)
			wait = retryEvery
		}
		clock.Sleep(ctx, clock.Jitter(wait))
	}
}
