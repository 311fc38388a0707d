package verify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/checkpoint"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/telemetry"
	"secureapi/scripts/auditverify/verify"
)

// ledger is a real log in memory: the handler's own log and sealer.
type ledger struct {
	store *memstore.Store
	blobs *memstore.Blobs
	vault *memvault.Vault
}

func (l *ledger) options() audit.Options {
	logger := slog.New(slog.DiscardHandler)
	return audit.Options{
		Store: l.store, Clock: time.Now, Instance: "test", Logger: logger, Telemetry: telemetry.Log{Logger: logger},
		MACKey: func(context.Context) ([]byte, error) { return []byte("a test vector, not a key........."), nil },
	}
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{store: memstore.New(), blobs: memstore.NewBlobs(1 << 20), vault: vault}
}

// add appends n entries in a stream of their own.
func (l *ledger) add(t *testing.T, n int) {
	t.Helper()
	log, err := audit.New(l.options())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		e := audit.Entry{Action: fmt.Sprintf("action.%d", i), Actor: audit.ActorOf(authz.System("test", "", ""))}
		if err := log.Deny(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (l *ledger) seal(t *testing.T) {
	t.Helper()
	s, err := audit.NewSealer(l.options(), audit.Publication{Signer: l.vault, Blobs: l.blobs, Origin: "audit.example/checkpoints"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (l *ledger) key(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	ref, _, err := l.vault.Sign(t.Context(), make([]byte, sha256.Size))
	if err != nil {
		t.Fatal(err)
	}
	key, err := l.vault.PublicKey(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// export goes through files, as a real one does.
func (l *ledger) export(t *testing.T) verify.Archive {
	t.Helper()
	a := verify.Archive{Notes: l.blobs.All()}
	for _, row := range l.store.All() {
		a.Rows = append(a.Rows, verify.Row{Partition: row.Partition, Key: row.Key, Body: row.Body, Attributes: row.Attributes})
	}
	dir := t.TempDir()
	if err := a.Write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := verify.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// sealed is a log of two sealed streams (300 and 4 entries), each under a
// checkpoint, and one of 3 that is not sealed.
func sealed(t *testing.T) *ledger {
	t.Helper()
	l := newLedger(t)
	l.add(t, 300)
	l.seal(t)
	l.add(t, 4)
	l.seal(t)
	l.add(t, 3)
	return l
}

// find gives the row of an entry: stream n in the order of opening.
func find(t *testing.T, a verify.Archive, n, seq int) int {
	t.Helper()
	streams := map[string]bool{}
	for _, row := range a.Rows {
		if strings.HasPrefix(row.Key, "e|") {
			streams[row.Partition] = true
		}
	}
	stream := slices.Sorted(maps.Keys(streams))[n]
	i := slices.IndexFunc(a.Rows, func(r verify.Row) bool {
		return r.Partition == stream && r.Key == fmt.Sprintf("e|%020d", seq)
	})
	if i < 0 {
		t.Fatalf("no entry %d in stream %d", seq, n)
	}
	return i
}

func row(t *testing.T, a verify.Archive, partition, key string) int {
	t.Helper()
	i := slices.IndexFunc(a.Rows, func(r verify.Row) bool { return r.Partition == partition && r.Key == key })
	if i < 0 {
		t.Fatalf("no row %s in %s", key, partition)
	}
	return i
}

func remove(a *verify.Archive, i int) { a.Rows = slices.Delete(slices.Clone(a.Rows), i, i+1) }

func TestAnHonestLogHolds(t *testing.T) {
	l := sealed(t)
	r := verify.Verify(l.export(t), l.key(t))
	if len(r.Findings) > 0 || r.Entries != 304 || r.Checkpoints != 2 || r.Size != 304 {
		t.Errorf("%+v", r)
	}
	if r := verify.Verify(verify.Archive{}, l.key(t)); len(r.Findings) > 0 {
		t.Errorf("an empty log: %+v", r)
	}
}

// another vault signs what the first one would not.
func signedBy(t *testing.T, vault keyring.Signer, c checkpoint.Checkpoint) []byte {
	t.Helper()
	ref, raw, err := vault.Sign(t.Context(), checkpoint.Digest(c.Origin, c.Tree))
	if err != nil {
		t.Fatal(err)
	}
	key, err := vault.PublicKey(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := checkpoint.Sign(c.Origin, c.Tree, key, raw)
	if err != nil {
		t.Fatal(err)
	}
	b, err := signed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each kind of tampering has its own finding, at its place and nowhere else.
func TestEachTamperingHasItsFinding(t *testing.T) {
	last := audit.BlobName(304)
	parse := func(t *testing.T, b []byte) checkpoint.Checkpoint {
		t.Helper()
		c, err := checkpoint.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, tt := range map[string]struct {
		change func(t *testing.T, l *ledger, a *verify.Archive)
		want   string // prefix of each finding, without the stream
	}{
		"altered": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			i := find(t, *a, 0, 270)
			a.Rows[i].Body = []byte(strings.Replace(string(a.Rows[i].Body), "action.270", "action.271", 1))
		}, "entry_altered entry 270, leaf 270"},
		"altered, and the tree with it": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			a.Rows[find(t, *a, 0, 7)].Body = []byte("{}")
			i := row(t, *a, "tree", "t|00|00000000000000000000")
			a.Rows[i].Body[7*32] ^= 1
		}, "history_differs size 300; history_differs size 304; chain_broken entry 0, leaf 0"},
		"removed": {
			func(t *testing.T, _ *ledger, a *verify.Archive) { remove(a, find(t, *a, 0, 12)) },
			"entry_removed entry 12, leaf 12",
		},
		"reordered": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			i, j := find(t, *a, 1, 1), find(t, *a, 1, 2)
			a.Rows[i].Body, a.Rows[j].Body = a.Rows[j].Body, a.Rows[i].Body
		}, "entry_reordered entry 1, leaf 301; entry_reordered entry 2, leaf 302"},
		"inserted": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			// Entry 3 of the second stream moves to 4, 2 to 3; 2 is new.
			a.Rows = append(a.Rows, a.Rows[find(t, *a, 1, 3)])
			a.Rows[len(a.Rows)-1].Key = fmt.Sprintf("e|%020d", 4)
			a.Rows[find(t, *a, 1, 3)].Body = a.Rows[find(t, *a, 1, 2)].Body
			a.Rows[find(t, *a, 1, 2)].Body = []byte(`{"action":"never"}`)
		}, "entry_inserted entry 4, leaf 0; entry_inserted entry 2, leaf 302"},
		"inserted behind the end": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			a.Rows = append(a.Rows, a.Rows[find(t, *a, 1, 3)])
			a.Rows[len(a.Rows)-1].Key = fmt.Sprintf("e|%020d", 9)
		}, "entry_inserted entry 9, leaf 0"},
		"not sealed yet, altered": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			a.Rows[find(t, *a, 2, 1)].Body = []byte("{}")
		}, "chain_broken entry 0, leaf 0"},
		"not sealed yet, removed": {
			func(t *testing.T, _ *ledger, a *verify.Archive) { remove(a, find(t, *a, 2, 2)) },
			"entry_removed entry 2, leaf 0",
		},
		"tail cut off, with seal and heads": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			gone := a.Rows[find(t, *a, 1, 0)].Partition
			a.Rows = slices.DeleteFunc(a.Rows, func(r verify.Row) bool {
				return r.Partition == gone || r.Partition == "checkpoints" && r.Key == fmt.Sprintf("%020d", 2)
			})
			a.Rows[row(t, *a, "checkpoints", "head")].Attributes["Number"] = fmt.Sprintf("%020d", 1)
		}, "tail_truncated size 304"},
		"newest seal removed": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			remove(a, row(t, *a, "checkpoints", fmt.Sprintf("%020d", 2)))
		}, "head_rolled_back; tail_truncated size 304"},
		"pointer put back": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			a.Rows[row(t, *a, "checkpoints", "head")].Attributes["Number"] = fmt.Sprintf("%020d", 1)
		}, "head_rolled_back"},
		"stream's head put back": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			stream := a.Rows[find(t, *a, 1, 0)].Partition
			a.Rows[row(t, *a, stream, "head")].Body = []byte(`{"next":2,"last":""}`)
		}, "head_rolled_back entry 4, leaf 0"},
		"tree's head put back": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			a.Rows[row(t, *a, "tree", "head")].Body = []byte(`{"size":300}`)
		}, "head_rolled_back size 304"},
		"tree hashes altered": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			a.Rows[row(t, *a, "tree", "t|00|00000000000000000001")].Body[0] ^= 1
		}, "tree_altered size 300; tree_altered size 304"},
		"seal altered": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			i := row(t, *a, "checkpoints", fmt.Sprintf("%020d", 1))
			a.Rows[i].Body = append(slices.Clone(a.Rows[i].Body), ' ')
		}, "seal_broken"},
		"checkpoint altered": {func(_ *testing.T, _ *ledger, a *verify.Archive) {
			a.Notes[last] = []byte(strings.Replace(string(a.Notes[last]), "\n304\n", "\n303\n", 1))
		}, "checkpoint_forged size 303"},
		"checkpoint signed by another key": {func(t *testing.T, _ *ledger, a *verify.Archive) {
			stranger, err := memvault.New()
			if err != nil {
				t.Fatal(err)
			}
			a.Notes[last] = signedBy(t, stranger, parse(t, a.Notes[last]))
		}, "checkpoint_forged size 304"},
		"checkpoint under another name": {func(_ *testing.T, _ *ledger, a *verify.Archive) {
			a.Notes[audit.BlobName(305)] = a.Notes[last]
		}, "checkpoint_moved size 304"},
		"two checkpoints of one size": {func(t *testing.T, l *ledger, a *verify.Archive) {
			c := parse(t, a.Notes[last])
			c.Tree.Hash[0] ^= 1
			a.Notes["kept.txt"] = signedBy(t, l.vault, c)
		}, "fork size 304; history_differs size 304"},
		"no checkpoint at all": {func(_ *testing.T, _ *ledger, a *verify.Archive) { clear(a.Notes) }, "not_published"},
	} {
		t.Run(name, func(t *testing.T) {
			l := sealed(t)
			a := l.export(t)
			tt.change(t, l, &a)
			var got []string
			for _, f := range verify.Verify(a, l.key(t)).Findings {
				text := string(f.Kind)
				if f.Stream != "" {
					text += fmt.Sprintf(" entry %d, leaf %d", f.Seq, f.Index)
				}
				if f.Size > 0 {
					text += fmt.Sprintf(" size %d", f.Size)
				}
				got = append(got, text)
			}
			if text := strings.Join(got, "; "); text != tt.want {
				t.Errorf("found %q, want %q", text, tt.want)
			}
		})
	}
}
