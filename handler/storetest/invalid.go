package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"secureapi/handler/rowstore"
)

// invalidCases are requests that an emulator may take and the service refuses,
// or the other way round: a store refuses all of them itself.
var invalidCases = map[string]func(*testing.T, Store){
	"mutations":  invalidMutations,
	"keys":       invalidKeys,
	"attributes": invalidAttributes,
	"ranges": func(t *testing.T, s Store) {
		for name, r := range map[string]rowstore.Range{
			"no limit":       {},
			"negative limit": {Limit: -1},
			"large limit":    {Limit: rowstore.MaxPage + 1},
			"from":           {From: "a'b", Limit: 1},
			"to":             {To: "a b", Limit: 1},
		} {
			if _, _, err := s.List(t.Context(), part, r); !errors.Is(err, rowstore.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", name, err)
			}
		}
	},
}

func refused(t *testing.T, s Store, name string, mutations ...rowstore.Mutation) {
	t.Helper()
	if _, err := s.Apply(t.Context(), part, mutations); !errors.Is(err, rowstore.ErrInvalid) {
		t.Errorf("%s: %v, want ErrInvalid", name, err)
	}
}

func invalidMutations(t *testing.T, s Store) {
	row := seed(t, s, newRow("a", "1"))[0]
	star, versionless, large, foreign := row, row, newRow("b", ""), newRow("b", "1")
	star.Version, versionless.Version = "*", ""
	large.Body = bytes.Repeat([]byte{1}, rowstore.MaxBody+1)
	foreign.Partition = part + "x"
	many := make([]rowstore.Mutation, rowstore.MaxTransaction+1)
	for i := range many {
		many[i] = insert(newRow(fmt.Sprint("m", i), ""))
	}
	var heavy []rowstore.Mutation
	for i := range 3 {
		heavy = append(heavy, insert(newRow(fmt.Sprint("h", i), strings.Repeat("x", rowstore.MaxBody))))
	}
	b := insert(newRow("b", "1"))
	refused(t, s, "none")
	refused(t, s, "too many", many...)
	refused(t, s, "too heavy", heavy...)
	refused(t, s, "mixed partitions", b, insert(foreign))
	refused(t, s, "another partition", insert(foreign))
	refused(t, s, "a row twice", b, insert(newRow("c", "")), b)
	refused(t, s, "inserted and deleted", b, remove(row), replace(row))
	refused(t, s, "insert with a version", rowstore.Mutation{Action: rowstore.Insert, Row: row})
	refused(t, s, "replace whatever is there", b, replace(star))
	refused(t, s, "replace without version", replace(versionless))
	refused(t, s, "merge without version", merge(rowstore.Row{Partition: part, Key: "a"}))
	refused(t, s, "delete whatever is there", remove(star))
	refused(t, s, "merge with a body", merge(row))
	refused(t, s, "large body", insert(large))
	refused(t, s, "no action", rowstore.Mutation{Row: newRow("b", "1")})
	refused(t, s, "unknown action", rowstore.Mutation{Action: rowstore.Delete + 1, Row: row})
	holds(t, s, row)
	absent(t, s, part, "b")
	absent(t, s, part, "m0")
	absent(t, s, part, "h0")
}

func invalidKeys(t *testing.T, s Store) {
	keys := []string{
		"", " ", "a b", "a/b", `a\b`, "a#b", "a?b", "a'b", "a\x00b", "a\nb", "ä", "a%2fb", "a(b)", "a,b",
		strings.Repeat("k", rowstore.MaxKey+1),
	}
	for _, key := range keys {
		name := fmt.Sprintf("%.20q", key)
		refused(t, s, "row key "+name, insert(newRow(key, "1")))
		if _, err := s.Get(t.Context(), part, key); !errors.Is(err, rowstore.ErrInvalid) {
			t.Errorf("Get of row key %s: %v, want ErrInvalid", name, err)
		}
		if _, err := s.Get(t.Context(), key, "a"); !errors.Is(err, rowstore.ErrInvalid) {
			t.Errorf("Get of partition key %s: %v, want ErrInvalid", name, err)
		}
		if _, _, err := s.List(t.Context(), key, rowstore.Range{Limit: 1}); !errors.Is(err, rowstore.ErrInvalid) {
			t.Errorf("List of partition key %s: %v, want ErrInvalid", name, err)
		}
		row := newRow("a", "1")
		row.Partition = key
		_, err := s.Apply(t.Context(), key, []rowstore.Mutation{insert(row)})
		if !errors.Is(err, rowstore.ErrInvalid) {
			t.Errorf("Apply to partition key %s: %v, want ErrInvalid", name, err)
		}
	}
}

func invalidAttributes(t *testing.T, s Store) {
	names := []string{
		"", "1a", "a-b", "a b", "a.b", "a@odata.type", "PartitionKey", "RowKey", "Timestamp",
		"Body", "Body0", "BodyLength", "é", strings.Repeat("n", 33),
	}
	for _, name := range names {
		row := newRow("a", "1")
		row.Attributes = map[string]string{name: "v"}
		refused(t, s, fmt.Sprintf("attribute name %.20q", name), insert(row))
	}
	long := newRow("a", "1")
	long.Attributes = map[string]string{"Long": strings.Repeat("v", rowstore.MaxAttribute+1)}
	refused(t, s, "attribute value", insert(long))
	many := newRow("a", "1")
	for i := range rowstore.MaxAttributes + 1 {
		many.Attributes[fmt.Sprint("N", i)] = "v"
	}
	refused(t, s, "many attributes", insert(many))
	absent(t, s, part, "a")
}
