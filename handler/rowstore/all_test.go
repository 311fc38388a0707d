package rowstore_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"secureapi/handler/rowstore"
)

// pages are what a store answers, by the From of the page.
type pages map[string]struct {
	keys []string
	next string
	err  error
}

func (p pages) List(_ context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error) {
	page, ok := p[r.From]
	if !ok || partition != "p" || r.To != "z" || r.Limit != 2 {
		return nil, "", errors.New("not what was asked for")
	}
	for _, key := range page.keys {
		rows = append(rows, rowstore.Row{Key: key})
	}
	return rows, page.next, page.err
}

func TestAllYieldsEachPage(t *testing.T) {
	down := errors.New("down")
	store := pages{
		"a": {keys: []string{"a", "b"}, next: "c"},
		"c": {next: "d"}, // empty, and not the last
		"d": {keys: []string{"d"}, next: "e"},
		"e": {err: down},
		"x": {keys: []string{"x"}},
	}
	for _, tt := range []struct {
		from string
		most int
		want []string
		err  error
	}{
		{"a", 9, []string{"a", "b", "d"}, down},
		{"a", 1, []string{"a"}, nil},
		{"x", 9, []string{"x"}, nil},
	} {
		var got []string
		var failed error
		for row, err := range rowstore.All(t.Context(), store, "p", rowstore.Range{From: tt.from, To: "z", Limit: 2}) {
			if failed = err; err == nil {
				got = append(got, row.Key)
			}
			if len(got) == tt.most {
				break
			}
		}
		if !slices.Equal(got, tt.want) || !errors.Is(failed, tt.err) {
			t.Errorf("from %q: %q, %v", tt.from, got, failed)
		}
	}
}
