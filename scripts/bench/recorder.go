package main

import (
	"context"
	"sync"

	"secureapi/handler/rowstore"
)

// table is what both memstore.Store and tables.Store are.
type table interface {
	Get(ctx context.Context, partition, key string) (rowstore.Row, error)
	List(ctx context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// asked is one transaction or one read that the handler asked of a table.
type asked struct {
	table          string
	partition, key string              // of a read
	mutations      []rowstore.Mutation // of a transaction; nil for a read
}

// journal counts what its recorders' tables are asked and, where keep is set,
// keeps it for a replay.
type journal struct {
	mu    sync.Mutex
	keep  bool
	kept  []asked
	count map[string]int // by table
}

func newJournal(keep bool) *journal { return &journal{keep: keep, count: map[string]int{}} }

func (j *journal) note(a asked) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count[a.table]++
	if j.keep {
		j.kept = append(j.kept, a)
	}
}

// take gives what was noted since the last take.
func (j *journal) take() (kept []asked, count map[string]int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept, count = j.kept, j.count
	j.kept, j.count = nil, map[string]int{}
	return kept, count
}

// recorder is a table that notes what it is asked.
type recorder struct {
	table
	name    string
	journal *journal
}

func (r *recorder) Get(ctx context.Context, partition, key string) (rowstore.Row, error) {
	r.journal.note(asked{table: r.name, partition: partition, key: key})
	return r.table.Get(ctx, partition, key)
}

func (r *recorder) List(ctx context.Context, partition string, within rowstore.Range) ([]rowstore.Row, string, error) {
	r.journal.note(asked{table: r.name, partition: partition})
	return r.table.List(ctx, partition, within)
}

func (r *recorder) Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) ([]string, error) {
	r.journal.note(asked{table: r.name, mutations: mutations})
	return r.table.Apply(ctx, partition, mutations)
}
