package keyring

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"secureapi/handler/memstore"
	"secureapi/handler/rowstore"
)

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

func TestAdoptRewrapsEveryGeneration(t *testing.T) {
	b := newBench(t)
	b.addGeneration(nil)
	b.load()
	before := b.rows()
	b.vault.addVersion()
	list, err := b.ring.Adopt(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("adopted %+v, %v", list, err)
	}
	after := b.rows()
	for i, a := range list {
		if want := (Adoption{Generation: uint32(i + 1), From: wrapRef(0), To: wrapRef(1), Changed: true}); a != want {
			t.Errorf("adoption %+v, want %+v", a, want)
		}
		was, is, hash := before[i].document, after[i].document, before[i].hash()
		if is.Counter != was.Counter+1 || !bytes.Equal(is.Previous, hash[:]) || is.WrappedBy != wrapRef(1) {
			t.Errorf("generation %d: %+v does not follow", is.Generation, is)
		}
		if !bytes.Equal(is.Secrets, was.Secrets) || !bytes.Equal(is.WrappingID, was.WrappingID) || is.State != was.State {
			t.Errorf("generation %d: more than the wrapping changed", is.Generation)
		}
	}
	rows := b.store.All()
	list, err = b.ring.Adopt(t.Context())
	if err != nil || list[0].Changed || list[1].Changed || list[0].To != wrapRef(1) {
		t.Errorf("a second time: %+v, %v", list, err)
	}
	if b.store.All()[0].Version != rows[0].Version {
		t.Error("a second time wrote")
	}
	if _, err := b.process().ForWrite(t.Context()); err != nil {
		t.Errorf("a new process: %v", err)
	}
}

func TestConcurrentAdoptersConverge(t *testing.T) {
	b := newBench(t)
	b.addGeneration(nil)
	b.vault.addVersion()
	var mu sync.Mutex
	changed := map[uint32]int{}
	var group sync.WaitGroup
	for range 8 {
		ring := b.process()
		group.Go(func() {
			list, err := ring.Adopt(t.Context())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, a := range list {
				if a.To != wrapRef(1) {
					t.Errorf("an adopter ended at %+v", a)
				}
				if a.Changed {
					changed[a.Generation]++
				}
			}
		})
	}
	group.Wait()
	if changed[1] != 1 || changed[2] != 1 {
		t.Errorf("generations changed by so many adopters: %v, want one each", changed)
	}
	if rows := b.rows(); rows[0].document.Counter != 3 || rows[1].document.Counter != 2 {
		t.Errorf("counters %d and %d: written more than once", rows[0].document.Counter, rows[1].document.Counter)
	}
	b.load()
}

// TestAdoptResolvesLostAnswers: the write was applied, the caller heard of an
// error. It ends rewrapped once, and who wrote it knows.
func TestAdoptResolvesLostAnswers(t *testing.T) {
	b := newBench(t)
	b.vault.addVersion()
	once := true
	b.store.OnApply(func([]rowstore.Mutation) (bool, error) {
		if !once {
			return false, nil
		}
		once = false
		return true, &rowstore.MutationError{Err: rowstore.ErrChanged} // the echo of a retry
	})
	list, err := b.ring.Adopt(t.Context())
	if err != nil || !list[0].Changed || b.rows()[0].document.Counter != 2 {
		t.Errorf("the echo: %+v, %v, counter %d", list, err, b.rows()[0].document.Counter)
	}
	b.vault.addVersion()
	b.store.OnApply(func([]rowstore.Mutation) (bool, error) { return true, rowstore.ErrUnavailable })
	if _, err := b.ring.Adopt(t.Context()); !errors.Is(err, rowstore.ErrUnavailable) {
		t.Errorf("unknown outcome: %v", err)
	}
	b.store.OnApply(nil)
	list, err = b.ring.Adopt(t.Context())
	if err != nil || list[0].To != wrapRef(2) || b.rows()[0].document.Counter != 3 {
		t.Errorf("after the unknown outcome: %+v, %v", list, err)
	}
}

// TestAdoptNeverLosesTheRoot: whatever is wrong with the vault's answers, the
// row that opens stays.
func TestAdoptNeverLosesTheRoot(t *testing.T) {
	other := wrapRef(9)
	for name, bend := range map[string]func(v *testVault){
		"wraps something else":       func(v *testVault) { v.wrap = func([]byte) []byte { return pattern(1, 32) } },
		"wraps half":                 func(v *testVault) { v.wrap = func(b []byte) []byte { return b[:16] } },
		"signs nothing":              func(v *testVault) { v.signed = func(raw []byte) []byte { return make([]byte, len(raw)) } },
		"signs with another key":     func(v *testVault) { v.signName = "other" },
		"names a version it has not": func(v *testVault) { v.newest, v.upTo = &other, 1 },
		"is down":                    func(v *testVault) { v.down = errors.New("no answer") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			before := b.store.All()[0]
			b.vault.addVersion()
			bend(b.vault)
			list, err := b.ring.Adopt(t.Context())
			if err == nil || errors.Is(err, ErrForged) {
				t.Errorf("adopted %+v, %v", list, err)
			}
			if now := b.store.All()[0]; now.Version != before.Version || !bytes.Equal(now.Body, before.Body) {
				t.Error("the row changed")
			}
			if b.alarmCount() != 0 {
				t.Errorf("a vault's fault raised the alarm: %v", b.alarms)
			}
		})
	}
}

func TestAdoptTakesAVersionNewerThanNewest(t *testing.T) {
	b := newBench(t)
	b.addGeneration(nil)
	b.vault.addVersion()
	b.vault.addVersion()
	between := wrapRef(1)
	b.vault.newest = &between // a version was added between the two calls
	list, err := b.ring.Adopt(t.Context())
	if err != nil || list[0].To != wrapRef(2) || list[1].To != wrapRef(2) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestAdoptSurvivesAttributeWrites(t *testing.T) {
	b := newBench(t)
	row := b.store.All()[0]
	row.Attributes = map[string]string{"Note": "a new entity tag, the same row"}
	b.store.Plant(row)
	b.vault.addVersion()
	if list, err := b.ring.Adopt(t.Context()); err != nil || !list[0].Changed {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestBootstrapIsIdempotent(t *testing.T) {
	b := newBench(t)
	before := b.store.All()
	calls := b.vault.calls["wrap"]
	created, err := Bootstrap(t.Context(), b.options())
	if err != nil || created {
		t.Errorf("a second time: %v, %v", created, err)
	}
	if after := b.store.All(); len(after) != 1 || after[0].Version != before[0].Version || b.vault.calls["wrap"] != calls {
		t.Error("a second time wrapped or wrote")
	}
}

func TestBootstrapUnderRaceAgrees(t *testing.T) {
	b := newBench(t)
	b.store = memstore.New()
	var mu sync.Mutex
	makers := 0
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			created, err := Bootstrap(t.Context(), b.options())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if created {
				makers++
			}
		})
	}
	group.Wait()
	if rows := b.store.All(); makers != 1 || len(rows) != 1 {
		t.Errorf("%d made it, %d rows", makers, len(rows))
	}
}

// TestBootstrapResolvesLostAnswers: the insert took effect, its answer did not
// arrive.
func TestBootstrapResolvesLostAnswers(t *testing.T) {
	b := newBench(t)
	b.store = memstore.New()
	b.store.OnApply(func([]rowstore.Mutation) (bool, error) {
		return true, &rowstore.MutationError{Err: rowstore.ErrExists}
	})
	if created, err := Bootstrap(t.Context(), b.options()); err != nil || !created {
		t.Errorf("the echo: %v, %v", created, err)
	}
	b.store = memstore.New()
	b.store.OnApply(func([]rowstore.Mutation) (bool, error) { return true, rowstore.ErrUnavailable })
	if created, err := Bootstrap(t.Context(), b.options()); !errors.Is(err, rowstore.ErrUnavailable) || created {
		t.Errorf("unknown outcome: %v, %v", created, err)
	}
	b.store.OnApply(nil)
	if created, err := Bootstrap(t.Context(), b.options()); err != nil || created {
		t.Errorf("after the unknown outcome: %v, %v", created, err)
	}
}

func TestBootstrapMakesNothingItCannotOpen(t *testing.T) {
	for name, bend := range map[string]func(v *testVault){
		"wraps something else":   func(v *testVault) { v.wrap = func([]byte) []byte { return pattern(1, 32) } },
		"signs nothing":          func(v *testVault) { v.signed = func(raw []byte) []byte { return make([]byte, len(raw)) } },
		"signs with another key": func(v *testVault) { v.signName = "other" },
		"is down":                func(v *testVault) { v.down = errors.New("no answer") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.store = memstore.New()
			bend(b.vault)
			if created, err := Bootstrap(t.Context(), b.options()); err == nil || created {
				t.Errorf("%v, %v", created, err)
			}
			if rows := b.store.All(); len(rows) != 0 {
				t.Errorf("%d rows", len(rows))
			}
		})
	}
}

func TestBootstrapReplacesNothing(t *testing.T) {
	b := newBench(t)
	good := b.store.All()[0]
	for name, row := range map[string]rowstore.Row{
		"a forged first row": {Partition: partition, Key: rowKey(1), Body: []byte("forged")},
		"a later row alone":  {Partition: partition, Key: rowKey(2), Body: good.Body},
	} {
		b.store = memstore.New()
		b.store.Plant(row)
		if created, err := Bootstrap(t.Context(), b.options()); !errors.Is(err, ErrForged) || created {
			t.Errorf("%s: %v, %v", name, created, err)
		}
		if rows := b.store.All(); len(rows) != 1 || !bytes.Equal(rows[0].Body, row.Body) {
			t.Errorf("%s was replaced", name)
		}
	}
}

// TestACallerWhoLeavesDoesNotWait: Adopt and Bootstrap queue for their turn
// with the caller's context.
func TestACallerWhoLeavesDoesNotWait(t *testing.T) {
	b := newBench(t)
	if err := b.ring.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer b.ring.leave()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.ring.Adopt(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
