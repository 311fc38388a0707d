package memstore_test

import (
	"context"
	"errors"
	"testing"

	"secureapi/handler/memstore"
	"secureapi/handler/rowstore"
	"secureapi/handler/storetest"
)

const maxBlob = 1 << 20

func TestRows(t *testing.T) {
	storetest.Rows(t, func(*testing.T) storetest.Store { return memstore.New() })
}

func TestRowsWithEmptyPages(t *testing.T) {
	s := memstore.New()
	s.EmptyPages(true)
	insert(t, s, "a", "b", "c")
	var keys []string
	var empty int
	r := rowstore.Range{Limit: 1}
	for {
		rows, next, err := s.List(t.Context(), "p", r)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 && next != "" {
			empty++
		}
		for _, row := range rows {
			keys = append(keys, row.Key)
		}
		if next == "" {
			break
		}
		r.From = next
	}
	if len(keys) != 3 || empty == 0 {
		t.Fatalf("keys %q with %d empty pages", keys, empty)
	}
}

func TestBlobs(t *testing.T) {
	storetest.Blobs(t, maxBlob, func(*testing.T) storetest.BlobStore { return memstore.NewBlobs(maxBlob) })
}

func TestQueue(t *testing.T) {
	storetest.Queue(t, func(*testing.T) (storetest.QueueSender, func() []string) {
		q := memstore.NewQueue()
		return q, func() []string {
			var texts []string
			for _, m := range q.All() {
				if m.Delay == 0 {
					texts = append(texts, m.Text)
				}
			}
			return texts
		}
	})
}

var errFault = errors.New("fault")

func TestApplyFaults(t *testing.T) {
	for name, applied := range map[string]bool{"lost answer": true, "lost request": false} {
		t.Run(name, func(t *testing.T) {
			s := memstore.New()
			s.OnApply(func([]rowstore.Mutation) (bool, error) { return applied, errFault })
			_, err := s.Apply(t.Context(), "p", []rowstore.Mutation{row("a")})
			if !errors.Is(err, errFault) {
				t.Fatalf("Apply: %v, want the fault", err)
			}
			if _, err := s.Get(t.Context(), "p", "a"); (err == nil) != applied {
				t.Fatalf("Get after the fault: %v, applied %t", err, applied)
			}
		})
	}
	t.Run("a failed condition wins", func(t *testing.T) {
		s := memstore.New()
		insert(t, s, "a")
		s.OnApply(func([]rowstore.Mutation) (bool, error) { return true, errFault })
		_, err := s.Apply(t.Context(), "p", []rowstore.Mutation{row("b"), row("a")})
		if !errors.Is(err, rowstore.ErrExists) || rowstore.FailedIndex(err) != 1 {
			t.Fatalf("Apply: %v, want ErrExists at 1", err)
		}
	})
	t.Run("removed", func(t *testing.T) {
		s := memstore.New()
		s.OnApply(func([]rowstore.Mutation) (bool, error) { return false, errFault })
		s.OnApply(nil)
		insert(t, s, "a")
	})
}

func TestReadFaults(t *testing.T) {
	s := memstore.New()
	insert(t, s, "a")
	s.OnRead(func(partition, key string) error {
		if partition != "p" {
			t.Errorf("partition %q", partition)
		}
		if key == "" {
			return errFault
		}
		return nil
	})
	if _, err := s.Get(t.Context(), "p", "a"); err != nil {
		t.Errorf("Get: %v", err)
	}
	if _, _, err := s.List(t.Context(), "p", rowstore.Range{Limit: 1}); !errors.Is(err, errFault) {
		t.Errorf("List: %v, want the fault", err)
	}
}

func TestBlobAndQueueFaults(t *testing.T) {
	b, q := memstore.NewBlobs(10), memstore.NewQueue()
	for _, applied := range []bool{true, false} {
		b.OnCall(func(memstore.BlobOp, string) (bool, error) { return applied, errFault })
		q.OnSend(func(memstore.Message) (bool, error) { return applied, errFault })
		if err := b.Put(t.Context(), "a", nil); !errors.Is(err, errFault) {
			t.Errorf("Put: %v", err)
		}
		if err := q.Send(t.Context(), "m", 0); !errors.Is(err, errFault) {
			t.Errorf("Send: %v", err)
		}
	}
	if len(b.All()) != 1 || len(q.All()) != 1 {
		t.Fatalf("%d blobs, %d messages; want one each", len(b.All()), len(q.All()))
	}
	if m, ok := q.Take(); !ok || m.Text != "m" {
		t.Fatalf("Take: %v, %t", m, ok)
	}
	if _, ok := q.Take(); ok {
		t.Fatal("Take from an empty queue")
	}
}

func TestTampering(t *testing.T) {
	s := memstore.New()
	insert(t, s, "b", "a")
	before := s.All()
	if len(before) != 2 || before[0].Key != "a" {
		t.Fatalf("All: %v", before)
	}
	version := s.Plant(rowstore.Row{Partition: "p", Key: "a", Body: []byte("forged")})
	got, err := s.Get(t.Context(), "p", "a")
	if err != nil || string(got.Body) != "forged" || got.Version != version || version == before[0].Version {
		t.Fatalf("after Plant: %v, %v", got, err)
	}
	if !s.Remove("p", "a") || s.Remove("p", "a") || s.Remove("other", "a") {
		t.Fatal("Remove misreports")
	}
}

func TestEchoing(t *testing.T) {
	inner := memstore.New()
	s := storetest.Echoing(inner, func(m []rowstore.Mutation) bool { return m[0].Action == rowstore.Insert })
	_, err := s.Apply(context.Background(), "p", []rowstore.Mutation{row("a")})
	if !errors.Is(err, rowstore.ErrExists) {
		t.Fatalf("Apply: %v, want the echo", err)
	}
	if _, err := s.Get(t.Context(), "p", "a"); err != nil {
		t.Fatalf("the write is not there: %v", err)
	}
}

func row(key string) rowstore.Mutation {
	return rowstore.Mutation{Action: rowstore.Insert, Row: rowstore.Row{Partition: "p", Key: key}}
}

func insert(t *testing.T, s *memstore.Store, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := s.Apply(t.Context(), "p", []rowstore.Mutation{row(key)}); err != nil {
			t.Fatal(err)
		}
	}
}
