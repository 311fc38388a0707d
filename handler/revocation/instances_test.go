package revocation_test

import (
	"errors"
	"testing"
	"time"

	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
)

// Two processes on one table: what one revokes, the other refuses in time, at
// whatever moment between two reads it happens.
func TestARevocationReachesEveryInstanceWithinTheBound(t *testing.T) {
	for _, offset := range []time.Duration{0, time.Second, 7 * time.Second, 14 * time.Second} {
		inWorld(t, func(t *testing.T, w *world) {
			here, there := w.instance(t), w.instance(t)
			here.run(t)
			there.run(t)
			time.Sleep(offset)
			token, subject := bearer(home, alice, "t1"), bearer(home, bob, "t2")
			here.revoke(t, revocation.Request{TokenID: "t1"})
			here.revoke(t, revocation.Request{ObjectID: bob})
			here.wants(t, "at once", token, "token")
			here.wants(t, "at once", subject, "subject")
			there.wants(t, "elsewhere, before a read", token, "")
			time.Sleep(revocation.Within)
			there.wants(t, "elsewhere", token, "token")
			there.wants(t, "elsewhere", subject, "subject")
		})
	}
}

// slow makes every read take as long as it may.
func slow(w *world) {
	w.store.OnRead(func(string, string) error { time.Sleep(4900 * time.Millisecond); return nil })
}

func TestTheBoundHoldsWithSlowReads(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		here, there := w.instance(t), w.instance(t)
		slow(w)
		there.run(t)
		time.Sleep(6 * time.Second)
		for range 5 {
			time.Sleep(3700 * time.Millisecond)
			p := bearer(home, alice, "t"+time.Now().Format("150405"))
			here.revoke(t, revocation.Request{TokenID: p.TokenID})
			time.Sleep(revocation.Within)
			there.wants(t, "with slow reads", p, "token")
		}
	})
}

// A copy is as old as the beginning of the read that made it: what was written
// meanwhile may be missing from it.
func TestACopysAgeCountsFromTheReadsBeginning(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		slow(w)
		p, begun := bearer(home, alice, "t1"), time.Now()
		i.wants(t, "after a slow read", p, "")
		w.store.OnRead(func(string, string) error { return rowstore.ErrUnavailable })
		time.Sleep(time.Until(begun.Add(revocation.MaxAge - time.Millisecond)))
		i.wants(t, "within the limit", p, "")
		time.Sleep(time.Millisecond)
		i.wants(t, "at the limit", p, "unknown")
	})
}

// A read that failed is tried again soon, not at the next turn.
func TestAFailedReadIsTriedAgainSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		here, there := w.instance(t), w.instance(t)
		there.run(t)
		time.Sleep(10 * time.Second)
		w.store.OnRead(func(string, string) error { return rowstore.ErrUnavailable })
		time.Sleep(8 * time.Second) // the read of 15 s, give or take a tenth, fails
		w.store.OnRead(nil)
		here.revoke(t, revocation.Request{TokenID: "t1"})
		time.Sleep(2300 * time.Millisecond)
		there.wants(t, "after the next try", bearer(home, alice, "t1"), "token")
	})
}

// A process that cannot read accepts tokens for MaxAge and then none, and comes
// back by itself.
func TestWithoutAReadableListNothingIsAccepted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		i.run(t)
		w.store.OnRead(func(string, string) error { return rowstore.ErrUnavailable })
		p := bearer(home, alice, "t1")
		// The last good read was at the start of the bubble.
		time.Sleep(revocation.MaxAge - time.Second)
		i.wants(t, "within the limit", p, "")
		time.Sleep(time.Second)
		i.wants(t, "at the limit", p, "unknown")
		if _, err := i.Check(t.Context(), p); !errors.Is(err, revocation.ErrStale) || !errors.Is(err, rowstore.ErrUnavailable) {
			t.Errorf("the error does not name the step: %v", err)
		}
		if n := w.events.count(); n != 0 {
			t.Errorf("an outage raised %d alarms", n)
		}
		w.store.OnRead(nil)
		i.wants(t, "readable again", p, "")
		w.vault.Down(errors.New("vault down"))
		defer w.vault.Down(nil)
		fresh := w.instance(t)
		fresh.wants(t, "a new process without keys", p, "unknown")
	})
}

// A list that hangs, and a caller who goes.
func TestAReadThatHangsIsBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		gone := make(chan struct{})
		w.store.OnRead(func(string, string) error { <-gone; return rowstore.ErrUnavailable })
		begun := time.Now()
		go func() { time.Sleep(time.Minute); close(gone) }()
		i.wants(t, "hanging", bearer(home, alice, "t1"), "unknown")
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

// One tenant's list that cannot be read takes nothing from another's.
func TestTenantsFailApart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		i.run(t)
		w.store.OnRead(func(partition, _ string) error {
			if partition == home {
				return rowstore.ErrUnavailable
			}
			return nil
		})
		time.Sleep(2 * revocation.MaxAge)
		i.wants(t, "unreadable", bearer(home, alice, "t1"), "unknown")
		i.wants(t, "readable", bearer(other, alice, "t1"), "")
		if _, err := i.Revoke(t.Context(), operator(other), revocation.Request{ObjectID: alice}); err != nil {
			t.Fatal(err)
		}
		w.store.OnRead(nil)
		i.wants(t, "of the other tenant", bearer(other, alice, "t2"), "subject")
		i.wants(t, "of this tenant", bearer(home, alice, "t2"), "")
		if s, err := i.Status(t.Context(), operator(home)); err != nil || len(s.Revocations) != 0 {
			t.Errorf("a tenant sees another's list: %+v, %v", s, err)
		}
	})
}

// A frozen process, as the platform makes them, wakes with an old copy.
func TestAWokenProcessReadsFirst(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		frozen, awake := w.instance(t), w.instance(t)
		p := bearer(home, alice, "t1")
		frozen.wants(t, "before", p, "") // reads once; nothing runs in the background
		time.Sleep(time.Second)
		awake.revoke(t, revocation.Request{TokenID: "t1"})
		time.Sleep(10 * time.Minute)
		frozen.wants(t, "on waking", p, "token")
	})
}
