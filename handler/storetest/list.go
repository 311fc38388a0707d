package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"secureapi/handler/rowstore"
)

var listCases = map[string]func(*testing.T, Store){
	"nothing": func(t *testing.T, s Store) {
		lists(t, s, part, rowstore.Range{Limit: 10})
		seed(t, s, newRow("a", "1"))
		lists(t, s, part+"0", rowstore.Range{Limit: 10})
		lists(t, s, part[:len(part)-1], rowstore.Range{Limit: 10})
	},
	"whole rows": func(t *testing.T, s Store) {
		rows := numbered(3)
		rows[1].Body = []byte(strings.Repeat("y", 130<<10))
		rows[2].Body, rows[2].Attributes = nil, nil
		rows = seed(t, s, rows...)
		got, _, err := s.List(t.Context(), part, rowstore.Range{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, got, sameRows); diff != "" {
			t.Fatalf("rows (-want +got):\n%s", diff)
		}
	},
	"ordinal order": func(t *testing.T, s Store) {
		keys := []string{
			"a", "B", "b", "A", "aa", "a-", "a.", "a0", "a:", "aA", "a_", "a|", "-", ".", "0", ":", "_", "|",
			"a--", "10", "9", "Z", "z", "a-|", "Ab", "aB",
		}
		rows := make([]rowstore.Row, len(keys))
		for i, key := range keys {
			rows[i] = newRow(key, "1")
		}
		seed(t, s, rows...)
		slices.Sort(keys)
		for _, limit := range []int{1, 2, 7, len(keys), rowstore.MaxPage} {
			lists(t, s, part, rowstore.Range{Limit: limit}, keys...)
		}
		for i, from := range keys {
			lists(t, s, part, rowstore.Range{From: from, Limit: 100}, keys[i:]...)
			lists(t, s, part, rowstore.Range{To: from, Limit: 100}, keys[:i]...)
		}
	},
	"bounds": func(t *testing.T, s Store) {
		seed(t, s, numbered(5)...)
		lists(t, s, part, rowstore.Range{From: "k0001", To: "k0003", Limit: 10}, "k0001", "k0002")
		lists(t, s, part, rowstore.Range{From: "k0001-", To: "k0003-", Limit: 10}, "k0002", "k0003")
		lists(t, s, part, rowstore.Range{From: "k0003", To: "k0003", Limit: 10})
		lists(t, s, part, rowstore.Range{From: "k0004", To: "k0001", Limit: 10})
		lists(t, s, part, rowstore.Range{From: "l", Limit: 10})
		lists(t, s, part, rowstore.Range{To: "k", Limit: 10})
		lists(t, s, part, rowstore.Range{From: "k0002", Limit: 1}, "k0002", "k0003", "k0004")
	},
	"partitions are apart": func(t *testing.T, s Store) {
		for _, partition := range []string{"p", "p-", "p0", "P", "q"} {
			row := newRow("in"+partition, "1")
			row.Partition = partition
			apply(t, s, insert(row))
		}
		lists(t, s, "p", rowstore.Range{Limit: 10}, "inp")
		lists(t, s, "P", rowstore.Range{Limit: 10}, "inP")
	},
	"many pages": func(t *testing.T, s Store) {
		rows := numbered(1050)
		keys := make([]string, len(rows))
		for i, row := range rows {
			keys[i] = row.Key
		}
		for chunk := range slices.Chunk(rows, rowstore.MaxTransaction) {
			seed(t, s, chunk...)
		}
		lists(t, s, part, rowstore.Range{Limit: rowstore.MaxPage}, keys...)
		lists(t, s, part, rowstore.Range{Limit: 400}, keys...)
	},
	"longest keys": func(t *testing.T, s Store) {
		last := strings.Repeat("|", rowstore.MaxKey)
		keys := []string{strings.Repeat("z", rowstore.MaxKey), last[:rowstore.MaxKey-1] + "z", last}
		for _, key := range keys {
			seed(t, s, newRow(key, "1"))
		}
		lists(t, s, part, rowstore.Range{Limit: 1}, keys...)
	},
	"rows that come and go between pages": func(t *testing.T, s Store) {
		rows := seed(t, s, numbered(6)...)
		page, next, err := s.List(t.Context(), part, rowstore.Range{Limit: 2})
		if err != nil || len(page) != 2 || next == "" {
			t.Fatalf("first page: %d rows, next %q, %v", len(page), next, err)
		}
		apply(t, s, remove(rows[1]), remove(rows[2]), insert(newRow("k0000x", "")), insert(newRow("k0004x", "")))
		lists(t, s, part, rowstore.Range{From: next, Limit: 2}, "k0003", "k0004", "k0004x", "k0005")
	},
}

// lists follows next to the end and compares the keys. Every page is within
// its limit and advances; an empty page with a next is fine.
func lists(t *testing.T, s Store, partition string, r rowstore.Range, want ...string) {
	t.Helper()
	var got []string
	for pages := 0; ; pages++ {
		if pages > 4*len(want)+4 {
			t.Fatalf("no end after %d pages", pages)
		}
		rows, next, err := s.List(t.Context(), partition, r)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if len(rows) > r.Limit {
			t.Fatalf("a page of %d rows, limit %d", len(rows), r.Limit)
		}
		for _, row := range rows {
			if row.Partition != partition || row.Version == "" {
				t.Fatalf("row of partition %q, version %q", row.Partition, row.Version)
			}
			got = append(got, row.Key)
		}
		if next == "" {
			break
		}
		if len(rows) > 0 && next <= rows[len(rows)-1].Key || next < r.From {
			t.Fatalf("next %.40q does not advance", next)
		}
		r.From = next
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", fmt.Sprintf("keys of %.40q to %.40q", r.From, r.To), diff)
	}
}
