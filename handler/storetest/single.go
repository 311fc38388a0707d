package storetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"secureapi/handler/rowstore"
)

// specialKey holds every kind of byte that a key may have.
const specialKey = "aZ09.x_y|z:0-..--||::"

var singleCases = map[string]func(*testing.T, Store){
	"absent row": func(t *testing.T, s Store) {
		absent(t, s, part, "none")
		seed(t, s, newRow("a", "1"))
		absent(t, s, part, "b")
		absent(t, s, part+"0", "a")
	},
	"insert and read": func(t *testing.T, s Store) {
		holds(t, s, seed(t, s, newRow("a", "content"))[0])
	},
	"insert of an existing row": func(t *testing.T, s Store) {
		row := seed(t, s, newRow("a", "first"))[0]
		applyFails(t, s, 0, rowstore.ErrExists, insert(newRow("a", "second")))
		holds(t, s, row)
	},
	"body sizes":       bodySizes,
	"attribute values": attributeValues,
	"special keys":     specialKeys,
	"body of any byte": func(t *testing.T, s Store) {
		row := newRow("a", "")
		for b := range 256 {
			row.Body = append(row.Body, byte(b))
		}
		holds(t, s, seed(t, s, row)[0])
	},
	"replace": func(t *testing.T, s Store) {
		row := seed(t, s, newRow("a", strings.Repeat("x", 70<<10)))[0]
		next := rowstore.Row{
			Partition: part, Key: "a", Body: []byte("short"),
			Attributes: map[string]string{"Other": "1"}, Version: row.Version,
		}
		next.Version = apply(t, s, replace(next))[0]
		if next.Version == row.Version {
			t.Fatal("the version did not change")
		}
		holds(t, s, next)
	},
	"replace conditions": func(t *testing.T, s Store) { conditions(t, s, replace) },
	"merge conditions": func(t *testing.T, s Store) {
		conditions(t, s, func(r rowstore.Row) rowstore.Mutation {
			r.Body = nil
			return merge(r)
		})
	},
	"delete conditions": func(t *testing.T, s Store) { conditions(t, s, remove) },
	"merge keeps the rest": func(t *testing.T, s Store) {
		row := newRow("a", strings.Repeat("b", 130<<10))
		row.Attributes = map[string]string{"Kept": "k", "Changed": "old"}
		row = seed(t, s, row)[0]
		change := rowstore.Row{
			Partition: part, Key: "a", Version: row.Version,
			Attributes: map[string]string{"Changed": "new", "Added": "a"},
		}
		want := row
		want.Attributes = map[string]string{"Kept": "k", "Changed": "new", "Added": "a"}
		want.Version = apply(t, s, merge(change))[0]
		if want.Version == row.Version {
			t.Fatal("the version did not change")
		}
		holds(t, s, want)
	},
	"delete": func(t *testing.T, s Store) {
		rows := seed(t, s, newRow("a", "1"), newRow("b", "2"))
		apply(t, s, remove(rows[0]))
		absent(t, s, part, "a")
		holds(t, s, rows[1])
	},
	"a version does not come back": func(t *testing.T, s Store) {
		row := seed(t, s, newRow("a", "1"))[0]
		apply(t, s, remove(row))
		again := seed(t, s, newRow("a", "1"))[0]
		if again.Version == row.Version {
			t.Fatal("a row made again has the version of the one deleted")
		}
		applyFails(t, s, 0, rowstore.ErrChanged, remove(row))
	},
	"what a caller holds is its own": func(t *testing.T, s Store) {
		row := newRow("a", "content")
		want := newRow("a", "content")
		want.Version = seed(t, s, row)[0].Version
		row.Body[0], row.Attributes["Kind"] = '!', "!"
		holds(t, s, want)
		got, err := s.Get(t.Context(), part, "a")
		if err != nil {
			t.Fatal(err)
		}
		got.Body[0], got.Attributes["Kind"] = '!', "!"
		holds(t, s, want)
	},
	"cancelled": cancelled,
}

// conditions holds for each action that rests on a version.
func conditions(t *testing.T, s Store, change func(rowstore.Row) rowstore.Mutation) {
	t.Helper()
	stale := seed(t, s, newRow("a", "1"))[0]
	current := stale
	current.Body = []byte("2")
	current.Version = apply(t, s, replace(current))[0]
	applyFails(t, s, 0, rowstore.ErrChanged, change(stale))
	holds(t, s, current)

	other := newRow("absent", "1")
	other.Version = current.Version
	applyFails(t, s, 0, rowstore.ErrNotFound, change(other))
	absent(t, s, part, "absent")

	apply(t, s, change(current))
}

func bodySizes(t *testing.T, s Store) {
	const piece = 64 << 10
	for _, size := range []int{0, 1, piece - 1, piece, piece + 1, 2 * piece, rowstore.MaxBody} {
		row := newRow("a", "")
		row.Body = bytes.Repeat([]byte{0xa5}, size)
		if size > 0 {
			row.Body[size-1] = 1
		}
		row = seed(t, s, row)[0]
		holds(t, s, row)
		apply(t, s, remove(row))
	}
}

func attributeValues(t *testing.T, s Store) {
	row := newRow("a", "1")
	row.Attributes = map[string]string{
		"Empty": "", "Quote": `"'\/`, "Lines": "a\nb\r\n\tc", "Script": "Zoë 山田 🔑 \u2028",
		"Number": "9007199254740993", "Time": "2026-01-02T03:04:05.6789Z", "True": "true",
		"Guid": "0f8fad5b-d9cb-469f-a165-70867728950e", "Markup": "<a>&amp;</a>",
		"Long": strings.Repeat("v", rowstore.MaxAttribute), "etag": "x", "a": "lower", "A": "upper",
	}
	row = seed(t, s, row)[0]
	holds(t, s, row)
	row.Version = apply(t, s, replace(row))[0]
	holds(t, s, row)

	full := newRow("full", "1")
	full.Attributes = make(map[string]string)
	for i := range rowstore.MaxAttributes {
		full.Attributes["N"+strings.Repeat("n", i%31)+string(rune('A' + i%26))[:min(1, 31-i%31)]] = "v"
	}
	holds(t, s, seed(t, s, full)[0])
}

func specialKeys(t *testing.T, s Store) {
	long := strings.Repeat("k", rowstore.MaxKey-len(specialKey)) + specialKey
	for _, key := range []string{specialKey, "-", "|", ".", "..", long} {
		row := newRow(key, "1")
		row.Partition = key
		row.Version = apply(t, s, insert(row))[0]
		holds(t, s, row)
		row.Body = []byte("2")
		row.Version = apply(t, s, replace(row))[0]
		holds(t, s, row)
		row.Attributes["More"] = "1"
		row.Version = apply(t, s, merge(rowstore.Row{
			Partition: key, Key: key, Version: row.Version, Attributes: map[string]string{"More": "1"},
		}))[0]
		holds(t, s, row)
		other := row
		other.Key, other.Version = "other", ""
		row.Version = apply(t, s, replace(row), insert(other))[0]
		holds(t, s, row)
		apply(t, s, remove(row))
		absent(t, s, key, key)
	}
}

func cancelled(t *testing.T, s Store) {
	row := seed(t, s, newRow("a", "1"))[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := s.Get(ctx, part, "a")
	_, _, listErr := s.List(ctx, part, rowstore.Range{Limit: 1})
	_, applyErr := s.Apply(ctx, part, []rowstore.Mutation{remove(row)})
	for name, err := range map[string]error{"Get": getErr, "List": listErr, "Apply": applyErr} {
		if !errors.Is(err, rowstore.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v, want ErrUnavailable and Canceled", name, err)
		}
	}
	holds(t, s, row)
}
