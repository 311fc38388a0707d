package memstore

import (
	"cmp"
	"slices"

	"secureapi/handler/rowstore"
)

// The methods of this file act as someone who can write the tables and obeys
// no contract: what a test of tampering needs. They pass every hook by.

// All gives a copy of every row, ordered by partition and key.
func (s *Store) All() []rowstore.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []rowstore.Row
	for _, p := range s.partitions {
		for _, row := range p.rows {
			rows = append(rows, cloneRow(row))
		}
	}
	slices.SortFunc(rows, func(a, b rowstore.Row) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Key, b.Key))
	})
	return rows
}

// Plant writes a row unconditionally and gives its version.
func (s *Store) Plant(row rowstore.Row) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[row.Partition]
	if p == nil {
		p = &partition{rows: make(map[string]rowstore.Row)}
		s.partitions[row.Partition] = p
	}
	row = cloneRow(row)
	row.Version = s.nextVersion()
	p.put(row)
	return row.Version
}

// Remove deletes a row unconditionally. It reports whether there was one.
func (s *Store) Remove(partition, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[partition]
	if _, ok := p.get(key); !ok {
		return false
	}
	p.remove(key)
	return true
}
