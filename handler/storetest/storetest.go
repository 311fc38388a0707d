// Package storetest is the conformance suite of the stores: what the contract
// of rowstore promises, each line of it a test, run on memstore and on Table
// Storage, Blob Storage and Queue Storage alike.
//
// The domain is tested on memstore. That is worth something only as long as
// both kinds of store answer the same question the same way, errors and
// ordering and paging included: this package is what holds them together. A
// difference found in production becomes a case here first.
//
// For tests only; it holds no secret and crosses no trust boundary.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/rowstore"
)

// Store is the whole contract of rowstore; consumers declare parts of it.
type Store interface {
	Get(ctx context.Context, partition, key string) (rowstore.Row, error)
	List(ctx context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// part is the partition most cases write to: each case has a table of its own.
const part = "tenant|0a"

// Rows runs the suite. open gives a fresh, empty table for each case.
func Rows(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	groups := map[string]map[string]func(*testing.T, Store){
		"Single":      singleCases,
		"Transaction": transactionCases,
		"Invalid":     invalidCases,
		"List":        listCases,
		"Concurrency": concurrencyCases,
	}
	for group, cases := range groups {
		for name, run := range cases {
			t.Run(group+"/"+name, func(t *testing.T) { run(t, open(t)) })
		}
	}
}

// Echoing passes everything through to inner, and repeats an Apply for which
// when answers true: the first answer is lost and the caller gets that of the
// repetition, as when a client library retries after a broken connection. A
// caller that must know its outcome has to survive that.
func Echoing(inner Store, when func([]rowstore.Mutation) bool) Store {
	return echoing{Store: inner, when: when}
}

type echoing struct {
	Store
	when func([]rowstore.Mutation) bool
}

func (e echoing) Apply(ctx context.Context, partition string, m []rowstore.Mutation) ([]string, error) {
	versions, err := e.Store.Apply(ctx, partition, m)
	if err != nil || !e.when(m) {
		return versions, err
	}
	return e.Store.Apply(ctx, partition, m)
}

// sameRows compares whole rows: a nil body or attribute map equals an empty one.
var sameRows = cmp.Options{cmp.Comparer(bytes.Equal), cmp.Comparer(maps.Equal[map[string]string, map[string]string])}

func apply(t *testing.T, s Store, mutations ...rowstore.Mutation) []string {
	t.Helper()
	versions, err := s.Apply(t.Context(), mutations[0].Row.Partition, mutations)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	if len(versions) != len(mutations) {
		t.Fatalf("Apply gave %d versions for %d mutations", len(versions), len(mutations))
	}
	for i, m := range mutations {
		if (m.Action == rowstore.Delete) != (versions[i] == "") {
			t.Fatalf("mutation %d, action %d: version %q", i, m.Action, versions[i])
		}
	}
	return versions
}

func applyFails(t *testing.T, s Store, index int, want error, mutations ...rowstore.Mutation) {
	t.Helper()
	versions, err := s.Apply(t.Context(), mutations[0].Row.Partition, mutations)
	if !errors.Is(err, want) {
		t.Fatalf("Apply: %v, want %v", err, want)
	}
	if got := rowstore.FailedIndex(err); got != index {
		t.Fatalf("FailedIndex = %d, want %d (%v)", got, index, err)
	}
	if versions != nil {
		t.Fatalf("a failed Apply gave versions %q", versions)
	}
}

// holds reads the row back and compares all of it, its version included.
func holds(t *testing.T, s Store, want rowstore.Row) {
	t.Helper()
	got, err := s.Get(t.Context(), want.Partition, want.Key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if diff := cmp.Diff(want, got, sameRows); diff != "" {
		t.Fatalf("row (-want +got):\n%s", diff)
	}
}

func absent(t *testing.T, s Store, partition, key string) {
	t.Helper()
	if _, err := s.Get(t.Context(), partition, key); !errors.Is(err, rowstore.ErrNotFound) {
		t.Fatalf("Get of an absent row: %v, want ErrNotFound", err)
	}
}

func insert(row rowstore.Row) rowstore.Mutation {
	row.Version = ""
	return rowstore.Mutation{Action: rowstore.Insert, Row: row}
}

func replace(row rowstore.Row) rowstore.Mutation {
	return rowstore.Mutation{Action: rowstore.Replace, Row: row}
}

func merge(row rowstore.Row) rowstore.Mutation {
	return rowstore.Mutation{Action: rowstore.Merge, Row: row}
}

func remove(row rowstore.Row) rowstore.Mutation {
	return rowstore.Mutation{Action: rowstore.Delete, Row: row}
}

func newRow(key, body string) rowstore.Row {
	return rowstore.Row{
		Partition: part, Key: key, Body: []byte(body),
		Attributes: map[string]string{"Kind": "head", "State": "active"},
	}
}

// seed inserts rows and gives them back with their versions.
func seed(t *testing.T, s Store, rows ...rowstore.Row) []rowstore.Row {
	t.Helper()
	mutations := make([]rowstore.Mutation, len(rows))
	for i, row := range rows {
		mutations[i] = insert(row)
	}
	for i, version := range apply(t, s, mutations...) {
		rows[i].Version = version
	}
	return rows
}

func numbered(n int) []rowstore.Row {
	rows := make([]rowstore.Row, n)
	for i := range rows {
		rows[i] = newRow(fmt.Sprintf("k%04d", i), fmt.Sprintf("body %d", i))
	}
	return rows
}
