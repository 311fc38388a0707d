// Package operation keeps what must outlive a request: long-running
// operations and their parts, idempotency plans, the sealed messages
// ("doorbells") that wake a job, and the due list that rings them again.
//
// The sealed operation row is the truth of who authorised what (invariant
// I6). A queue message only names an operation; a forged one does not open,
// and a repeated or late one finds the row already further. Leases are not
// needed: every state change is an insert-if-absent or a compare-and-swap.
//
// Table "operations":
//
//	partition o|<tenant>|<operation id>   rows op, part|…, chunk|… (one transaction each)
//	partition i|<tenant>|<hex digit>      idempotency plans, key: keyed hash
//	partition due                         operations that a job still owes work, by kind of work
package operation

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// Table is the name of the table, part of every seal.
const Table = "operations"

const rowKey = "op"

// The errors of this package; those of rowstore and rowseal pass through.
var (
	// ErrNotFound: no such operation for this tenant.
	ErrNotFound = errors.New("operation not found")
	// ErrState: the operation's state does not allow this.
	ErrState = errors.New("operation is in another state")
	// ErrChanged: somebody else changed the operation; read again.
	ErrChanged = errors.New("operation changed meanwhile")
)

// State of an operation.
type State string

// The states: receiving -> running <-> paused -> completed, or cancelled from
// any state but completed.
const (
	Receiving State = "receiving"
	Running   State = "running"
	Paused    State = "paused"
	Completed State = "completed"
	Cancelled State = "cancelled"
)

// Final reports whether no further change follows.
func (s State) Final() bool { return s == Completed || s == Cancelled }

// Operation is the content of the sealed row. D is what its kind needs.
type Operation[D any] struct {
	ID        string    `json:"id"`
	Tenant    string    `json:"tenant"`
	Kind      string    `json:"kind"`
	State     State     `json:"state"`
	CreatedBy string    `json:"createdBy"`
	Client    string    `json:"client"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// Authorised is the id of the audit entry that allows the job's work.
	Authorised string `json:"authorised"`
	Counter    uint64 `json:"counter"`
	Detail     D      `json:"detail"`

	version string
}

// OwnedBy reports whether p created the operation.
func (o *Operation[D]) OwnedBy(p authz.Principal) bool { return p.Is(o.Tenant, o.CreatedBy) }

// Store is what this package needs of table storage; rowstore has the contract.
type Store interface {
	Get(ctx context.Context, partition, key string) (rowstore.Row, error)
	List(ctx context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// Keys gives the current keys; *keyring.Keyring does.
type Keys interface {
	ForRead(ctx context.Context) (*keyring.Keys, error)
	ForWrite(ctx context.Context) (*keyring.Keys, error)
}

// Operations reads and writes operations of one kind. Safe for concurrent use.
type Operations[D any] struct {
	kind  string
	store Store
	keys  Keys
	now   clock.Clock
}

// New returns the operations of a kind. Kind is part of the seal: a row of
// another kind does not open.
func New[D any](kind string, store Store, keys Keys, now clock.Clock) *Operations[D] {
	return &Operations[D]{kind: kind, store: store, keys: keys, now: now}
}

// Partition is where the operation and its parts stand.
func Partition(tenant, id string) string { return "o|" + tenant + "|" + id }

// NewID draws an operation id.
func NewID() string { return uuid.NewString() }

// Create writes a new operation; op.ID is drawn by the caller, so that the
// audit entry could name it before.
func (s *Operations[D]) Create(ctx context.Context, op *Operation[D]) error {
	op.Kind, op.Counter = s.kind, 1
	op.CreatedAt = s.now().UTC()
	op.UpdatedAt = op.CreatedAt
	row, err := s.seal(ctx, op)
	if err != nil {
		return err
	}
	row.Version = ""
	versions, err := s.store.Apply(ctx, row.Partition, []rowstore.Mutation{{Action: rowstore.Insert, Row: row}})
	if errors.Is(err, rowstore.ErrExists) {
		// The id is random: only this call's own lost answer can be there.
		stored, readErr := s.Get(ctx, op.Tenant, op.ID)
		if readErr != nil {
			return readErr
		}
		op.version = stored.version
		return nil
	}
	if err != nil {
		return fmt.Errorf("creating operation: %w", err)
	}
	op.version = versions[0]
	return nil
}

// Get reads an operation of a tenant.
func (s *Operations[D]) Get(ctx context.Context, tenant, id string) (*Operation[D], error) {
	keys, err := s.keys.ForRead(ctx)
	if err != nil {
		return nil, err
	}
	row, err := s.store.Get(ctx, Partition(tenant, id), rowKey)
	if errors.Is(err, rowstore.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading operation: %w", err)
	}
	counter, err := parseCounter(row.Attributes[counterAttribute])
	if err != nil {
		return nil, err
	}
	var op Operation[D]
	if err := rowseal.Open(keys.RowSeal(), s.place(tenant, id, counter), row.Body, &op); err != nil {
		return nil, err
	}
	if op.Counter != counter || op.ID != id || op.Tenant != tenant {
		return nil, fmt.Errorf("%w: operation row names another operation", rowseal.ErrTampered)
	}
	op.version = row.Version
	return &op, nil
}

// Update writes op with the next counter, together with further mutations of
// its partition in the same transaction, if it is still the version that was
// read. ErrChanged: read it again. On success op carries the new version.
func (s *Operations[D]) Update(ctx context.Context, op *Operation[D], with ...rowstore.Mutation) error {
	next := *op
	next.Counter++
	next.UpdatedAt = s.now().UTC()
	row, err := s.seal(ctx, &next)
	if err != nil {
		return err
	}
	mutations := append([]rowstore.Mutation{{Action: rowstore.Replace, Row: row}}, with...)
	versions, err := s.store.Apply(ctx, row.Partition, mutations)
	switch {
	case errors.Is(err, rowstore.ErrChanged), errors.Is(err, rowstore.ErrExists), errors.Is(err, rowstore.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrChanged, err)
	case err != nil:
		return fmt.Errorf("updating operation: %w", err)
	}
	next.version = versions[0]
	*op = next
	return nil
}

const counterAttribute = "Counter"

func (s *Operations[D]) seal(ctx context.Context, op *Operation[D]) (rowstore.Row, error) {
	keys, err := s.keys.ForWrite(ctx)
	if err != nil {
		return rowstore.Row{}, err
	}
	body, err := rowseal.Seal(keys.RowSeal(), s.place(op.Tenant, op.ID, op.Counter), op)
	if err != nil {
		return rowstore.Row{}, err
	}
	return rowstore.Row{
		Partition: Partition(op.Tenant, op.ID), Key: rowKey, Body: body, Version: op.version,
		Attributes: map[string]string{counterAttribute: formatCounter(op.Counter)},
	}, nil
}

func (s *Operations[D]) place(tenant, id string, counter uint64) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: Partition(tenant, id), Key: rowKey,
		Kind: "operation/" + s.kind, Counter: counter,
	}
}

func formatCounter(counter uint64) string {
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, counter))
}

func parseCounter(text string) (uint64, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 8 {
		return 0, fmt.Errorf("%w: row counter unreadable", rowseal.ErrTampered)
	}
	return binary.BigEndian.Uint64(b), nil
}
