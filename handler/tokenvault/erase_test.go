package tokenvault_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/envelope"
	"secureapi/handler/memstore"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

const (
	retention = 30 * 24 * time.Hour
	caseID    = "CASE-2026-000017"
)

func erase(t *testing.T, p *process, subject string) tokenvault.Erasure {
	t.Helper()
	e, err := p.erasures.Erase(t.Context(), who(authz.PrivacyOfficer), subject, caseID)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// finish lets time pass and sweeps until the erasure is complete.
func (w *world) finish(t *testing.T, p *process, id string) tokenvault.Erasure {
	t.Helper()
	for range 12 {
		w.later(2*time.Minute + time.Second)
		if err := p.erasures.Sweep(t.Context()); err != nil {
			t.Logf("sweep: %v", err)
		}
		if e := w.erasure(t, p, id); e.State == operation.Completed {
			return e
		}
	}
	t.Fatal("the erasure does not end")
	return tokenvault.Erasure{}
}

func (w *world) erasure(t *testing.T, p *process, id string) tokenvault.Erasure {
	t.Helper()
	e, err := p.erasures.Get(t.Context(), who(authz.PrivacyOfficer), id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// leftovers are the rows that tell of a subject's values: members, and token
// rows that are no tombstones.
func (w *world) leftovers() (list []string) {
	for _, row := range w.records.All() {
		_, grave := row.Attributes["Erased"]
		if strings.HasPrefix(row.Key, "m|") || strings.HasPrefix(row.Key, "t|") && !grave {
			list = append(list, row.Key)
		}
	}
	return list
}

func (w *world) phases(t *testing.T, action string) map[audit.Phase]int {
	t.Helper()
	count := map[audit.Phase]int{}
	for _, e := range w.entries(t, tenant) {
		if e.Action == action {
			count[e.Phase]++
		}
	}
	return count
}

func wantAbsent(t *testing.T, what string, opened []tokenvault.Opened) {
	t.Helper()
	for i, o := range opened {
		if !errors.Is(o.Err, tokenvault.ErrNoToken) {
			t.Errorf("%s: token %d gives %v, %q", what, i, o.Err, o.Value.RevealString())
		}
	}
}

func wantErased(t *testing.T, what string, p *process, subject string) {
	t.Helper()
	_, err := p.Tokenize(t.Context(), who(authz.Writer), []tokenvault.Item{email("again@example.com", subject)}, "")
	if !errors.Is(err, tokenvault.ErrErased) {
		t.Errorf("%s: tokenize: %v", what, err)
	}
}

func TestAnErasedSubjectIsUnreadableAndThenGone(t *testing.T) {
	w := newWorld(t)
	a, b := w.process(t), w.process(t)
	items := make([]tokenvault.Item, 0, 120)
	for range cap(items) {
		items = append(items, email("anna@example.com", "c-1"))
	}
	tokens := append(tokenize(t, a, "", items[:60]...), tokenize(t, a, "key-9", items[60:]...)...)
	other := tokenize(t, a, "", email("bela@example.com", "c-2"))
	reveal(t, b, tokens[:20]...) // b has the key in its cache
	first := erase(t, a, "c-1")
	wantAbsent(t, "the process that erased", reveal(t, a, tokens[:20]...))
	wantErased(t, "the process that erased", a, "c-1")
	wantErased(t, "the process with the key", b, "c-1")
	w.later(first.InaccessibleAt.Sub(w.clock()))
	wantAbsent(t, "after the time of the receipt", reveal(t, b, tokens[:20]...))
	wantAbsent(t, "a process that starts", reveal(t, w.process(t), tokens[20:40]...))
	if _, err := a.Tokenize(t.Context(), who(authz.Writer), items[60:], "key-9"); !errors.Is(err, tokenvault.ErrErased) {
		t.Errorf("a repeat under its Idempotency-Key: %v", err)
	}
	last := w.finish(t, b, first.ID)
	if got := w.leftovers(); len(got) != 2 {
		t.Errorf("%d rows are left, want the other subject's two", len(got))
	}
	wantAbsent(t, "after the sweep", reveal(t, b, tokens[:20]...))
	if got := values(reveal(t, b, other...)); got != "bela@example.com" {
		t.Errorf("another subject's value: %q", got)
	}
	if !last.InaccessibleAt.Equal(first.InaccessibleAt) || last.IrrecoverableAt.Sub(last.InaccessibleAt) != retention {
		t.Errorf("times %s, %s", last.InaccessibleAt, last.IrrecoverableAt)
	}
	for _, e := range w.entries(t, tenant) {
		if e.Action == "subjects.erase" && e.Phase == audit.Completed &&
			(!e.InaccessibleAt.Equal(last.InaccessibleAt) || !e.IrrecoverableAt.Equal(last.IrrecoverableAt) || e.ID != last.AuditEntry) {
			t.Errorf("the receipt in the log: %+v", e)
		}
	}
	if got := w.phases(t, "subjects.erase"); got[audit.Authorised] != 1 || got[audit.Completed] != 1 {
		t.Errorf("entries %v", got)
	}
}

func TestErasuresOfOneSubjectAreOne(t *testing.T) {
	w := newWorld(t)
	tokenize(t, w.process(t), "", email("anna@example.com", "c-1"))
	ids, processes := make([]string, 8), make([]*process, 8)
	var group sync.WaitGroup
	for i := range ids {
		p := w.process(t)
		processes[i] = p
		group.Go(func() {
			e, err := p.erasures.Erase(context.Background(), who(authz.PrivacyOfficer), "c-1", caseID)
			if err != nil {
				t.Error(err)
			}
			ids[i] = e.ID
		})
	}
	group.Wait()
	p := w.process(t)
	done := w.finish(t, p, ids[0])
	again := erase(t, p, "c-1")
	for _, one := range slices.Concat(processes, []*process{p}) {
		if err := one.log.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range slices.Concat(ids, []string{again.ID}) {
		if id != ids[0] {
			t.Errorf("erasures %s and %s", id, ids[0])
		}
	}
	if again != done {
		t.Errorf("the answer changed:\n%+v\n%+v", again, done)
	}
	if got := w.phases(t, "subjects.erase"); got[audit.Authorised] != 9 || got[audit.Completed] != 9 {
		t.Errorf("entries %v: not each call has one", got)
	}
}

func TestAnUnknownSubjectIsErasedLikeAKnownOne(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokenize(t, p, "", email("anna@example.com", "c-1"))
	known, unknown := erase(t, p, "c-1"), erase(t, p, "c-never")
	if known.State != unknown.State || known.InaccessibleAt.IsZero() || unknown.InaccessibleAt.IsZero() {
		t.Errorf("known %+v, unknown %+v", known, unknown)
	}
	wantErased(t, "unknown", p, "c-never")
	a, b := w.finish(t, p, known.ID), w.erasure(t, p, unknown.ID)
	if a.State != b.State || a.IrrecoverableAt.Sub(a.InaccessibleAt) != b.IrrecoverableAt.Sub(b.InaccessibleAt) {
		t.Errorf("known %+v, unknown %+v", a, b)
	}
	if got := w.phases(t, "subjects.erase"); got[audit.Authorised] != 2 || got[audit.Completed] != 2 {
		t.Errorf("entries %v", got)
	}
}

func TestOnlyPrivacyOfficersErase(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	done := erase(t, p, "c-1")
	for _, role := range authz.Roles() {
		_, err := p.erasures.Erase(t.Context(), who(role), "c-2", caseID)
		check(t, role, "erase", err, role == authz.PrivacyOfficer)
		_, err = p.erasures.Get(t.Context(), who(role), done.ID)
		check(t, role, "read", err, role == authz.PrivacyOfficer || role == authz.Operator)
	}
	if got := w.phases(t, "subjects.erase")[audit.Denied]; got != 6+5 {
		t.Errorf("%d denied entries", got)
	}
	stranger := who(authz.PrivacyOfficer)
	stranger.TenantID = otherTenant
	if _, err := p.erasures.Get(t.Context(), stranger, done.ID); !errors.Is(err, operation.ErrNotFound) {
		t.Errorf("another tenant's officer: %v", err)
	}
	for _, c := range [][2]string{{"a b", caseID}, {"", caseID}, {"c-1", "because"}, {"c-1", "REF-4111-1111-1111-1111"}} {
		_, err := p.erasures.Erase(t.Context(), who(authz.PrivacyOfficer), c[0], c[1])
		if _, ok := errors.AsType[*tokenvault.InvalidError](err); !ok {
			t.Errorf("subject %q, reason %q: %v", c[0], c[1], err)
		}
	}
}

func TestWithoutAuditNothingIsErased(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	w.log.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrUnavailable })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.erasures.Erase(ctx, who(authz.PrivacyOfficer), "c-1", caseID); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("erased without an entry: %v", err)
	}
	w.log.OnApply(nil)
	if got := values(reveal(t, p, tokens...)); got != "anna@example.com" {
		t.Errorf("revealed %q", got)
	}
}

// TestFaultsNeitherLoseNorHalveAnErasure makes each write of an erasure and of
// its sweeps fail once, before and after it took effect.
func TestFaultsNeitherLoseNorHalveAnErasure(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for n, faulted := 0, true; faulted; n++ {
			faulted = eraseWithFault(t, n, applied)
		}
	}
}

func eraseWithFault(t *testing.T, n int, applied bool) (faulted bool) {
	t.Helper()
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"), email("eva@example.com", "c-1"))
	writes := 0
	hook := func([]rowstore.Mutation) (bool, error) {
		writes++
		if writes == n+1 {
			faulted = true
			return applied, rowstore.ErrUnavailable
		}
		return true, nil
	}
	for _, store := range []*memstore.Store{w.records, w.erased, w.operations} {
		store.OnApply(hook)
	}
	e, err := p.erasures.Erase(t.Context(), who(authz.PrivacyOfficer), "c-1", caseID)
	if err != nil {
		e = erase(t, p, "c-1") // the caller repeats what was not acknowledged
	}
	last := w.process(t)
	done := w.finish(t, last, e.ID)
	w.later(time.Minute)
	if err := last.erasures.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if done.InaccessibleAt.IsZero() || len(w.leftovers()) != 0 {
		t.Errorf("write %d, applied %t: %+v, rows %v", n, applied, done, w.leftovers())
	}
	wantAbsent(t, "after the erasure", reveal(t, w.process(t), tokens...))
	wantErased(t, "after the erasure", w.process(t), "c-1")
	if got := w.phases(t, "subjects.erase"); got[audit.Completed] < 1 {
		t.Errorf("write %d, applied %t: entries %v", n, applied, got)
	}
	for _, row := range w.operations.All() {
		if row.Partition == "due" {
			t.Errorf("write %d, applied %t: %s is still due", n, applied, row.Key)
		}
	}
	return faulted
}

// TestAnErasureBeforeEachWriteOfATokenizeWins puts a whole erasure between a
// tokenize's reads and its write: the late writer stores nothing.
func TestAnErasureBeforeEachWriteOfATokenizeWins(t *testing.T) {
	for _, known := range []bool{false, true} {
		w := newWorld(t)
		p, officer := w.process(t), w.process(t)
		if known {
			tokenize(t, p, "", email("anna@example.com", "c-1"))
		}
		before := len(w.leftovers())
		var fired atomic.Bool
		w.records.OnApply(func([]rowstore.Mutation) (bool, error) {
			if !fired.Swap(true) {
				erase(t, officer, "c-1")
			}
			return true, nil
		})
		wantErased(t, "the late writer", p, "c-1")
		if got := len(w.leftovers()); got != before {
			t.Errorf("known %t: the late writer stored %d rows", known, got-before)
		}
	}
}

// TestImportsDoNotBringAnErasedSubjectBack: known or not, before or in the
// middle of a chunk. The chunk's second run refuses the one row.
func TestImportsDoNotBringAnErasedSubjectBack(t *testing.T) {
	for _, known := range []bool{false, true} {
		w := newWorld(t)
		p, officer := w.process(t), w.process(t)
		if known {
			tokenize(t, p, "", email("anna@example.com", "c-1"))
		}
		job := authz.System("import", tenant, "op-1", authz.ImportsRun)
		key := envelope.NewKey()
		rows := []tokenvault.Row{
			{Subject: "c-1", Named: true, Items: []tokenvault.Item{email("anna@example.com", "")}},
		}
		var fired atomic.Bool
		w.records.OnApply(func([]rowstore.Mutation) (bool, error) {
			if !fired.Swap(true) {
				erase(t, officer, "c-1")
			}
			return true, nil
		})
		if _, err := p.Import(t.Context(), job, key, "1", rows); !errors.Is(err, tokenvault.ErrErased) {
			t.Errorf("known %t: the run under way: %v", known, err)
		}
		rows = append(rows, tokenvault.Row{Subject: "c-2", Named: true, Items: []tokenvault.Item{email("bela@example.com", "")}})
		results, err := p.Import(t.Context(), job, key, "1", rows)
		if err != nil || len(results[0].Invalid) != 1 || results[0].Invalid[0].Code != "subject_erased" {
			t.Fatalf("known %t: %+v, %v", known, results, err)
		}
		if got := values(reveal(t, p, results[1].Tokens...)); got != "bela@example.com" {
			t.Errorf("the other row: %q", got)
		}
	}
}

// TestTokenizesAndAnErasureAtOnce: whatever the order, in the end nothing of
// the subject is left, and no token that was acknowledged after the erasure
// exists.
func TestTokenizesAndAnErasureAtOnce(t *testing.T) {
	w := newWorld(t)
	writers := make([]*process, 6)
	for i := range writers {
		writers[i] = w.process(t)
	}
	officer := w.process(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	var tokens []string
	erasedAt := make(chan struct{})
	for _, p := range writers {
		group.Go(func() {
			for {
				var late bool
				select {
				case <-erasedAt:
					late = true
				default:
				}
				got, err := p.Tokenize(context.Background(), who(authz.Writer), []tokenvault.Item{email("anna@example.com", "c-1")}, "")
				if errors.Is(err, tokenvault.ErrErased) {
					return
				}
				if err != nil && !errors.Is(err, tokenvault.ErrBusy) {
					t.Error(err)
					return
				}
				if err == nil && late {
					t.Error("a tokenize that began after the erasure was acknowledged")
					return
				}
				mu.Lock()
				if err == nil {
					tokens = append(tokens, got[0].Token)
				}
				mu.Unlock()
			}
		})
	}
	e := erase(t, officer, "c-1")
	close(erasedAt)
	group.Wait()
	if e.InaccessibleAt.IsZero() {
		t.Error("the head was not changed at once")
	}
	w.finish(t, officer, e.ID)
	if got := w.leftovers(); len(got) != 0 {
		t.Errorf("rows %v", got)
	}
	for _, token := range tokens {
		wantAbsent(t, "after the erasure", reveal(t, w.process(t), token))
	}
}

func TestTwoSweepsAtOnce(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	for range 3 {
		tokenize(t, p, "", email("a@example.com", "c-1"), email("b@example.com", "c-1"), email("c@example.com", "c-2"))
	}
	one, two := erase(t, p, "c-1"), erase(t, p, "c-2")
	sweepers := []*process{w.process(t), w.process(t), w.process(t)}
	for range 3 {
		w.later(2*time.Minute + time.Second)
		var group sync.WaitGroup
		for _, s := range sweepers {
			group.Go(func() {
				if err := s.erasures.Sweep(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	for _, id := range []string{one.ID, two.ID} {
		if e := w.erasure(t, p, id); e.State != operation.Completed {
			t.Errorf("state %s", e.State)
		}
	}
	if got := w.leftovers(); len(got) != 0 {
		t.Errorf("rows %v", got)
	}
	if got := w.phases(t, "erasures.run")[audit.Alarm]; got != 0 {
		t.Errorf("%d alarms", got)
	}
}

// TestNoKeyIsUsedBeyondItsLife: the audit entry of a reveal takes long enough
// for the subject to be erased and its time to pass.
func TestNoKeyIsUsedBeyondItsLife(t *testing.T) {
	w := newWorld(t)
	p, officer := w.process(t), w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	var fired atomic.Bool
	w.log.OnApply(func(mutations []rowstore.Mutation) (bool, error) {
		if bytes.Contains(mutations[len(mutations)-1].Row.Body, []byte("tokens.reveal")) && !fired.Swap(true) {
			e := erase(t, officer, "c-1")
			w.later(e.InaccessibleAt.Sub(w.clock()))
		}
		return true, nil
	})
	wantAbsent(t, "the reveal under way", reveal(t, p, tokens...))
	if !fired.Load() {
		t.Error("the reveal had no entry")
	}
}

// A first call lists the erasure and dies before it is written. The caller tries
// again while a sweep, which has looked in vain for it, is about to take it off
// the list. What is then recorded must be swept.
func TestAnErasureAskedForAgainStaysOnTheList(t *testing.T) {
	written := func(m []rowstore.Mutation) bool { return m[0].Row.Partition != "due" }
	for name, meet := range map[string]func(w *world, again, sweep func()){
		"the caller amid the sweep": func(w *world, again, sweep func()) {
			retry := func() {
				w.operations.OnApply(nil)
				w.operations.OnRead(nil)
				again()
			}
			w.operations.OnRead(func(partition, key string) error {
				if partition == "due" && key != "" {
					retry()
				}
				return nil
			})
			w.operations.OnApply(func(m []rowstore.Mutation) (bool, error) {
				if m[0].Action == rowstore.Delete && !written(m) {
					retry()
				}
				return true, nil
			})
			sweep()
		},
		"the sweep amid the call": func(w *world, again, sweep func()) {
			w.operations.OnApply(func(m []rowstore.Mutation) (bool, error) {
				if written(m) {
					w.operations.OnApply(nil)
					sweep()
				}
				return true, nil
			})
			again()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.process(t)
			tokenize(t, p, "", email("anna@example.com", "c-1"))
			w.operations.OnApply(func(m []rowstore.Mutation) (bool, error) {
				if written(m) {
					return false, rowstore.ErrUnavailable
				}
				return true, nil
			})
			if _, err := p.erasures.Erase(t.Context(), who(authz.PrivacyOfficer), "c-1", caseID); err == nil {
				t.Fatal("the erasure was recorded")
			}
			w.later(3 * time.Minute)
			id, swept := "", false
			meet(w, func() { id = erase(t, p, "c-1").ID }, func() {
				swept = true
				if err := p.erasures.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
			if id == "" || !swept {
				t.Fatal("the two did not meet")
			}
			w.finish(t, p, id)
			if left := w.leftovers(); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
