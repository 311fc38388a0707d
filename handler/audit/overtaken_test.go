package audit_test

import (
	"errors"
	"strings"
	"testing"

	"secureapi/handler/audit"
	"secureapi/handler/rowstore"
)

// A sealer is overtaken between any two of its reads by one that goes the whole
// way, in its process or in another. That is no damage: it says so or goes on,
// and raises no alarm.
func TestAnOvertakenSealerRaisesNoAlarm(t *testing.T) {
	for _, name := range []string{"by another process", "by its own"} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			for nth := 0; nth <= reads; nth++ {
				reads = overtake(t, nth, name == "by its own")
			}
			if reads < 10 {
				t.Errorf("%d reads", reads)
			}
		})
	}
}

// overtake has another sealer run before the nth read of one, and gives the
// number of reads that there were.
func overtake(t *testing.T, nth int, same bool) (reads int) {
	t.Helper()
	l := newLedger(t)
	open := newLog(t, l.store)
	if err := open.Deny(t.Context(), entry("a")); err != nil {
		t.Fatal(err)
	}
	l.seal(t)
	if err := open.Deny(t.Context(), entry("b")); err != nil {
		t.Fatal(err)
	}
	slow := l.sealer(t)
	fast := slow
	if !same {
		fast = l.sealer(t)
	}
	l.store.OnRead(func(string, string) error {
		reads++
		if reads-1 != nth {
			return nil
		}
		l.store.OnRead(nil)
		if err := errors.Join(open.Deny(t.Context(), entry("c")), open.Close(t.Context())); err != nil {
			t.Error(err)
		}
		if _, err := fast.Seal(t.Context()); err != nil {
			t.Errorf("before read %d: the other sealer: %v", nth, err)
		}
		return nil
	})
	_, err := slow.Seal(t.Context())
	l.store.OnRead(nil)
	if err != nil && !errors.Is(err, audit.ErrRace) {
		t.Errorf("overtaken before read %d: %v", nth, err)
	}
	l.append(t, 1, 1)
	if _, err := slow.Seal(t.Context()); err != nil {
		t.Errorf("after read %d: %v", nth, err)
	}
	l.check(t, l.streams())
	return reads
}

// A sealer that is killed amid the places of a large checkpoint leaves most of
// them behind. The next one goes on from there: one by one it would need longer
// than a run has, be killed as well, and nothing would ever be published again.
func TestPlacesThatAreThereArePassedOver(t *testing.T) {
	const entries, partitions = 3200, 16 // in each more than a transaction takes
	l := newLedger(t)
	l.append(t, 1, entries)
	run := func(kill int) (calls int) {
		l.store.OnRead(func(partition, _ string) error {
			if strings.HasPrefix(partition, "ids|") {
				calls++
			}
			return nil
		})
		l.store.OnApply(func(mutations []rowstore.Mutation) (bool, error) {
			if strings.HasPrefix(mutations[0].Row.Partition, "ids|") {
				calls++
			}
			if kill > 0 && calls > kill {
				return false, rowstore.ErrUnavailable
			}
			return true, nil
		})
		defer l.store.OnApply(nil)
		defer l.store.OnRead(nil)
		if _, err := l.sealer(t).Seal(t.Context()); (err != nil) != (kill > 0) {
			t.Fatal(err)
		}
		return calls
	}
	_ = run(30)
	if n := len(l.places()); n == 0 || n == entries {
		t.Fatalf("killed after %d places", n)
	}
	if calls := run(0); calls > partitions*16 {
		t.Errorf("%d calls for %d places", calls, entries)
	}
	if n := len(l.places()); n != entries {
		t.Errorf("%d places of %d entries", n, entries)
	}
	l.check(t, l.streams())
}

// Rows that somebody planted or removed amid the places do not hold it up.
func TestPlacesInDisorderEndTheRun(t *testing.T) {
	l := newLedger(t)
	l.append(t, 1, 300)
	l.seal(t)
	for _, row := range l.store.All() {
		if row.Partition == "tree" || row.Partition == "notes" || strings.HasPrefix(row.Partition, "ids|") && !strings.HasSuffix(row.Key, "7") {
			l.store.Remove(row.Partition, row.Key)
		}
	}
	l.seal(t)
	l.check(t, l.streams())
}

func (l *ledger) places() (list []rowstore.Row) {
	for _, row := range l.store.All() {
		if strings.HasPrefix(row.Partition, "ids|") {
			list = append(list, row)
		}
	}
	return list
}
