// Package memstore keeps rows, blobs and queue messages in memory. It exists
// for tests: nothing in it survives the process, and main must not import it.
//
// It is not a mock. It holds the contract of rowstore to the letter (storetest
// runs the same suite on it and on Table Storage), so a domain test that
// passes here fails in Azure only for reasons outside the contract.
//
// What a real store does only on a bad day happens here on demand: each type
// takes a fault hook that decides, per call, whether the call fails and
// whether it took effect all the same. "Error returned but write persisted" is
// the case that breaks exactly-once promises, and no emulator produces it.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"secureapi/handler/rowstore"
)

// firstKey is the smallest valid row key: a range from it is an open range.
const firstKey = "-"

// Store is one table. It is safe for concurrent use.
type Store struct {
	mu         sync.Mutex
	partitions map[string]*partition
	revision   uint64
	lists      uint64
	emptyPages bool
	onApply    ApplyHook
	onRead     ReadHook
}

// ApplyHook sees a valid transaction before it is applied. With a nil error it
// goes ahead. With an error, applied says whether the transaction takes effect
// before the caller is told of the error; a transaction whose conditions do
// not hold never takes effect. The hook may use the store.
type ApplyHook func(mutations []rowstore.Mutation) (applied bool, err error)

// ReadHook sees a valid Get (key set) or List (key empty) before it is
// answered; its error is the answer. The hook may use the store.
type ReadHook func(partition, key string) error

// partition keeps its rows by key. keys is sorted only when a List needs it,
// so that writing many rows stays linear.
type partition struct {
	rows   map[string]rowstore.Row
	keys   []string
	sorted bool
}

// New makes an empty table.
func New() *Store {
	return &Store{partitions: make(map[string]*partition)}
}

// OnApply sets the hook of Apply; nil removes it.
func (s *Store) OnApply(hook ApplyHook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onApply = hook
}

// OnRead sets the hook of Get and List; nil removes it.
func (s *Store) OnRead(hook ReadHook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onRead = hook
}

// EmptyPages makes every other List answer an empty page that has a next, as
// Table Storage does when a scan crosses a server boundary.
func (s *Store) EmptyPages(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emptyPages = on
}

// Get implements the contract of rowstore.
func (s *Store) Get(ctx context.Context, partition, key string) (rowstore.Row, error) {
	if err := errors.Join(rowstore.ValidateKey(partition), rowstore.ValidateKey(key)); err != nil {
		return rowstore.Row{}, err
	}
	if err := s.read(ctx, partition, key); err != nil {
		return rowstore.Row{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	row, ok := s.partitions[partition].get(key)
	if !ok {
		return rowstore.Row{}, rowstore.ErrNotFound
	}
	return cloneRow(row), nil
}

// List implements the contract of rowstore.
func (s *Store) List(ctx context.Context, partition string, r rowstore.Range) ([]rowstore.Row, string, error) {
	if err := rowstore.ValidateRange(partition, r); err != nil {
		return nil, "", err
	}
	if err := s.read(ctx, partition, ""); err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	if s.emptyPages && s.lists%2 == 1 {
		return nil, max(r.From, firstKey), nil
	}
	p := s.partitions[partition]
	keys := p.between(r.From, r.To)
	next := ""
	if len(keys) > r.Limit {
		next, keys = keys[r.Limit], keys[:r.Limit]
	}
	rows := make([]rowstore.Row, len(keys))
	for i, key := range keys {
		rows[i] = cloneRow(p.rows[key])
	}
	return rows, next, nil
}

// Apply implements the contract of rowstore.
func (s *Store) Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) ([]string, error) {
	if err := rowstore.Validate(partition, mutations); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, unavailable(err)
	}
	s.mu.Lock()
	hook := s.onApply
	s.mu.Unlock()
	if hook != nil {
		if applied, err := hook(mutations); err != nil {
			if !applied {
				return nil, err
			}
			if _, conditionErr := s.apply(partition, mutations); conditionErr != nil {
				return nil, conditionErr
			}
			return nil, err
		}
	}
	return s.apply(partition, mutations)
}

// apply checks every condition before it changes anything: that is the whole
// of atomicity under one lock.
func (s *Store) apply(name string, mutations []rowstore.Mutation) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[name]
	for i, m := range mutations {
		current, exists := p.get(m.Row.Key)
		if err := condition(m, current, exists); err != nil {
			return nil, &rowstore.MutationError{Index: i, Err: err}
		}
	}
	if p == nil {
		p = &partition{rows: make(map[string]rowstore.Row)}
		s.partitions[name] = p
	}
	versions := make([]string, len(mutations))
	for i, m := range mutations {
		if m.Action == rowstore.Delete {
			p.remove(m.Row.Key)
			continue
		}
		row := cloneRow(m.Row)
		if m.Action == rowstore.Merge {
			row = merged(p.rows[m.Row.Key], m.Row)
		}
		row.Version = s.nextVersion()
		p.put(row)
		versions[i] = row.Version
	}
	return versions, nil
}

func (s *Store) read(ctx context.Context, partition, key string) error {
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	s.mu.Lock()
	hook := s.onRead
	s.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(partition, key)
}

// nextVersion looks like an entity tag of the service, so that no caller can
// come to depend on anything simpler. A version never comes twice.
func (s *Store) nextVersion() string {
	s.revision++
	return fmt.Sprintf(`W/"revision'%d'"`, s.revision)
}

func condition(m rowstore.Mutation, current rowstore.Row, exists bool) error {
	switch {
	case m.Action == rowstore.Insert && exists:
		return rowstore.ErrExists
	case m.Action == rowstore.Insert:
		return nil
	case !exists:
		return rowstore.ErrNotFound
	case m.Row.Version != current.Version:
		return rowstore.ErrChanged
	default:
		return nil
	}
}

func merged(current, change rowstore.Row) rowstore.Row {
	row := cloneRow(current)
	if row.Attributes == nil {
		row.Attributes = make(map[string]string, len(change.Attributes))
	}
	maps.Copy(row.Attributes, change.Attributes)
	return row
}

func cloneRow(r rowstore.Row) rowstore.Row {
	r.Body = slices.Clone(r.Body)
	r.Attributes = maps.Clone(r.Attributes)
	return r
}

func unavailable(err error) error {
	return fmt.Errorf("%w: %w", rowstore.ErrUnavailable, err)
}

func (p *partition) get(key string) (rowstore.Row, bool) {
	if p == nil {
		return rowstore.Row{}, false
	}
	row, ok := p.rows[key]
	return row, ok
}

func (p *partition) put(row rowstore.Row) {
	if _, ok := p.rows[row.Key]; !ok {
		p.keys = append(p.keys, row.Key)
		p.sorted = false
	}
	p.rows[row.Key] = row
}

func (p *partition) remove(key string) {
	delete(p.rows, key)
	p.keys = slices.DeleteFunc(p.keys, func(k string) bool { return k == key })
}

func (p *partition) between(from, to string) []string {
	if p == nil {
		return nil
	}
	if !p.sorted {
		slices.Sort(p.keys)
		p.sorted = true
	}
	start, _ := slices.BinarySearch(p.keys, from)
	end := len(p.keys)
	if to != "" {
		end, _ = slices.BinarySearch(p.keys, to)
	}
	return p.keys[start:max(start, end)]
}
