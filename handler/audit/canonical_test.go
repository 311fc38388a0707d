package audit_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"secureapi/handler/audit"
	"secureapi/handler/memstore"
)

// Entries are encoded once and not canonicalised again: that rests on the order
// of the fields and on the encoder's strings.
func TestStoredEntriesAreCanonical(t *testing.T) {
	store := memstore.New()
	l := newLog(t, store)
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "\x00\x1f\x7f\b\f\n\r\t", `"\/`, "<script>&'", "\u2028\u2029", "é€😀\ufffd",
	}))
	rapid.Check(t, func(r *rapid.T) {
		draw := func(name string) string { return text.Draw(r, name) }
		e := audit.Entry{
			Action: draw("action"), Purpose: draw("purpose"), Reason: draw("reason"), ReasonCode: draw("reason code"),
			Operation: draw("operation"), SpanID: draw("span"), Phase: audit.Completed,
			Count: rapid.IntRange(0, 1<<53-1).Draw(r, "count"),
			Actor: audit.Actor{
				Kind: draw("kind"), Tenant: draw("tenant"), ID: draw("id"), Client: draw("client"), TokenID: draw("token"),
				Operation: draw("actor's operation"), Roles: []string{draw("role")}, AuthContexts: []string{draw("context")},
			},
		}
		if rapid.Bool().Draw(r, "objects") {
			e.Objects = []audit.Object{{Pseudonym: draw("pseudonym"), Class: draw("class"), KeyID: draw("key")}}
		}
		if err := l.Outcome(t.Context(), e); err != nil {
			r.Fatal(err)
		}
	})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, row := range store.All() {
		if !strings.HasPrefix(row.Key, "e|") {
			continue
		}
		seen++
		canonical := jsontext.Value(bytes.Clone(row.Body))
		if err := canonical.Canonicalize(); err != nil || !bytes.Equal(canonical, row.Body) {
			t.Fatalf("stored %s, canonical %s, %v", row.Body, canonical, err)
		}
	}
	if seen == 0 {
		t.Error("no entry was stored")
	}
}

func TestFieldsStandInTheOrderOfTheirNames(t *testing.T) {
	for _, of := range []any{audit.Entry{}, audit.Actor{}, audit.Object{}} {
		var names []string
		for field := range reflect.TypeOf(of).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			names = append(names, name)
		}
		if !slices.IsSorted(names) {
			t.Errorf("%T: %v", of, names)
		}
	}
}
