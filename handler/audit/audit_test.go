package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/memstore"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
)

const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"

func options(store *memstore.Store) audit.Options {
	return audit.Options{
		Store:     store,
		MACKey:    func(context.Context) ([]byte, error) { return []byte("a test vector, not a key........."), nil },
		Clock:     time.Now,
		Instance:  "test",
		Logger:    slog.New(slog.DiscardHandler),
		Telemetry: telemetry.Log{Logger: slog.New(slog.DiscardHandler)},
	}
}

func newLog(t *testing.T, store *memstore.Store) *audit.Log {
	t.Helper()
	l, err := audit.New(options(store))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func entry(action string) audit.Entry {
	return audit.Entry{Action: action, Actor: audit.ActorOf(authz.Principal{Kind: authz.User, TenantID: tenant, ObjectID: "o"})}
}

// all reads every entry of the tenant, page by page.
func all(t *testing.T, store *memstore.Store, limit int) []audit.Entry {
	t.Helper()
	r, err := audit.NewReader(options(store))
	if err != nil {
		t.Fatal(err)
	}
	var list []audit.Entry
	q := audit.Query{Tenant: tenant, Limit: limit}
	for {
		page, err := r.Events(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, page.Entries...)
		if page.Next == (audit.Cursor{}) {
			return list
		}
		q.After = page.Next
	}
}

func seal(t *testing.T, store *memstore.Store) (audit.Checkpoint, error) {
	t.Helper()
	return ledgerOf(t, store).sealer(t).Seal(t.Context())
}

func TestAnAuthorisedEntryIsDurableAndItsOutcomeSharesItsID(t *testing.T) {
	store := memstore.New()
	l := newLog(t, store)
	ticket, err := l.Authorise(t.Context(), entry("tokens.create"))
	if err != nil {
		t.Fatal(err)
	}
	if got := all(t, store, 10); len(got) != 1 || got[0].Phase != audit.Authorised || got[0].ID != ticket.ID() {
		t.Fatalf("after Authorise: %+v", got)
	}
	ticket.Completed(func(e *audit.Entry) { e.Objects = []audit.Object{{Pseudonym: "p"}} })
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := all(t, store, 1) // pages of one
	if len(got) != 2 || got[1].Phase != audit.Completed || got[1].ID != ticket.ID() || got[1].Count != 1 {
		t.Errorf("after Close: %+v", got)
	}
}

func TestAStoreThatIsDownAuthorisesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		l := newLog(t, store)
		store.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrUnavailable })
		if _, err := l.Authorise(t.Context(), entry("tokens.create")); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		store.OnApply(nil)
		if _, err := l.Authorise(t.Context(), entry("tokens.reveal")); err != nil {
			t.Errorf("after the outage: %v", err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Every acknowledged entry is there exactly once, whichever way the store
// fails: before or after it applied.
func TestFaultsNeitherLoseNorDoubleEntries(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for nth := range 8 {
			t.Run(fmt.Sprintf("applied=%v/%d", applied, nth), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { faultAt(t, applied, nth) })
			})
		}
	}
}

func faultAt(t *testing.T, applied bool, nth int) {
	store := memstore.New()
	calls := 0
	store.OnApply(func([]rowstore.Mutation) (bool, error) {
		calls++
		if calls == nth+1 || calls == nth+2 {
			return applied, rowstore.ErrUnavailable
		}
		return true, nil
	})
	l := newLog(t, store)
	acknowledged := map[string]bool{}
	for range 6 {
		ticket, err := l.Authorise(t.Context(), entry("tokens.create"))
		if err != nil {
			t.Fatal(err)
		}
		acknowledged[ticket.ID()] = true
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	store.OnApply(nil)
	got := all(t, store, 100)
	for _, e := range got {
		if !acknowledged[e.ID] {
			t.Errorf("entry %s is there twice, or was never acknowledged", e.ID)
		}
		delete(acknowledged, e.ID)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged entries are lost", len(acknowledged))
	}
	if c, err := seal(t, store); err != nil || c.Entries != uint64(len(got)) {
		t.Errorf("sealing: %+v, %v", c, err)
	}
}

func TestConcurrentRequestsShareTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		var transactions atomic.Int64
		store.OnApply(func([]rowstore.Mutation) (bool, error) {
			transactions.Add(1)
			time.Sleep(10 * time.Millisecond)
			return true, nil
		})
		l := newLog(t, store)
		const callers, each = 32, 20
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range each {
					ticket, err := l.Authorise(t.Context(), entry("tokens.create"))
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(10 * time.Millisecond) // the storage call between
					ticket.Completed(nil)
				}
			})
		}
		group.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		ratio := float64(transactions.Load()) / (callers * each)
		t.Logf("%.3f audit transactions a call at %d callers", ratio, callers)
		if ratio >= 0.2 {
			t.Errorf("%.3f audit transactions a call, want under 0.2", ratio)
		}
		if got := len(all(t, store, 500)); got != 2*callers*each {
			t.Errorf("%d entries, want %d", got, 2*callers*each)
		}
	})
}

func TestASealedIdleStreamMakesItsWriterGoOnInANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		l := newLog(t, store)
		if _, err := l.Authorise(t.Context(), entry("one")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		first, err := seal(t, store)
		if err != nil || !first.Streams[0].Closed {
			t.Fatalf("sealing: %+v, %v", first, err)
		}
		if _, err := l.Authorise(t.Context(), entry("two")); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := all(t, store, 10)
		if len(got) != 2 || got[0].Action != "one" || got[1].Action != "two" {
			t.Errorf("entries: %+v", got)
		}
		second, err := seal(t, store)
		if err != nil || second.Number != 2 || second.Entries != 2 {
			t.Errorf("second checkpoint: %+v, %v", second, err)
		}
	})
}

func TestOneOfTwoSealersWins(t *testing.T) {
	store := memstore.New()
	l := newLog(t, store)
	if _, err := l.Authorise(t.Context(), entry("one")); err != nil {
		t.Fatal(err)
	}
	var wins, races atomic.Int64
	var start sync.WaitGroup
	start.Add(2)
	store.OnApply(func(ms []rowstore.Mutation) (bool, error) {
		if ms[0].Row.Partition == "checkpoints" {
			start.Done()
			start.Wait()
		}
		return true, nil
	})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			_, err := seal(t, store)
			switch {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, audit.ErrRace):
				races.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if wins.Load() != 1 || races.Load() != 1 {
		t.Errorf("%d won, %d raced", wins.Load(), races.Load())
	}
	store.OnApply(nil)
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatAStorageWriterChangesIsFound(t *testing.T) {
	find := func(t *testing.T, store *memstore.Store, key string) rowstore.Row {
		t.Helper()
		for _, row := range store.All() {
			if row.Key == key && row.Partition != "checkpoints" {
				return row
			}
		}
		t.Fatalf("no row %s", key)
		return rowstore.Row{}
	}
	entryKey := func(n int) string { return fmt.Sprintf("e|%020d", n) }
	cases := map[string]func(t *testing.T, store *memstore.Store, oldHead rowstore.Row){
		"entry altered": func(t *testing.T, store *memstore.Store, _ rowstore.Row) {
			row := find(t, store, entryKey(3))
			row.Body = append([]byte(nil), row.Body...)
			row.Body[20] ^= 1
			store.Plant(row)
		},
		"entry removed": func(t *testing.T, store *memstore.Store, _ rowstore.Row) {
			row := find(t, store, entryKey(3))
			store.Remove(row.Partition, row.Key)
		},
		"last entry removed": func(t *testing.T, store *memstore.Store, _ rowstore.Row) {
			row := find(t, store, entryKey(5))
			store.Remove(row.Partition, row.Key)
		},
		"entries swapped": func(t *testing.T, store *memstore.Store, _ rowstore.Row) {
			a, b := find(t, store, entryKey(3)), find(t, store, entryKey(4))
			a.Key, b.Key = b.Key, a.Key
			store.Plant(a)
			store.Plant(b)
		},
		"head lowered behind the checkpoint": func(_ *testing.T, store *memstore.Store, oldHead rowstore.Row) {
			store.Plant(oldHead)
		},
		"head forged": func(t *testing.T, store *memstore.Store, _ rowstore.Row) {
			row := find(t, store, "head")
			row.Body = append([]byte(nil), row.Body...)
			row.Body[len(row.Body)-3] ^= 1
			store.Plant(row)
		},
		"head removed": func(t *testing.T, store *memstore.Store, _ rowstore.Row) {
			row := find(t, store, "head")
			store.Remove(row.Partition, row.Key)
		},
		"registration removed": func(_ *testing.T, store *memstore.Store, oldHead rowstore.Row) {
			store.Remove("streams", oldHead.Partition)
		},
		"checkpoint altered": func(t *testing.T, store *memstore.Store, _ rowstore.Row) {
			for _, row := range store.All() {
				if row.Partition == "checkpoints" && row.Key != "head" {
					row.Body = append([]byte(nil), row.Body...)
					row.Body[10] ^= 1
					store.Plant(row)
				}
			}
		},
	}
	for name, tamper := range cases {
		t.Run(name, func(t *testing.T) {
			store := memstore.New()
			l := newLog(t, store)
			var oldHead rowstore.Row
			for i := range 6 {
				if _, err := l.Authorise(t.Context(), entry("a")); err != nil {
					t.Fatal(err)
				}
				switch i {
				case 0:
					oldHead = find(t, store, "head")
				case 2:
					if _, err := seal(t, store); err != nil {
						t.Fatal(err)
					}
				}
			}
			tamper(t, store, oldHead)
			_, err := seal(t, store)
			if _, broken := errors.AsType[*audit.Broken](err); !broken {
				t.Errorf("sealing gave %v", err)
			}
		})
	}
}

func TestAuditorsSeeTheirTenantOnly(t *testing.T) {
	store := memstore.New()
	l := newLog(t, store)
	other := audit.Entry{Action: "a", Actor: audit.Actor{Tenant: "other"}}
	for _, e := range []audit.Entry{entry("a"), other, entry("b")} {
		if err := l.Deny(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	got := all(t, store, 10)
	if len(got) != 2 || got[0].Action != "a" || got[1].Action != "b" {
		t.Errorf("entries: %+v", got)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRefusalsAreCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		l := newLog(t, store)
		for i := range 1000 {
			l.CountRefusal(fmt.Sprintf("reason %d", i%2))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		entries := 0
		for _, row := range store.All() {
			if len(row.Key) > 2 && row.Key[:2] == "e|" {
				entries++
			}
		}
		if entries != 2 {
			t.Errorf("%d entries, want one a reason", entries)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// told counts what telemetry is told of.
type told struct {
	telemetry.Log

	mu     sync.Mutex
	events []string
	values map[string]float64
}

func (r *told) Event(_ context.Context, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, name)
}

func (r *told) Metric(_ context.Context, name string, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.values == nil {
		r.values = map[string]float64{}
	}
	r.values[name] = value
}

// An alarm is told whichever way its entry takes, and also when the store is
// down, which is when somebody may have made it so.
func TestEveryAlarmEntryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		o := options(store)
		r := &told{Log: telemetry.Log{Logger: o.Logger}}
		o.Telemetry = r
		l, err := audit.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Alarm(t.Context(), entry("direct")); err != nil {
			t.Fatal(err)
		}
		// The stream's head is changed by somebody else: the committer alarms.
		for _, row := range store.All() {
			if row.Key == "head" {
				row.Body = []byte("{}")
				store.Plant(row)
			}
		}
		if err := l.Deny(t.Context(), entry("denied")); err != nil {
			t.Fatal(err)
		}
		store.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrUnavailable })
		if err := l.Alarm(t.Context(), entry("store down")); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("alarm without a store: %v", err)
		}
		store.OnApply(nil)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{telemetry.EventAlarm, telemetry.EventAlarm, telemetry.EventAlarm}
		if !slices.Equal(r.events, want) {
			t.Errorf("told %q, want %q", r.events, want)
		}
	})
}

// What is not sealed is told: none after a seal, all that waits where a stream
// is broken.
func TestUnsealedEntriesAreTold(t *testing.T) {
	store := memstore.New()
	l := newLog(t, store)
	for range 3 {
		if _, err := l.Authorise(t.Context(), entry("a")); err != nil {
			t.Fatal(err)
		}
	}
	o := options(store)
	r := &told{Log: telemetry.Log{Logger: o.Logger}}
	o.Telemetry = r
	s, err := audit.NewSealer(o, ledgerOf(t, store).publication())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, ok := r.values[telemetry.MetricAuditUnsealed]; !ok || got != 0 {
		t.Errorf("after sealing: %v, %v", got, ok)
	}
	if _, err := l.Authorise(t.Context(), entry("a")); err != nil {
		t.Fatal(err)
	}
	for _, row := range store.All() {
		if row.Key == fmt.Sprintf("e|%020d", 3) {
			row.Body = []byte("{}")
			store.Plant(row)
		}
	}
	if _, err := s.Seal(t.Context()); err == nil {
		t.Fatal("an altered entry was sealed")
	}
	if got := r.values[telemetry.MetricAuditUnsealed]; got != 1 {
		t.Errorf("with a broken stream: %v", got)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// An entry leads to the request log's lines of its call, by the id that this
// system drew. The client's own, which can be any 16 bytes, is not in it.
func TestEntriesNameTheirCall(t *testing.T) {
	const trace = "41111111111111110000000000000000"
	store := memstore.New()
	l := newLog(t, store)
	ctx := telemetry.WithTrace(t.Context(), "00-"+trace+"-b7ad6b7169203331-01")
	if telemetry.TraceID(ctx) != trace {
		t.Fatal("the client's trace is not taken up")
	}
	for range 2 {
		ticket, err := l.Authorise(ctx, entry("a"))
		if err != nil {
			t.Fatal(err)
		}
		ticket.Completed(nil)
		ticket.Failed("late")
	}
	if err := errors.Join(l.Deny(ctx, entry("b")), l.Alarm(ctx, entry("c")), l.Outcome(ctx, entry("d")), l.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, row := range store.All() {
		if !strings.HasPrefix(row.Key, "e|") {
			continue
		}
		seen++
		if body := string(row.Body); !strings.Contains(body, `"spanId":"`+telemetry.SpanID(ctx)+`"`) || strings.Contains(body, trace) {
			t.Errorf("entry %s", body)
		}
	}
	if seen != 9 {
		t.Errorf("%d entries", seen)
	}
}
