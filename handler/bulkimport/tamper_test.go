package bulkimport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"secureapi/handler/memstore"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

func TestForgedMessagesAreAlarmedAndDoNothing(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	p.commit(t, rowsFrom(1, 2))
	honest, _ := w.queue.Take()
	for _, text := range []string{
		`{"tenant":"` + tenant + `","operation":"x"}`, "d1.", "d1.AAAA", "x", honest.Text[:len(honest.Text)-1], "d1.A" + honest.Text[4:],
	} {
		if err := p.RunMessage(t.Context(), text, 1); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if err := p.Quarantine(t.Context(), text); err != nil {
			t.Errorf("quarantine of %q: %v", text, err)
		}
	}
	if got := strings.Count(w.alarms(t), "forged_message"); got != 12 {
		t.Errorf("%d alarms of 12", got)
	}
	if w.stored() != 0 || len(w.queue.All()) != 0 {
		t.Error("a forged message had an effect")
	}
}

func TestReplayedMessagesDoNothing(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	p.commit(t, rowsFrom(1, 2))
	all, _ := w.queue.Take()
	if err := p.RunMessage(t.Context(), all.Text, 1); err != nil {
		t.Fatal(err)
	}
	one, _ := w.queue.Take()
	for range 3 {
		if err := errors.Join(p.RunMessage(t.Context(), one.Text, 1), p.RunMessage(t.Context(), all.Text, 9)); err != nil {
			t.Fatal(err)
		}
	}
	if w.stored() != 4 || len(w.queue.All()) != 0 || w.alarms(t) != "" {
		t.Errorf("%d rows, %d messages, alarms %q", w.stored(), len(w.queue.All()), w.alarms(t))
	}
}

// What a storage writer changes is refused and alarmed, and stores nothing.
func TestWhatAStorageWriterChangesIsRefused(t *testing.T) {
	rows := func(w *world, prefix string) (found []rowstore.Row) {
		for _, row := range w.operations.All() {
			if strings.HasPrefix(row.Partition, "o|") && strings.HasPrefix(row.Key, prefix) {
				found = append(found, row)
			}
		}
		return found
	}
	for name, tamper := range map[string]func(*world){
		"chunk blob altered": func(w *world) {
			for name, data := range w.blobs.All() {
				data[len(data)-1] ^= 1
				w.blobs.Plant(name, data)
			}
		},
		"chunk blobs swapped": func(w *world) {
			var names []string
			all := w.blobs.All()
			for name := range all {
				names = append(names, name)
			}
			w.blobs.Plant(names[0], all[names[1]])
			w.blobs.Plant(names[1], all[names[0]])
		},
		"chunk blobs gone": func(w *world) {
			for name := range w.blobs.All() {
				if err := w.blobs.Delete(context.Background(), name); err != nil {
					panic(err)
				}
			}
		},
		"operation row altered": func(w *world) {
			row := rows(w, "op")[0]
			row.Body[len(row.Body)-1] ^= 1
			w.operations.Plant(row)
		},
		"operation row's counter lowered": func(w *world) {
			row := rows(w, "op")[0]
			row.Attributes["Counter"] = strings.Repeat("0", 15) + "1"
			w.operations.Plant(row)
		},
		"chunk rows swapped": func(w *world) {
			r := rows(w, "chunk|")
			r[0].Body, r[1].Body = r[1].Body, r[0].Body
			w.operations.Plant(r[0])
			w.operations.Plant(r[1])
		},
		"chunk rows of another import": func(w *world) {
			theirs := rows(w, "chunk|")
			for _, row := range theirs {
				for _, other := range theirs {
					if other.Partition != row.Partition && other.Key == row.Key {
						row.Body = other.Body
						w.operations.Plant(row)
						break
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.process(t)
			if strings.Contains(name, "another import") {
				p.commit(t, rowsFrom(1, 2), rowsFrom(3, 2))
			}
			p.commit(t, rowsFrom(1, 2), rowsFrom(3, 2))
			m, _ := w.queue.Take()
			if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
				t.Fatal(err)
			}
			tamper(w)
			w.drain(t, p)
			if w.stored() != 0 || !strings.Contains(w.alarms(t), "integrity_failure") {
				t.Errorf("%d rows stored, alarms %q", w.stored(), w.alarms(t))
			}
		})
	}
}

func TestForgedDueRowsAreAlarmedOnceAndKeepNoOneWaiting(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 2))
	if _, ok := w.queue.Take(); !ok { // lost: the timer has to ring
		t.Fatal("no message")
	}
	for n := range 50 {
		w.operations.Plant(rowstore.Row{Partition: "due", Key: fmt.Sprintf("import|%s|forged-%d", tenant, n), Body: []byte("x")})
	}
	w.later(time.Hour)
	if err := p.Repair(t.Context()); !errors.Is(err, tokenvault.ErrIntegrity) {
		t.Errorf("repair: %v", err)
	}
	w.drain(t, p)
	if st := p.status(t, id); st.State != operation.Completed || w.alarms(t) != "integrity_failure" {
		t.Errorf("%+v, alarms %q", st, w.alarms(t))
	}
}

func TestALostChunkRowKeepsTheImportFromCompleting(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 2), rowsFrom(3, 2))
	m, _ := w.queue.Take()
	if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
		t.Fatal(err)
	}
	w.operations.Remove(operation.Partition(tenant, id), "chunk|0002-0001")
	w.drain(t, p)
	if st := p.status(t, id); st.State == operation.Completed || !strings.Contains(w.alarms(t), "integrity_failure") {
		t.Errorf("%+v, alarms %q", st, w.alarms(t))
	}
}

func TestAnAlteredResultIsRefused(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 2))
	w.drain(t, p)
	for name, data := range w.blobs.All() {
		data[len(data)/2] ^= 1
		w.blobs.Plant(name, data)
	}
	if _, err := p.Result(t.Context(), writer(), id, 1); !errors.Is(err, tokenvault.ErrIntegrity) || w.alarms(t) != "integrity_failure" {
		t.Errorf("%v, alarms %q", err, w.alarms(t))
	}
}

func TestNoValueIsInStorageQueueOrLog(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	const file = "card,email,customer\n4012888888881881,zq-canary@example.com,zq-subject\n9zq-canary9,zq-canary,zq-subject\n"
	w.blobs.OnCall(func(_ memstore.BlobOp, _ string) (bool, error) {
		for name, data := range w.blobs.All() {
			if bytes.Contains(data, []byte("zq-")) || bytes.Contains(data, []byte("4012888888881881")) {
				t.Errorf("blob %s holds a value", name)
			}
		}
		return true, nil
	})
	id := p.commit(t, file)
	w.drain(t, p)
	if n := len(p.result(t, id)); n != 2 {
		t.Fatalf("%d lines", n)
	}
	if _, err := p.PutPart(t.Context(), writer(), p.create(t), 1, []byte("zq-canary,\"\n")); err == nil {
		t.Fatal("a bad file was taken")
	}
	var texts []string
	for _, store := range []*memstore.Store{w.records, w.operations, w.log} {
		for _, row := range store.All() {
			texts = append(texts, row.Partition+row.Key+string(row.Body)+fmt.Sprint(row.Attributes))
		}
	}
	texts = append(texts, p.out.String())
	for _, text := range texts {
		for _, mark := range []string{"zq-", "4012888888881881"} {
			if strings.Contains(text, mark) {
				t.Errorf("%q is in %.80q", mark, text)
			}
		}
	}
}
