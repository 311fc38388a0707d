package rowseal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/envelope"
)

type document struct {
	State string `json:"state"`
	Count int    `json:"count"`
}

func somewhere() Place {
	return Place{Tenant: "t", Table: "operations", Partition: "p", Key: "k", Kind: "operation", Counter: 3}
}

func TestOpenGivesTheDocument(t *testing.T) {
	key := envelope.NewKey()
	want := document{State: "running", Count: 2}
	sealed, err := Seal(key, somewhere(), want)
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := Open(key, somewhere(), sealed, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestARowElsewhereIsTampered(t *testing.T) {
	key := envelope.NewKey()
	sealed, err := Seal(key, somewhere(), document{State: "completed"})
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(*Place){
		"tenant":    func(p *Place) { p.Tenant = "u" },
		"table":     func(p *Place) { p.Table = "records" },
		"partition": func(p *Place) { p.Partition = "q" },
		"key":       func(p *Place) { p.Key = "l" },
		"kind":      func(p *Place) { p.Kind = "plan" },
		"counter":   func(p *Place) { p.Counter = 4 },
	}
	for name, change := range changes {
		p := somewhere()
		change(&p)
		var got document
		if err := Open(key, p, sealed, &got); !errors.Is(err, ErrTampered) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUnknownMembersAreTampered(t *testing.T) {
	key := envelope.NewKey()
	sealed, err := Seal(key, somewhere(), map[string]any{"state": "running", "approved": true})
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := Open(key, somewhere(), sealed, &got); !errors.Is(err, ErrTampered) {
		t.Errorf("got %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	key := envelope.NewKey()
	sealed, err := Seal(key, somewhere(), document{State: "running"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte("SAPI"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got document
		if err := Open(key, somewhere(), b, &got); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened what was not sealed: %+v", got)
		}
	})
}
