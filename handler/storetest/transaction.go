package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"secureapi/handler/rowstore"
)

var transactionCases = map[string]func(*testing.T, Store){
	"a full one": func(t *testing.T, s Store) {
		for _, row := range seed(t, s, numbered(rowstore.MaxTransaction)...) {
			holds(t, s, row)
		}
	},
	"every action at once": func(t *testing.T, s Store) {
		rows := seed(t, s, numbered(3)...)
		replaced, merged, added := rows[0], rows[1], newRow("new", strings.Repeat("n", 66<<10))
		replaced.Body, replaced.Attributes = []byte("replaced"), nil
		change := merged
		change.Body, change.Attributes = nil, map[string]string{"State": "closed"}
		versions := apply(t, s, replace(replaced), merge(change), remove(rows[2]), insert(added))
		replaced.Version, merged.Version, added.Version = versions[0], versions[1], versions[3]
		merged.Attributes = map[string]string{"Kind": "head", "State": "closed"}
		holds(t, s, replaced)
		holds(t, s, merged)
		holds(t, s, added)
		absent(t, s, part, rows[2].Key)
	},
	"versions it gave carry the next change": func(t *testing.T, s Store) {
		rows := seed(t, s, numbered(5)...)
		for range 3 {
			mutations := make([]rowstore.Mutation, len(rows))
			for i, row := range rows {
				mutations[i] = replace(row)
			}
			for i, version := range apply(t, s, mutations...) {
				if version == rows[i].Version {
					t.Fatalf("row %d: the version did not change", i)
				}
				rows[i].Version = version
			}
		}
		for _, row := range rows {
			holds(t, s, row)
		}
	},
	"as many bytes as it may hold": func(t *testing.T, s Store) {
		rows := make([]rowstore.Row, 2)
		for i := range rows {
			rows[i] = newRow(fmt.Sprint("k", i), strings.Repeat("x", rowstore.MaxBody))
		}
		for _, row := range seed(t, s, rows...) {
			holds(t, s, row)
		}
	},
	"rollback": rollback,
}

// rollback makes each condition fail at the first, a middle and the last of
// six mutations, and finds everything as it was.
func rollback(t *testing.T, s Store) {
	rows := seed(t, s, numbered(6)...)
	stale := rows[0]
	rows[0].Version = apply(t, s, replace(rows[0]))[0]
	gone := newRow("gone", "1")
	gone.Version = stale.Version
	failures := []struct {
		want     error
		mutation rowstore.Mutation
	}{
		{rowstore.ErrExists, insert(rows[0])},
		{rowstore.ErrChanged, replace(stale)},
		{rowstore.ErrChanged, remove(stale)},
		{rowstore.ErrNotFound, replace(gone)},
		{rowstore.ErrNotFound, remove(gone)},
		{rowstore.ErrNotFound, merge(rowstore.Row{Partition: part, Key: "gone", Version: stale.Version})},
	}
	for _, failure := range failures {
		for _, index := range []int{0, 3, 5} {
			added := newRow("added", "1")
			changed := rows[2]
			changed.Body = []byte("changed")
			marked := rowstore.Row{
				Partition: part, Key: rows[3].Key, Version: rows[3].Version,
				Attributes: map[string]string{"State": "marked"},
			}
			mutations := []rowstore.Mutation{
				insert(added), replace(changed), remove(rows[1]), merge(marked), remove(rows[4]),
			}
			mutations = slices.Insert(mutations, index, failure.mutation)
			applyFails(t, s, index, failure.want, mutations...)
			absent(t, s, part, "added")
			absent(t, s, part, "gone")
			for _, row := range rows {
				holds(t, s, row)
			}
		}
	}
}

var concurrencyCases = map[string]func(*testing.T, Store){
	"one insert of many wins": func(t *testing.T, s Store) {
		const callers = 16
		results := make([]error, callers)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				m := []rowstore.Mutation{insert(newRow("a", fmt.Sprint(i))), insert(newRow(fmt.Sprint("own", i), ""))}
				_, results[i] = s.Apply(t.Context(), part, m)
			})
		}
		group.Wait()
		winner := -1
		for i, err := range results {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("callers %d and %d both won", winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, rowstore.ErrExists) || rowstore.FailedIndex(err) != 0:
				t.Fatalf("caller %d: %v, want ErrExists at 0", i, err)
			}
		}
		row, err := s.Get(t.Context(), part, "a")
		if err != nil || string(row.Body) != fmt.Sprint(winner) {
			t.Fatalf("row holds %q, %v; the winner is %d", row.Body, err, winner)
		}
		for i := range callers {
			if i != winner {
				absent(t, s, part, fmt.Sprint("own", i))
			}
		}
	},
	"no lost update": func(t *testing.T, s Store) {
		const callers, rounds = 4, 8
		seed(t, s, newRow("counter", ""))
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range rounds {
					if err := increment(t, s); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		row, err := s.Get(t.Context(), part, "counter")
		if err != nil || len(row.Body) != callers*rounds {
			t.Fatalf("counted %d, %v; want %d", len(row.Body), err, callers*rounds)
		}
	},
}

// increment makes the counter's body one byte longer by compare and swap.
func increment(t *testing.T, s Store) error {
	for {
		row, err := s.Get(t.Context(), part, "counter")
		if err != nil {
			return err
		}
		row.Body = append(row.Body, '+')
		_, err = s.Apply(t.Context(), part, []rowstore.Mutation{replace(row)})
		if !errors.Is(err, rowstore.ErrChanged) {
			return err
		}
	}
}
