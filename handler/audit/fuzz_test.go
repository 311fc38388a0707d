package audit

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"secureapi/handler/fuzzcheck"
	"secureapi/handler/rowstore"
)

func mustWrite(t testing.TB, document any) []byte {
	t.Helper()
	b, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzCheckpoint is about the three documents of the log that are read back from
// storage. Without the key nothing opens, at its own place or at another; under
// the key, what is accepted is the same after another round.
func FuzzCheckpoint(f *testing.F) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	checkpoint := Checkpoint{Number: 7, Previous: hash{1}, Time: at, Entries: 3, Streams: []Position{{Stream: "s", Next: 3, Last: hash{2}, Closed: true}}}
	for _, document := range []any{
		checkpoint, head{Stream: "s", Next: 3, Last: hash{2}, State: stateOpen, Updated: at}, registration{Stream: "s", Instance: "i", Opened: at},
	} {
		f.Add(mustWrite(f, document), "")
	}
	f.Add([]byte(`{"number":1,"number":2}`), "00")
	f.Add([]byte(`{"Number":1}`), "")
	f.Add([]byte(`{"previous":"00"}`), "")
	f.Add([]byte(`{"previous":"`+string(bytes.Repeat([]byte("A"), 64))+`"}`), "")
	f.Add([]byte(`null`), "")
	key := bytes.Repeat([]byte{3}, 32)
	f.Fuzz(func(t *testing.T, body []byte, forged string) {
		row := rowstore.Row{Partition: checkpointsPartition, Key: checkpointKey(7), Body: body}
		good := mac(key, rowMACLabel, []byte(row.Partition), []byte(row.Key), body)
		row.Attributes = map[string]string{macAttribute: forged}
		var c Checkpoint
		if err := openRow(key, row, &c); forged != good && !errors.Is(err, errMAC) {
			t.Errorf("a MAC of %q opens: %v", forged, err)
		}
		row.Attributes[macAttribute] = good
		elsewhere := row
		elsewhere.Key = checkpointKey(8)
		if err := openRow(key, elsewhere, &c); !errors.Is(err, errMAC) {
			t.Errorf("a row opens at another place: %v", err)
		}
		checkRow[Checkpoint](t, key, row)
		checkRow[head](t, key, row)
		checkRow[registration](t, key, row)
	})
}

func checkRow[T any](t *testing.T, key []byte, row rowstore.Row) {
	t.Helper()
	var got, again T
	if err := openRow(key, row, &got); err != nil {
		return
	}
	written, err := macedRow(key, row.Partition, row.Key, got)
	if err != nil {
		return // a year that has no form in JSON
	}
	if err := openRow(key, written, &again); err != nil {
		t.Fatalf("%s: %v", written.Body, err)
	}
	if diff := cmp.Diff(got, again, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s is not the same after a round:\n%s", row.Body, diff)
	}
}

// FuzzEntry: an entry that is read is the same after another round, in bytes that
// do not change any more: what was hashed can be written again.
func FuzzEntry(f *testing.F) {
	f.Add(mustWrite(f, Entry{
		Action: "tokens.reveal", Actor: Actor{ID: "a", Kind: "user", Roles: []string{"Vault.Revealer"}, Tenant: "t"}, Class: classAPIActivity, Count: 1,
		ID: NewID(), Instance: "i", Objects: []Object{{Class: "pan", Pseudonym: "p"}}, Phase: Authorised, Salt: NewID(), Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
	}))
	f.Add([]byte(`{"action":"a","action":"b"}`))
	f.Add([]byte(`{"time":"2026-11-01T12:00:00.1234567891+01:00"}`))
	f.Add([]byte(`{"objects":null,"count":9223372036854775807}`))
	f.Add([]byte(`{"actor":{"x":1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if n, ok := fuzzcheck.Allocates(len(b), func() { _, _ = decodeEntry(b) }); err != nil && !ok {
			t.Errorf("refusing %d bytes took %d", len(b), n)
		}
		if err != nil {
			return
		}
		written := mustWrite(t, e)
		again, err := decodeEntry(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if rewritten := mustWrite(t, again); !bytes.Equal(written, rewritten) {
			t.Errorf("%s became %s", written, rewritten)
		}
	})
}
