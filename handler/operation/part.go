package operation

import (
	"context"
	"errors"
	"fmt"

	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// Parts are the sealed rows beside an operation row, in its partition: the
// upload parts and chunks of an import. D is their content; the row key is
// chosen by the caller under the kind's prefix.
type Parts[D any] struct {
	kind  string
	store Store
	keys  Keys
}

// NewParts returns the part rows of a kind, which is also their key's prefix.
func NewParts[D any](kind string, store Store, keys Keys) *Parts[D] {
	return &Parts[D]{kind: kind, store: store, keys: keys}
}

// afterNames sorts behind every part's name: names begin with a digit.
const afterNames = "z"

// Part is one sealed row beside an operation.
type Part[D any] struct {
	Name    string
	Counter uint64
	Detail  D

	version string
}

// partBody is what is sealed: the counter stands inside as well, so that the
// clear attribute is only a hint.
type partBody[D any] struct {
	Counter uint64 `json:"counter"`
	Detail  D      `json:"detail"`
}

// Insertion is the mutation that writes a new part, for Operations.Update.
func (s *Parts[D]) Insertion(ctx context.Context, tenant, id, name string, detail D) (rowstore.Mutation, error) {
	row, err := s.seal(ctx, tenant, id, &Part[D]{Name: name, Counter: 1, Detail: detail})
	return rowstore.Mutation{Action: rowstore.Insert, Row: row}, err
}

// Update replaces a part if it is still the version that was read.
func (s *Parts[D]) Update(ctx context.Context, tenant, id string, part *Part[D]) error {
	next := *part
	next.Counter++
	row, err := s.seal(ctx, tenant, id, &next)
	if err != nil {
		return err
	}
	versions, err := s.store.Apply(ctx, row.Partition, []rowstore.Mutation{{Action: rowstore.Replace, Row: row}})
	if errors.Is(err, rowstore.ErrChanged) || errors.Is(err, rowstore.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return fmt.Errorf("updating %s row: %w", s.kind, err)
	}
	next.version = versions[0]
	*part = next
	return nil
}

// Get reads one part: ErrNotFound where there is none.
func (s *Parts[D]) Get(ctx context.Context, tenant, id, name string) (*Part[D], error) {
	keys, err := s.keys.ForRead(ctx)
	if err != nil {
		return nil, err
	}
	row, err := s.store.Get(ctx, Partition(tenant, id), s.key(name))
	if errors.Is(err, rowstore.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s row: %w", s.kind, err)
	}
	return s.open(keys, tenant, id, row)
}

// All reads every part of the operation in the order of their names.
func (s *Parts[D]) All(ctx context.Context, tenant, id string) ([]*Part[D], error) {
	keys, err := s.keys.ForRead(ctx)
	if err != nil {
		return nil, err
	}
	var parts []*Part[D]
	page := rowstore.Range{From: s.key(""), To: s.key(afterNames), Limit: rowstore.MaxPage}
	for row, err := range rowstore.All(ctx, s.store, Partition(tenant, id), page) {
		if err != nil {
			return nil, fmt.Errorf("listing %s rows: %w", s.kind, err)
		}
		part, err := s.open(keys, tenant, id, row)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (s *Parts[D]) open(keys *keyring.Keys, tenant, id string, row rowstore.Row) (*Part[D], error) {
	counter, err := parseCounter(row.Attributes[counterAttribute])
	if err != nil {
		return nil, err
	}
	var body partBody[D]
	if err := rowseal.Open(keys.RowSeal(), s.place(tenant, id, row.Key, counter), row.Body, &body); err != nil {
		return nil, err
	}
	return &Part[D]{
		Name: row.Key[len(s.kind)+1:], Counter: body.Counter, Detail: body.Detail, version: row.Version,
	}, nil
}

func (s *Parts[D]) seal(ctx context.Context, tenant, id string, part *Part[D]) (rowstore.Row, error) {
	keys, err := s.keys.ForWrite(ctx)
	if err != nil {
		return rowstore.Row{}, err
	}
	key := s.key(part.Name)
	body, err := rowseal.Seal(keys.RowSeal(), s.place(tenant, id, key, part.Counter),
		partBody[D]{Counter: part.Counter, Detail: part.Detail})
	if err != nil {
		return rowstore.Row{}, err
	}
	return rowstore.Row{
		Partition: Partition(tenant, id), Key: key, Body: body, Version: part.version,
		Attributes: map[string]string{counterAttribute: formatCounter(part.Counter)},
	}, nil
}

func (s *Parts[D]) key(name string) string { return s.kind + "|" + name }

func (s *Parts[D]) place(tenant, id, key string, counter uint64) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: Partition(tenant, id), Key: key,
		Kind: "part/" + s.kind, Counter: counter,
	}
}
