package revocation_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
)

// A storage writer cannot un-revoke: whatever he puts in place of the row is
// refused, alarmed once, and in the end nothing is accepted.
func TestAStorageWriterCannotUnrevoke(t *testing.T) {
	for name, tamper := range map[string]func(t *testing.T, w *world, old rowstore.Row){
		"an older list":   func(_ *testing.T, w *world, old rowstore.Row) { w.store.Plant(old) },
		"no list":         func(_ *testing.T, w *world, _ rowstore.Row) { w.store.Remove(home, "list") },
		"another version": func(_ *testing.T, w *world, old rowstore.Row) { old.Attributes["Version"] = "3"; w.store.Plant(old) },
		"no version":      func(_ *testing.T, w *world, old rowstore.Row) { delete(old.Attributes, "Version"); w.store.Plant(old) },
		"an altered byte": func(_ *testing.T, w *world, _ rowstore.Row) {
			row := w.row(home)
			row.Body[len(row.Body)-1] ^= 1
			w.store.Plant(row)
		},
		"nothing in it": func(_ *testing.T, w *world, _ rowstore.Row) {
			row := w.row(home)
			row.Body = nil
			w.store.Plant(row)
		},
		"another tenant's": func(t *testing.T, w *world, _ rowstore.Row) {
			i := w.instance(t)
			for range 3 {
				if _, err := i.Revoke(t.Context(), operator(other), revocation.Request{ObjectID: bob}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			row := w.row(other)
			row.Partition = home
			w.store.Plant(row)
		},
		// A process that has seen nothing starts over, and writes on past the
		// version that others know.
		"a list begun anew": func(t *testing.T, w *world, _ rowstore.Row) {
			w.store.Remove(home, "list")
			fresh := w.instance(t)
			for _, id := range []string{"x1", "x2", "x3", "x4"} {
				fresh.revoke(t, revocation.Request{TokenID: id})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				i := w.instance(t)
				i.run(t)
				i.revoke(t, revocation.Request{TokenID: "t1"})
				old := w.row(home)
				i.revoke(t, revocation.Request{TokenID: "t2"})
				tamper(t, w, old)
				p := bearer(home, alice, "t2")
				time.Sleep(revocation.RefreshEvery + 3*time.Second)
				i.wants(t, "after the next read", p, "token")
				if n := w.events.count(); n != 1 {
					t.Errorf("%d alarms at the next read", n)
				}
				if _, err := i.Revoke(t.Context(), operator(home), revocation.Request{TokenID: "t3"}); !errors.Is(err, revocation.ErrForged) {
					t.Errorf("revoking on it: %v", err)
				}
				time.Sleep(revocation.MaxAge)
				i.wants(t, "in the end", p, "unknown")
				i.wants(t, "in the end", bearer(home, bob, "t9"), "unknown")
				if n := w.events.count(); n != 1 {
					t.Errorf("%d alarms for one forgery", n)
				}
				entries := w.entries(t, i, "revocations.load")
				if len(entries) != 1 || entries[0] != "alarm revocations_forged" {
					t.Errorf("audit entries %q", entries)
				}
			})
		})
	}
}

// A version that goes back is refused even where it lacks nothing that is due.
func TestAnOlderListIsRefusedThoughItLacksNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		i.revoke(t, revocation.Request{TokenID: "t1"})
		old := w.row(home)
		i.revoke(t, revocation.Request{TokenID: "t2"})
		time.Sleep(2 * tokenLife)
		i.wants(t, "when both have expired", bearer(home, alice, "t3"), "")
		w.store.Plant(old)
		time.Sleep(revocation.MaxAge)
		i.wants(t, "with the older list", bearer(home, alice, "t3"), "unknown")
	})
}

// The true list put back ends the refusal; the next forgery is alarmed anew.
func TestTheTrueListEndsTheAlarm(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		i.run(t)
		i.revoke(t, revocation.Request{TokenID: "t1"})
		row := w.row(home)
		for round := 1; round <= 2; round++ {
			w.store.Remove(home, "list")
			time.Sleep(2 * revocation.MaxAge)
			i.wants(t, "without the list", bearer(home, alice, "t2"), "unknown")
			w.store.Plant(row)
			time.Sleep(revocation.RefreshEvery)
			i.wants(t, "with it", bearer(home, alice, "t2"), "")
			i.wants(t, "revoked", bearer(home, alice, "t1"), "token")
			if n := w.events.count(); n != round {
				t.Errorf("%d alarms in round %d", n, round)
			}
		}
	})
}

// What is in the row is nobody's to read.
func TestTheRowIsSealed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		i.revoke(t, revocation.Request{TokenID: "token-id-of-alice"})
		i.revoke(t, revocation.Request{ObjectID: alice})
		for _, secret := range []string{"token-id-of-alice", alice, operator(home).ObjectID} {
			if bytes.Contains(w.row(home).Body, []byte(secret)) {
				t.Errorf("the row shows %s", secret)
			}
		}
	})
}

// Said in the package comment, and pinned here: what a process cannot see.
func TestAFreshProcessBelievesAnOlderList(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		i.revoke(t, revocation.Request{TokenID: "t1"})
		old := w.row(home)
		i.revoke(t, revocation.Request{TokenID: "t2"})
		w.store.Plant(old)
		fresh := w.instance(t)
		fresh.wants(t, "in the older list", bearer(home, alice, "t1"), "token")
		fresh.wants(t, "not in it", bearer(home, alice, "t2"), "")
	})
}

func (w *world) row(tenant string) rowstore.Row {
	for _, row := range w.store.All() {
		if row.Partition == tenant {
			return row
		}
	}
	return rowstore.Row{}
}
