// Package rowstore is the contract between the domain and Table Storage: what
// a row is, what one atomic transaction may do, and which errors a store gives.
//
// The packages that keep state (keyring, tokenvault, operation, audit) each
// declare the narrow Store they need in these terms; azure/tables implements
// it over Azure Table Storage and memstore in memory, for tests. One
// conformance suite, storetest, holds both to the same behaviour.
//
// Trust boundary: whatever a store returns is outside data. Whoever can write
// the tables can return any row, so a consumer opens a sealed body bound to
// the row's table, partition and key before it believes anything in it.
package rowstore

import (
	"errors"
	"fmt"
)

// Limits that every store enforces. They are those of Table Storage or
// stricter, because emulators accept what the service refuses
// (https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model).
const (
	// MaxTransaction is the number of mutations one Apply may hold.
	MaxTransaction = 100
	// MaxBody is the size of Row.Body; a store spreads it over 64 KiB properties.
	MaxBody = 768 << 10
	// MaxTransactionBytes is the sum of bodies, attributes and keys in one
	// Apply: the service takes 4 MiB on the wire, where a body stands in base64.
	MaxTransactionBytes = 2 << 20
	// MaxKey is the length of a partition or row key in bytes.
	MaxKey = 512
	// MaxAttributes is the number of attributes of one row.
	MaxAttributes = 32
	// MaxAttribute is the length of one attribute's value in bytes.
	MaxAttribute = 8 << 10
	// MaxPage is the largest page List returns.
	MaxPage = 1000
)

// The errors of a store. They are matched with errors.Is.
var (
	// ErrNotFound: the row does not exist. From Apply: a Replace, Merge or
	// Delete names a row that does not exist.
	ErrNotFound = errors.New("row not found")
	// ErrExists: an Insert names a row that exists.
	ErrExists = errors.New("row already exists")
	// ErrChanged: the row's version is not the one given.
	ErrChanged = errors.New("row changed since it was read")
	// ErrUnavailable: the store did not answer, throttled or failed. After an
	// Apply the outcome is unknown: the transaction may have been applied.
	ErrUnavailable = errors.New("row store unavailable")
	// ErrInvalid: the request can never succeed (limits, mixed partitions,
	// a row named twice, a forbidden character in a key). Nothing was applied.
	ErrInvalid = errors.New("invalid row store request")
)

// Row is one row of a table. Partition and Key are at most MaxKey bytes of
// [A-Za-z0-9._|:-]; the table is fixed by the store.
type Row struct {
	Partition string
	Key       string
	// Body is the row's sealed or signed content; nil and empty are the same.
	Body []byte
	// Attributes are small clear columns. They carry no authority: a reader
	// believes them only where the sealed body is bound to them. Names are
	// [A-Za-z][A-Za-z0-9]{0,31}; PartitionKey, RowKey, Timestamp and names
	// that begin with "Body" are the store's own.
	Attributes map[string]string
	// Version is the row's entity tag. A store sets it on read; Replace, Merge
	// and Delete take it as the condition.
	Version string
}

// Action is what a Mutation does.
type Action int

// The actions. Insert fails with ErrExists where the row exists; the others
// are conditional on Row.Version and fail with ErrChanged or ErrNotFound.
const (
	Insert  Action = iota + 1
	Replace        // the whole row becomes what is given
	Merge          // only the given attributes change; the body must be empty
	Delete
)

// Mutation is one part of a transaction.
type Mutation struct {
	Action Action
	Row    Row
}

// MutationError says which mutation made a transaction fail. No mutation of
// the transaction was applied.
type MutationError struct {
	Index int
	Err   error
}

// Error implements error. It names the position only, never keys or content.
func (e *MutationError) Error() string { return fmt.Sprintf("mutation %d: %v", e.Index, e.Err) }

// Unwrap gives ErrExists, ErrChanged or ErrNotFound.
func (e *MutationError) Unwrap() error { return e.Err }

// FailedIndex gives the position of the mutation that made Apply fail, or -1.
func FailedIndex(err error) int {
	if me, ok := errors.AsType[*MutationError](err); ok {
		return me.Index
	}
	return -1
}

// Range selects keys of one partition in ordinal (byte) order: From <= key < To;
// an empty bound is open. Limit is 1 to MaxPage.
type Range struct {
	From, To string
	Limit    int
}

// A store has the three methods below, on one table. Consumers declare the
// subset they use:
//
//	// Get reads one row: ErrNotFound or ErrUnavailable. Reads are strongly
//	// consistent: a row that an Apply acknowledged is seen.
//	Get(ctx context.Context, partition, key string) (Row, error)
//
//	// List reads one page of a partition in key order. next is the From of the
//	// following page, "" when there is none; a page may be empty and still
//	// have a next.
//	List(ctx context.Context, partition string, r Range) (rows []Row, next string, err error)
//
//	// Apply applies all mutations, of one partition and at most
//	// MaxTransaction, atomically and durably, or none. It returns the new
//	// version of each row ("" for a Delete). A failed condition is a
//	// *MutationError. Because a client library may repeat a request whose
//	// answer was lost, ErrExists, ErrChanged and ErrNotFound may be the echo of
//	// this very call: a caller that must know compares what the row holds
//	// with what it wrote (each write carries an identity of its own).
//	Apply(ctx context.Context, partition string, mutations []Mutation) (versions []string, err error)
