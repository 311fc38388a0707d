package keyring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secureapi/handler/rowstore"
)

// reads counts the transactions that read the table from now on.
func (b *bench) reads() *atomic.Int64 {
	var n atomic.Int64
	b.store.OnRead(func(string, string) error { n.Add(1); return nil })
	return &n
}

func (b *bench) outage() {
	b.store.OnRead(func(string, string) error { return rowstore.ErrUnavailable })
}

func TestARefreshCostsOneTransaction(t *testing.T) {
	b := newBench(t)
	calls, reads := b.vault.total(), b.reads()
	for range 5 {
		b.pass(RefreshEvery)
		b.load()
	}
	if reads.Load() != 5 || b.vault.total() != calls {
		t.Errorf("%d reads and %d vault calls for 5 refreshes", reads.Load(), b.vault.total()-calls)
	}
}

func TestFreshKeysCostNothing(t *testing.T) {
	b := newBench(t)
	calls, reads := b.vault.total(), b.reads()
	for range 1000 {
		b.keys()
		if _, err := b.ring.ForRead(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if reads.Load() != 0 || b.vault.total() != calls {
		t.Errorf("%d reads and %d vault calls", reads.Load(), b.vault.total()-calls)
	}
}

// TestStaleCallersShareOneLoad: a burst after a pause is one read.
func TestStaleCallersShareOneLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var reads atomic.Int64
		b.store.OnRead(func(string, string) error {
			reads.Add(1)
			time.Sleep(time.Second)
			return nil
		})
		b.pass(WriteLife)
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if _, err := b.ring.ForWrite(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if reads.Load() != 1 {
			t.Errorf("%d reads for one burst", reads.Load())
		}
	})
}

// TestALoadOutlivesItsCaller: who started it may leave; the others get it.
func TestALoadOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		release := make(chan struct{})
		b.store.OnRead(func(string, string) error { <-release; return nil })
		b.pass(WriteLife)
		ctx, leave := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := b.ring.ForWrite(ctx)
			first <- err
		}()
		synctest.Wait()
		second := make(chan error)
		go func() {
			_, err := b.ring.ForWrite(t.Context())
			second <- err
		}()
		synctest.Wait()
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrStale) {
			t.Errorf("the one who left: %v", err)
		}
		close(release)
		if err := <-second; err != nil {
			t.Errorf("the one who stayed: %v", err)
		}
	})
}

// TestAForgedKeyringEndsReadingToo: an outage and a forgery are told apart,
// and an outage that follows a forgery does not undo it.
func TestAForgedKeyringEndsReadingToo(t *testing.T) {
	b := newBench(t)
	good := b.store.All()[0]
	b.store.Plant(rowstore.Row{Partition: good.Partition, Key: good.Key, Body: []byte("forged")})
	if err := b.ring.Load(t.Context()); !errors.Is(err, ErrForged) {
		t.Fatalf("load: %v", err)
	}
	b.pass(WriteLife - time.Second)
	b.keys() // the last good copy serves until it is H old
	b.outage()
	b.pass(time.Second)
	if _, err := b.ring.ForRead(t.Context()); !errors.Is(err, ErrStale) || !errors.Is(err, rowstore.ErrUnavailable) {
		t.Errorf("read after H: %v", err)
	}
	b.store.OnRead(nil)
	if _, err := b.ring.ForRead(t.Context()); !errors.Is(err, ErrStale) || !errors.Is(err, ErrForged) {
		t.Errorf("read after H: %v", err)
	}
	b.store.Plant(good)
	b.keys()
	b.outage()
	b.pass(ReadLife - time.Second)
	if _, err := b.ring.ForRead(t.Context()); err != nil {
		t.Errorf("read in an outage, the keyring being good: %v", err)
	}
}

func TestTheAlarmIsRaisedOncePerRefusal(t *testing.T) {
	b := newBench(t)
	good := b.store.All()[0]
	forge := func() {
		b.store.Plant(rowstore.Row{Partition: good.Partition, Key: good.Key, Body: []byte("forged")})
	}
	for round := 1; round <= 2; round++ {
		forge()
		for range 3 {
			if err := b.ring.Load(t.Context()); !errors.Is(err, ErrForged) {
				t.Fatalf("load: %v", err)
			}
		}
		if b.alarmCount() != round {
			t.Errorf("%d alarms after %d refusals", b.alarmCount(), round)
		}
		b.store.Plant(good)
		b.load()
	}
	b.outage()
	if err := b.ring.Load(t.Context()); errors.Is(err, ErrForged) || err == nil {
		t.Errorf("load: %v", err)
	}
	if b.alarmCount() != 2 {
		t.Error("an outage raised the alarm")
	}
	b.store.OnRead(nil)
	forge()
	if _, err := b.ring.Adopt(t.Context()); !errors.Is(err, ErrForged) {
		t.Errorf("adopt: %v", err)
	}
	if _, err := Bootstrap(t.Context(), b.options()); !errors.Is(err, ErrForged) {
		t.Errorf("bootstrap: %v", err)
	}
	if b.alarmCount() != 4 {
		t.Errorf("%d alarms, want those of Adopt and Bootstrap too", b.alarmCount())
	}
}

// TestTheAlarmMayUseTheKeyring: writing the alarm to the audit log takes keys.
func TestTheAlarmMayUseTheKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		o := b.options()
		var ring *Keyring
		var inside []error
		o.Alarm = func(ctx context.Context, _ error) {
			_, err := ring.ForRead(ctx)
			inside = append(inside, err)
			_, err = ring.Adopt(ctx)
			inside = append(inside, err)
		}
		ring, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		b.store.Plant(rowstore.Row{Partition: partition, Key: rowKey(1), Body: []byte("forged")})
		started := time.Now()
		if err := ring.Load(t.Context()); !errors.Is(err, ErrForged) {
			t.Errorf("load: %v", err)
		}
		if len(inside) != 2 || !errors.Is(inside[0], ErrForged) || !errors.Is(inside[1], ErrForged) {
			t.Errorf("inside the alarm: %v", inside)
		}
		if waited := time.Since(started); waited != 0 {
			t.Errorf("the alarm waited %v for itself", waited)
		}
	})
}

// TestRunKeepsTheCopyFresh in the bubble's time: it loads at once, then every
// 16 to 24 s, so that a copy never comes near H; failures are retried sooner.
func TestRunKeepsTheCopyFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		o := b.options()
		o.Clock = time.Now
		ring, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var at []time.Time
		var fail error
		b.store.OnRead(func(string, string) error {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return fail
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		started := time.Now()
		go func() { ring.Run(ctx); close(done) }()
		time.Sleep(10 * time.Minute)
		mu.Lock()
		if len(at) == 0 || at[0] != started {
			t.Fatalf("the first load at %v, started %v", at, started)
		}
		pauses := map[time.Duration]bool{}
		for i := 1; i < len(at); i++ {
			pause := at[i].Sub(at[i-1])
			pauses[pause] = true
			if pause < 16*time.Second || pause > 24*time.Second {
				t.Errorf("a pause of %v", pause)
			}
		}
		if len(pauses) < 10 {
			t.Errorf("%d different pauses of %d: no jitter", len(pauses), len(at))
		}
		at, fail = nil, rowstore.ErrUnavailable
		mu.Unlock()
		time.Sleep(2 * time.Minute)
		mu.Lock()
		for i := 1; i < len(at); i++ {
			limit := min(time.Second<<(i-1), RefreshEvery)
			if pause := at[i].Sub(at[i-1]); pause > limit+limit/5 {
				t.Errorf("retry %d after %v, want about %v", i, pause, limit)
			}
		}
		fail = nil
		mu.Unlock()
		if _, err := ring.ForWrite(t.Context()); err != nil {
			t.Error(err)
		}
		stop()
		<-done
	})
}

// TestRunWaitsForBootstrap: a process that starts first serves nothing, makes
// nothing, and comes up by itself.
func TestRunWaitsForBootstrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		row := b.store.All()[0]
		b.store.Remove(partition, rowKey(1))
		ring := b.process()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { ring.Run(ctx); close(done) }()
		time.Sleep(time.Minute)
		if _, err := ring.ForRead(t.Context()); !errors.Is(err, ErrMissing) {
			t.Errorf("before: %v", err)
		}
		if n := len(b.store.All()); n != 0 {
			t.Errorf("%d rows were made", n)
		}
		b.store.Plant(row)
		time.Sleep(RefreshEvery * 2)
		if ring.fresh(WriteLife) == nil {
			t.Error("it did not come up")
		}
		stop()
		<-done
	})
}

func TestEmptyPagesAreReadThrough(t *testing.T) {
	b := newBench(t)
	b.addGeneration(nil)
	b.store.EmptyPages(true)
	b.load()
	if g := b.keys().Generation(); g != 2 {
		t.Errorf("generation %d", g)
	}
}

func TestMissingOptionsAreNamed(t *testing.T) {
	_, err := New(Options{})
	if err == nil {
		t.Fatal("a keyring of nothing")
	}
	for _, name := range []string{"Store", "Wrapper", "Signer", "Clock", "Logger"} {
		if want := "option " + name + " is missing"; !contains(err, want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := Bootstrap(t.Context(), Options{}); err == nil {
		t.Error("bootstrapped with nothing")
	}
}
