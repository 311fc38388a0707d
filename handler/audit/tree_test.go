package audit_test

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/audit"
	"secureapi/handler/checkpoint"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/rowstore"
)

const origin = "audit.example/checkpoints"

// countingSigner is a vault that counts signatures.
type countingSigner struct {
	keyring.Signer

	mu    sync.Mutex
	count int
	last  keyring.KeyRef
}

func (s *countingSigner) Sign(ctx context.Context, digest []byte) (keyring.KeyRef, []byte, error) {
	ref, raw, err := s.Signer.Sign(ctx, digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.last = ref
	return ref, raw, err
}

// ledger is a log with everything that sealing it takes.
type ledger struct {
	store  *memstore.Store
	blobs  *memstore.Blobs
	signer *countingSigner
	now    func() time.Time
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	return ledgerOf(t, memstore.New())
}

func ledgerOf(t *testing.T, store *memstore.Store) *ledger {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{store: store, blobs: memstore.NewBlobs(1 << 20), signer: &countingSigner{Signer: vault}, now: time.Now}
}

func (l *ledger) publication() audit.Publication {
	return audit.Publication{Signer: l.signer, Blobs: l.blobs, Origin: origin}
}

// sealer is a process of its own.
func (l *ledger) sealer(t *testing.T) *audit.Sealer {
	t.Helper()
	o := options(l.store)
	o.Clock = l.now
	s, err := audit.NewSealer(o, l.publication())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (l *ledger) reader(t *testing.T) *audit.Reader {
	t.Helper()
	r, err := audit.NewReader(options(l.store))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// append writes entries in streams of their own, and closes each.
func (l *ledger) append(t *testing.T, streams, each int) {
	t.Helper()
	for range streams {
		log := newLog(t, l.store)
		for range each {
			if err := log.Deny(t.Context(), entry("a")); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *ledger) seal(t *testing.T) audit.Checkpoint {
	t.Helper()
	c, err := l.sealer(t).Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// check holds the published checkpoints against a tree that is computed here
// from the entries alone, in the order of their streams.
func (l *ledger) check(t *testing.T, order []string) {
	t.Helper()
	var leaves []tlog.Hash
	hashes := map[int64]tlog.Hash{}
	read := tlog.HashReaderFunc(func(indexes []int64) (list []tlog.Hash, err error) {
		for _, i := range indexes {
			list = append(list, hashes[i])
		}
		return list, nil
	})
	for _, body := range l.entries(order) {
		leaf := tlog.RecordHash(body)
		stored, err := tlog.StoredHashesForRecordHash(int64(len(leaves)), leaf, read)
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range stored {
			hashes[tlog.StoredHashIndex(0, int64(len(leaves)))+int64(i)] = h
		}
		leaves = append(leaves, leaf)
	}
	public := l.public(t)
	newest := int64(0)
	for name, b := range l.blobs.All() {
		c, err := checkpoint.Parse(b)
		if err != nil || c.Verify(public) != nil {
			t.Fatalf("blob %s: %v", name, err)
		}
		if c.Origin != origin || name != audit.BlobName(uint64(c.Tree.N)) {
			t.Errorf("blob %s is of %s, size %d", name, c.Origin, c.Tree.N)
		}
		want, err := tlog.TreeHash(c.Tree.N, read)
		if err != nil || want != c.Tree.Hash {
			t.Errorf("root of size %d differs: %v", c.Tree.N, err)
		}
		newest = max(newest, c.Tree.N)
	}
	if newest != int64(len(leaves)) {
		t.Errorf("%d entries are published, of %d", newest, len(leaves))
	}
}

// entries are the entries' bytes, stream by stream.
func (l *ledger) entries(order []string) (list [][]byte) {
	for _, stream := range order {
		for _, row := range l.store.All() {
			if row.Partition == stream && strings.HasPrefix(row.Key, "e|") {
				list = append(list, row.Body)
			}
		}
	}
	return list
}

// streams lists the streams in the order they were opened.
func (l *ledger) streams() []string {
	seen := map[string]bool{}
	for _, row := range l.store.All() {
		if strings.HasPrefix(row.Key, "e|") {
			seen[row.Partition] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (l *ledger) public(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	key, err := l.signer.PublicKey(t.Context(), l.signer.last)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEverySealedEntryIsInAPublishedCheckpoint(t *testing.T) {
	l := newLedger(t)
	l.append(t, 2, 3)
	l.seal(t)
	l.append(t, 1, 300) // over the width of a tile
	l.seal(t)
	l.append(t, 3, 1)
	l.seal(t)
	l.check(t, l.streams())
	if n := len(l.blobs.All()); n != 3 {
		t.Errorf("%d checkpoints are published", n)
	}
}

// Sealing is a timer of each minute: where nothing happened it writes nothing.
func TestNothingAppendedNothingWritten(t *testing.T) {
	l := newLedger(t)
	l.append(t, 1, 2)
	s := l.sealer(t)
	first, err := s.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writes, signatures := 0, l.signer.count
	l.store.OnApply(func([]rowstore.Mutation) (bool, error) { writes++; return true, nil })
	l.blobs.OnCall(func(memstore.BlobOp, string) (bool, error) { writes++; return true, nil })
	for range 3 {
		again, err := s.Seal(t.Context())
		if err != nil || again.Number != first.Number {
			t.Fatalf("%+v, %v", again, err)
		}
	}
	if writes != 0 || l.signer.count != signatures {
		t.Errorf("%d writes or blob calls, %d signatures", writes, l.signer.count-signatures)
	}
}

// A log that was sealed before there was a tree gets one from its first entry.
func TestAnOldLogGetsItsTree(t *testing.T) {
	l := newLedger(t)
	for range 3 {
		l.append(t, 1, 4)
		l.seal(t)
	}
	for _, row := range l.store.All() {
		if row.Partition == "tree" || row.Partition == "notes" || strings.HasPrefix(row.Partition, "ids|") {
			l.store.Remove(row.Partition, row.Key)
		}
	}
	old := ledgerOf(t, l.store)
	old.seal(t)
	old.check(t, old.streams())
}

// Killed at any write, before or after it took effect, and with another sealer
// beside: what comes out is the one tree, each checkpoint published once.
func TestSealersConvergeWhereverTheyAreKilled(t *testing.T) {
	const enough = 200
	for _, applied := range []bool{false, true} {
		for nth := range enough {
			l := newLedger(t)
			l.append(t, 1, 2)
			l.seal(t)
			l.append(t, 2, 3)
			var mu sync.Mutex
			calls := 0
			killed := func() (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				switch {
				case calls <= nth:
					return true, nil
				case calls == nth+1:
					return applied, rowstore.ErrUnavailable
				default:
					return false, rowstore.ErrUnavailable // it is dead
				}
			}
			l.store.OnApply(func([]rowstore.Mutation) (bool, error) { return killed() })
			l.blobs.OnCall(func(op memstore.BlobOp, _ string) (bool, error) {
				if op == memstore.BlobGet {
					return true, nil
				}
				return killed()
			})
			_, err := l.sealer(t).Seal(t.Context())
			l.store.OnApply(nil)
			l.blobs.OnCall(nil)
			if err == nil && nth == 0 {
				t.Fatal("no fault was met")
			}
			l.seal(t)
			l.append(t, 1, 1)
			l.seal(t)
			l.check(t, l.streams())
			if err == nil {
				t.Logf("applied=%v: %d writes", applied, nth)
				break
			}
			if nth == enough-1 {
				t.Error("more writes than were tried")
			}
		}
	}
}

// Sealers at once: one wins each step, and all come to the same end.
func TestConcurrentSealersMakeOneTree(t *testing.T) {
	l := newLedger(t)
	for range 4 {
		l.append(t, 2, 5)
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				_, err := l.sealer(t).Seal(t.Context())
				if err != nil && !errors.Is(err, audit.ErrRace) {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	l.seal(t)
	l.check(t, l.streams())
}

func TestForksAndAlteredHashesAreFound(t *testing.T) {
	plant := func(l *ledger, partition, prefix string, change func(rowstore.Row) rowstore.Row) {
		for _, row := range l.store.All() {
			if row.Partition == partition && strings.HasPrefix(row.Key, prefix) {
				row.Body = slices.Clone(row.Body)
				l.store.Plant(change(row))
			}
		}
	}
	flip := func(row rowstore.Row) rowstore.Row { row.Body[len(row.Body)/2] ^= 1; return row }
	for name, tt := range map[string]struct {
		tamper func(t *testing.T, l *ledger)
		fork   bool
	}{
		"tile altered":      {func(_ *testing.T, l *ledger) { plant(l, "tree", "t|", flip) }, false},
		"tree head altered": {func(_ *testing.T, l *ledger) { plant(l, "tree", "head", flip) }, false},
		"note altered":      {func(_ *testing.T, l *ledger) { plant(l, "notes", "", flip) }, false},
		"tile removed": {func(_ *testing.T, l *ledger) {
			plant(l, "tree", "t|", func(r rowstore.Row) rowstore.Row { r.Body = nil; return r })
		}, false},
		"checkpoint published before by somebody else": {func(_ *testing.T, l *ledger) {
			l.blobs.Plant(audit.BlobName(5), []byte("squatted"))
		}, true},
		"another history": {func(t *testing.T, l *ledger) {
			// The tables are put back to nothing, and the log begins anew.
			for _, row := range l.store.All() {
				l.store.Remove(row.Partition, row.Key)
			}
			l.append(t, 1, 3)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			l.append(t, 1, 3)
			l.seal(t)
			if name != "another history" {
				l.append(t, 1, 2)
			}
			tt.tamper(t, l)
			_, err := l.sealer(t).Seal(t.Context())
			_, broken := errors.AsType[*audit.Broken](err)
			_, fork := errors.AsType[*audit.Fork](err)
			if fork != tt.fork || broken == tt.fork {
				t.Errorf("sealing gave %v", err)
			}
		})
	}
}

// A process that has published a checkpoint never signs behind it.
func TestATreePutBackIsNotSigned(t *testing.T) {
	l := newLedger(t)
	l.append(t, 1, 2)
	s := l.sealer(t)
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := l.store.All()
	l.append(t, 1, 2)
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, row := range l.store.All() {
		l.store.Remove(row.Partition, row.Key)
	}
	for _, row := range before {
		l.store.Plant(row)
	}
	l.append(t, 1, 1)
	_, err := s.Seal(t.Context())
	if _, fork := errors.AsType[*audit.Fork](err); !fork {
		t.Errorf("sealing gave %v", err)
	}
}

// The row of a signed checkpoint is lost, and its blob is there: it says the
// same, so that sealing goes on.
func TestALostNoteIsNoFork(t *testing.T) {
	l := newLedger(t)
	l.append(t, 1, 2)
	l.seal(t)
	for _, row := range l.store.All() {
		if row.Partition == "notes" {
			l.store.Remove(row.Partition, row.Key)
		}
	}
	l.seal(t)
	l.append(t, 1, 1)
	l.seal(t)
	l.check(t, l.streams())
}

func TestARegistrationPutBackIsFound(t *testing.T) {
	l := newLedger(t)
	l.append(t, 1, 2)
	var registration rowstore.Row
	for _, row := range l.store.All() {
		if row.Partition == "streams" {
			registration = row
		}
	}
	l.seal(t)
	l.append(t, 1, 1)
	l.seal(t)
	l.store.Plant(registration)
	_, err := l.sealer(t).Seal(t.Context())
	if _, broken := errors.AsType[*audit.Broken](err); !broken {
		t.Errorf("sealing gave %v", err)
	}
}

func TestProofs(t *testing.T) {
	l := newLedger(t)
	log := newLog(t, l.store)
	ticket, err := log.Authorise(t.Context(), entry("tokens.reveal"))
	if err != nil {
		t.Fatal(err)
	}
	ticket.Completed(nil)
	other := entry("tokens.reveal")
	other.ID, other.Actor.Tenant = audit.NewID(), "other"
	if err := log.Deny(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	r := l.reader(t)
	if _, _, err := r.Prove(t.Context(), tenant, ticket.ID()); !errors.Is(err, audit.ErrNoEntry) {
		t.Errorf("before sealing: %v", err)
	}
	l.seal(t)
	for range 300 {
		if err := log.Deny(t.Context(), entry("a")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.seal(t)
	note, proofs, err := r.Prove(t.Context(), tenant, ticket.ID())
	if err != nil || len(proofs) != 2 {
		t.Fatalf("%d proofs, %v", len(proofs), err)
	}
	c, err := checkpoint.Parse(note)
	if err != nil || c.Verify(l.public(t)) != nil {
		t.Fatal(err)
	}
	for _, p := range proofs {
		if !strings.Contains(string(p.Leaf), ticket.ID()) {
			t.Errorf("leaf %s", p.Leaf)
		}
		if err := tlog.CheckRecord(p.Path, c.Tree.N, c.Tree.Hash, p.Index, tlog.RecordHash(p.Leaf)); err != nil {
			t.Error(err)
		}
	}
	for name, id := range map[string]string{"another tenant's": other.ID, "none": audit.NewID(), "no key": "a b", "empty": ""} {
		if _, _, err := r.Prove(t.Context(), tenant, id); !errors.Is(err, audit.ErrNoEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, path, err := r.Consistency(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	old, err := checkpoint.Parse(l.blobs.All()[audit.BlobName(3)])
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(path, c.Tree.N, c.Tree.Hash, 3, old.Tree.Hash); err != nil {
		t.Error(err)
	}
	for _, size := range []int64{-1, 0, c.Tree.N + 1} {
		if _, _, err := r.Consistency(t.Context(), size); !errors.Is(err, audit.ErrSize) {
			t.Errorf("from %d: %v", size, err)
		}
	}
}

// What a storage writer changes under a proof is found, never proven.
func TestNoProofOfWhatWasAltered(t *testing.T) {
	for name, change := range map[string]func(*ledger, rowstore.Row, rowstore.Row){
		"entry": func(l *ledger, e, _ rowstore.Row) {
			e.Body = []byte(strings.Replace(string(e.Body), `"action":"a"`, `"action":"b"`, 1))
			l.store.Plant(e)
		},
		"entry removed": func(l *ledger, e, _ rowstore.Row) { l.store.Remove(e.Partition, e.Key) },
		"place repointed": func(l *ledger, _, p rowstore.Row) {
			p.Body = []byte(strings.Replace(string(p.Body), `"seq":0`, `"seq":1`, 1))
			l.store.Plant(p)
		},
		"place unreadable": func(l *ledger, _, p rowstore.Row) { p.Body = []byte("{}}"); l.store.Plant(p) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			l.append(t, 1, 2)
			l.seal(t)
			var e, p rowstore.Row
			for _, row := range l.store.All() {
				switch {
				case row.Key == fmt.Sprintf("e|%020d", 0):
					e = row
				case strings.HasPrefix(row.Partition, "ids|") && strings.Contains(string(row.Body), `"seq":0`):
					p = row
				}
			}
			id, _, _ := strings.Cut(p.Key, "|")
			change(l, e, p)
			_, _, err := l.reader(t).Prove(t.Context(), tenant, id)
			if _, broken := errors.AsType[*audit.Broken](err); !broken {
				t.Errorf("proof: %v", err)
			}
		})
	}
}
