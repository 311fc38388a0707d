package rowseal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

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

func TestDuplicateNamesAndTrailingBytesAreTampered(t *testing.T) {
	key := envelope.NewKey()
	for _, text := range []string{
		`{"state":"running","state":"completed","count":1}`,
		`{"state":"running","count":1}{}`,
		`{"State":"running"}`,
		`{"state":1}`,
		`{"state":"` + "\xff" + `"}`,
		`null,`,
		``,
	} {
		sealed, err := envelope.Seal(key, somewhere().context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var got document
		err = Open(key, somewhere(), sealed, &got)
		if !errors.Is(err, ErrTampered) {
			t.Errorf("%s: got %v", text, err)
		} else if strings.Contains(err.Error(), "running") {
			t.Errorf("the error quotes the content: %v", err)
		}
	}
}

func TestTheReasonOfARefusalIsKept(t *testing.T) {
	key := envelope.NewKey()
	sealed, err := Seal(key, somewhere(), document{State: "running"})
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(sealed)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		key    envelope.Key
		sealed []byte
		want   error
	}{
		"other key":    {envelope.NewKey(), sealed, envelope.ErrKey},
		"altered":      {key, altered, envelope.ErrForged},
		"cut":          {key, sealed[:20], envelope.ErrMalformed},
		"not a sealed": {key, []byte(`{"state":"running"}`), envelope.ErrMalformed},
		"empty":        {key, nil, envelope.ErrMalformed},
	} {
		var got document
		err := Open(c.key, somewhere(), c.sealed, &got)
		if !errors.Is(err, ErrTampered) || !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if diff := cmp.Diff(document{}, got); diff != "" {
			t.Errorf("%s: the document was touched: %s", name, diff)
		}
	}
}

// TestARowIsNoValue: the label keeps a sealed row from opening as anything
// else under the same key, at a place that agrees in every other field.
func TestARowIsNoValue(t *testing.T) {
	key := envelope.NewKey()
	sealed, err := Seal(key, somewhere(), document{State: "running"})
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"value", "message", "chunk", ""} {
		c := somewhere().context()
		c.Label = label
		if _, err := envelope.Open(key, c, sealed); !errors.Is(err, envelope.ErrForged) {
			t.Errorf("as %q: %v", label, err)
		}
	}
}

func TestPropertyOpenInvertsSeal(t *testing.T) {
	key := envelope.NewKey()
	text := rapid.StringN(0, 12, -1)
	draw := func(t *rapid.T, label string) Place {
		return Place{
			Tenant: text.Draw(t, label+" tenant"), Table: text.Draw(t, label+" table"),
			Partition: text.Draw(t, label+" partition"), Key: text.Draw(t, label+" key"),
			Kind: text.Draw(t, label+" kind"), Counter: rapid.Uint64().Draw(t, label+" counter"),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		at, want := draw(t, "at"), document{State: text.Draw(t, "state"), Count: rapid.Int().Draw(t, "count")}
		sealed, err := Seal(key, at, want)
		if err != nil {
			t.Fatal(err)
		}
		var got document
		if err := Open(key, at, sealed, &got); err != nil || got != want {
			t.Fatalf("got %+v, %v", got, err)
		}
		elsewhere := draw(t, "elsewhere")
		if elsewhere == at {
			t.Skip("the same place")
		}
		if err := Open(key, elsewhere, sealed, &got); !errors.Is(err, ErrTampered) {
			t.Fatalf("opened elsewhere: %v", err)
		}
	})
}

// golden rows were written once and open for ever. The keys are public
// patterns. Entries are added, never changed.
type golden struct {
	Note string `json:"note"`
	Rows []struct {
		KeyID     []byte          `json:"keyId"`
		Material  []byte          `json:"testVectorMaterial"`
		Place     Place           `json:"place"`
		Plaintext string          `json:"plaintext"`
		Document  json.RawMessage `json:"document"`
		Sealed    []byte          `json:"sealed"`
	} `json:"rows"`
}

func TestGoldenRowsOpen(t *testing.T) {
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Rows) < 2 {
		t.Fatalf("%d rows: entries are gone", len(g.Rows))
	}
	for i, row := range g.Rows {
		key, err := envelope.KeyFrom(envelope.KeyID(row.KeyID), row.Material)
		if err != nil {
			t.Fatal(err)
		}
		var want, got document
		if err := json.Unmarshal(row.Document, &want); err != nil {
			t.Fatal(err)
		}
		if err := Open(key, row.Place, row.Sealed, &got); err != nil || got != want {
			t.Errorf("row %d: %+v, %v", i, got, err)
		}
		// What a row is, in terms of the envelope's own golden format.
		plaintext, err := envelope.Open(key, envelope.Context{
			Label: "row", Tenant: row.Place.Tenant, Table: row.Place.Table, Partition: row.Place.Partition,
			Row: row.Place.Key, Class: row.Place.Kind, Counter: row.Place.Counter,
		}, row.Sealed)
		if err != nil || string(plaintext) != row.Plaintext {
			t.Errorf("row %d: the envelope holds %s, %v", i, plaintext, err)
		}
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
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var got document
		if err := Open(key, somewhere(), b, &got); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened what was not sealed: %+v", got)
		}
	})
}

// FuzzDocument reaches the decoder behind the seal: whatever a sealed plaintext
// is, it opens or is ErrTampered, and what opened seals to the same document.
func FuzzDocument(f *testing.F) {
	key := envelope.NewKey()
	for _, seed := range []string{`{"state":"running","count":2}`, `{}`, `null`, `[]`, `{"state":"\u0000"}`, `{"count":1e400}`, `{"a":`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		sealed, err := envelope.Seal(key, somewhere().context(), plaintext)
		if err != nil {
			t.Skip("too large")
		}
		var got, again document
		if err := Open(key, somewhere(), sealed, &got); err != nil {
			if !errors.Is(err, ErrTampered) {
				t.Fatal(err)
			}
			return
		}
		if sealed, err = Seal(key, somewhere(), got); err != nil {
			t.Fatal(err)
		}
		if err := Open(key, somewhere(), sealed, &again); err != nil || got != again {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}
