// Package rowseal seals the rows that carry authority: subject heads, member
// rows, operations, idempotency rows, and the messages that point at them.
//
// Storage is not trusted: whoever can write the tables must not be able to
// grant, extend, repoint or lower anything. A sealed row is a JSON document in
// an envelope bound to its tenant, table, partition, key, kind and counter,
// under the keyring's row-seal key. What it does not prevent is the replay of
// a whole older row of the same place; the threat model says so.
package rowseal

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secureapi/handler/envelope"
)

const label = "row"

// ErrTampered: the row is not one that this system wrote at this place. The
// caller raises an alarm and answers as if the dependency had failed.
var ErrTampered = errors.New("sealed row does not belong here or was altered")

// Place is where a sealed row stands and what it is.
type Place struct {
	Tenant    string
	Table     string
	Partition string
	Key       string
	// Kind names the document: "head", "member", "operation", …
	Kind string
	// Counter grows with each version of the row where the row has one.
	Counter uint64
}

// Seal encodes document and seals it for the place.
func Seal(key envelope.Key, place Place, document any) ([]byte, error) {
	plaintext, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encoding %s row: %w", place.Kind, err)
	}
	sealed, err := envelope.Seal(key, place.context(), plaintext)
	if err != nil {
		return nil, fmt.Errorf("sealing %s row: %w", place.Kind, err)
	}
	return sealed, nil
}

// Open opens what Seal made for the same place, into document (a pointer).
// Whatever is wrong with it, the error is ErrTampered; it wraps the envelope's
// reason, and document is not to be used.
func Open(key envelope.Key, place Place, sealed []byte, document any) error {
	plaintext, err := envelope.Open(key, place.context(), sealed)
	if err != nil {
		return fmt.Errorf("%w: %s row: %w", ErrTampered, place.Kind, err)
	}
	err = json.Unmarshal(plaintext, document,
		json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(false))
	if err != nil {
		// The text of err could quote the content.
		return fmt.Errorf("%w: %s row: unreadable document", ErrTampered, place.Kind)
	}
	return nil
}

func (p Place) context() envelope.Context {
	return envelope.Context{
		Label: label, Tenant: p.Tenant, Table: p.Table, Partition: p.Partition,
		Row: p.Key, Class: p.Kind, Counter: p.Counter,
	}
}
