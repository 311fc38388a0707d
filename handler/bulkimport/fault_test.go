package bulkimport_test

import (
	"fmt"
	"testing"
	"time"

	"secureapi/handler/bulkimport"
	"secureapi/handler/memstore"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
)

// failNth makes the n-th write of any kind fail, once; applied says whether it
// took effect all the same. It reports whether there was such a write.
func (w *world) failNth(n int, applied bool) (met func() bool) {
	count, hit := 0, false
	fail := func() (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		count++
		if count == n {
			hit = true
			return applied, rowstore.ErrUnavailable
		}
		return true, nil
	}
	for _, store := range []*memstore.Store{w.records, w.operations, w.log} {
		store.OnApply(func([]rowstore.Mutation) (bool, error) { return fail() })
	}
	w.blobs.OnCall(func(op memstore.BlobOp, _ string) (bool, error) {
		if op == memstore.BlobGet {
			return true, nil
		}
		return fail()
	})
	w.queue.OnSend(func(memstore.Message) (bool, error) { return fail() })
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return hit
	}
}

func (w *world) heal() {
	for _, store := range []*memstore.Store{w.records, w.operations, w.log} {
		store.OnApply(nil)
	}
	w.blobs.OnCall(nil)
	w.queue.OnSend(nil)
}

// Whatever single write fails, before or after taking effect, from the upload
// to the end of the work: a caller who repeats what failed, and the timer, bring
// every record in exactly once.
func TestFaultsNeitherLoseNorDoubleRows(t *testing.T) {
	const most = 200
	for _, applied := range []bool{false, true} {
		n := 1
		for ; n <= most; n++ {
			if !faultAt(t, n, applied) {
				break
			}
		}
		if n < 20 || n > most {
			t.Errorf("applied %v: %d writes were made to fail", applied, n-1)
		}
	}
}

func faultAt(t *testing.T, n int, applied bool) (met bool) {
	t.Helper()
	w := newWorld(t)
	p := w.process(t)
	happened := w.failNth(n, applied)
	retry := func(what string, do func() error) {
		t.Helper()
		for range 3 {
			if do() == nil {
				return
			}
		}
		t.Fatalf("write %d (applied %v): %s does not go through", n, applied, what)
	}
	var id string
	retry("create", func() error {
		st, err := p.Create(t.Context(), writer(), columns(), "customer", "key-1")
		id = st.ID
		return err
	})
	bodies := []string{rowsFrom(1, 3), rowsFrom(2, 3)}
	for i, body := range bodies {
		retry("upload", func() error {
			_, err := p.PutPart(t.Context(), writer(), id, i+1, []byte(body))
			return err
		})
	}
	retry("commit", func() error {
		_, err := p.Commit(t.Context(), writer(), id, len(bodies))
		return err
	})
	for range 3 {
		w.drain(t, p)
		w.later(5 * time.Minute)
		_ = p.Repair(t.Context()) // it may be the one that fails
	}
	w.heal()
	w.later(5 * time.Minute)
	if err := p.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.drain(t, p)
	st := p.status(t, id)
	if st.State != operation.Completed || st.Progress.Imported != 6 || w.stored() != 12 {
		t.Fatalf("write %d (applied %v): %+v, %d rows", n, applied, st, w.stored())
	}
	for i, line := range p.result(t, id) {
		customer := i + 1
		if i >= 3 {
			customer = i - 1
		}
		if want := fmt.Sprintf("4111111111111111 c%d@example.com", customer); p.reveal(t, line[2], line[3]) != want {
			t.Errorf("write %d (applied %v): line %d does not open to %q", n, applied, i, want)
		}
	}
	for _, row := range w.operations.All() {
		if row.Partition == "due" && row.Key == bulkimport.Kind+"|"+tenant+"|"+id {
			t.Errorf("write %d (applied %v): the import is still due", n, applied)
		}
	}
	return happened()
}

// A process that dies in the middle of a chunk leaves some rows: the next run
// finds them. Death is every write failing from one moment on.
func TestAProcessThatDiesAnywhereIsContinued(t *testing.T) {
	for n := 1; n <= 12; n++ {
		w := newWorld(t)
		dying := w.process(t)
		id := dying.commit(t, rowsFrom(1, 60))
		m, _ := w.queue.Take()
		if err := dying.RunMessage(t.Context(), m.Text, 1); err != nil {
			t.Fatal(err)
		}
		count := 0
		w.records.OnApply(func([]rowstore.Mutation) (bool, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			count++
			if count > n {
				return false, rowstore.ErrUnavailable
			}
			return true, nil
		})
		m, _ = w.queue.Take()
		_ = dying.RunMessage(t.Context(), m.Text, 1) // rings again with a pause
		w.records.OnApply(nil)
		next := w.process(t)
		w.drain(t, next)
		if st := next.status(t, id); st.State != operation.Completed || st.Progress.Imported != 60 || w.stored() != 120 {
			t.Errorf("after %d writes: %+v, %d rows", n, st, w.stored())
		}
	}
}

func TestAnUnavailableDependencyIsTriedWithGrowingPauses(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 2))
	m, _ := w.queue.Take()
	if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
		t.Fatal(err)
	}
	w.blobs.OnCall(func(memstore.BlobOp, string) (bool, error) { return false, rowstore.ErrUnavailable })
	var pauses []time.Duration
	for range 9 {
		m, ok := w.queue.Take()
		if !ok {
			t.Fatal("not rung for again")
		}
		if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, w.queue.All()[0].Delay)
	}
	if got := fmt.Sprint(pauses); got != "[5s 10s 20s 40s 1m20s 2m40s 5m20s 5m20s 5m20s]" {
		t.Errorf("pauses %s", got)
	}
	w.heal()
	w.drain(t, p)
	if st := p.status(t, id); st.State != operation.Completed {
		t.Errorf("%+v", st)
	}
}

func TestALostMessageIsRungForAgainByTheTimer(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 2))
	if _, ok := w.queue.Take(); !ok { // lost
		t.Fatal("no message")
	}
	rings := 0
	for range 40 {
		w.later(time.Minute)
		if err := p.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, ok := w.queue.Take(); ok {
			rings++
		}
	}
	if rings < 3 || rings > 6 {
		t.Errorf("%d rings in 40 minutes: want a few, with growing pauses", rings)
	}
	w.later(time.Hour)
	if err := p.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.drain(t, p)
	if st := p.status(t, id); st.State != operation.Completed {
		t.Errorf("%+v", st)
	}
}

func TestAChunkThatEndsTheProcessIsGivenUp(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 2), rowsFrom(3, 2))
	m, _ := w.queue.Take()
	if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
		t.Fatal(err)
	}
	m, _ = w.queue.Take()
	if err := p.RunMessage(t.Context(), m.Text, 5); err != nil {
		t.Fatal(err)
	}
	w.drain(t, p)
	st := p.status(t, id)
	if st.State != operation.Completed || st.Progress.Failed != 2 || st.Progress.ChunksFailed != 1 || st.Progress.Imported != 2 {
		t.Errorf("%+v", st)
	}
	if lines := p.result(t, id); len(lines) != 2 || lines[0][0] != "2" {
		t.Errorf("result %v", lines)
	}
	if err := p.Quarantine(t.Context(), m.Text); err != nil || w.alarms(t) != "" {
		t.Errorf("quarantine: %v, alarms %q", err, w.alarms(t))
	}
}
