package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"secureapi/handler/fuzzcheck"
)

func place() Context {
	return Context{
		Label: "value", Tenant: "tenant", Table: "records", Partition: "p", Row: "r",
		Class: "email", Subject: "s", Counter: 7,
	}
}

func TestOpenGivesWhatWasSealed(t *testing.T) {
	key := NewKey()
	for _, plaintext := range [][]byte{nil, {0}, []byte("anna@example.com"), bytes.Repeat([]byte{1}, 70000)} {
		sealed, err := Seal(key, place(), plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(plaintext)+Overhead {
			t.Errorf("sealed %d bytes into %d", len(plaintext), len(sealed))
		}
		opened, err := Open(key, place(), sealed)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Errorf("opened %d bytes, %v", len(opened), err)
		}
	}
}

func TestTooLargePlaintextIsRefused(t *testing.T) {
	if _, err := Seal(NewKey(), place(), make([]byte, MaxPlaintext+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	key := NewKey()
	sealed, err := Seal(key, place(), []byte("4111111111111111"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for bit := range 8 {
			altered := bytes.Clone(sealed)
			altered[i] ^= 1 << bit
			if _, err := Open(key, place(), altered); err == nil {
				t.Fatalf("byte %d bit %d altered, and it opened", i, bit)
			}
		}
	}
	for n := range sealed {
		if _, err := Open(key, place(), sealed[:n]); err == nil {
			t.Fatalf("cut to %d bytes, and it opened", n)
		}
	}
}

func TestEveryOtherPlaceIsRefused(t *testing.T) {
	key := NewKey()
	sealed, err := Seal(key, place(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(*Context){
		"label":     func(c *Context) { c.Label = "row" },
		"tenant":    func(c *Context) { c.Tenant = "other" },
		"table":     func(c *Context) { c.Table = "other" },
		"partition": func(c *Context) { c.Partition = "other" },
		"row":       func(c *Context) { c.Row = "other" },
		"class":     func(c *Context) { c.Class = "text" },
		"subject":   func(c *Context) { c.Subject = "other" },
		"counter":   func(c *Context) { c.Counter = 6 },
		"shifted":   func(c *Context) { c.Partition, c.Row = "pr", "" },
	}
	for name, change := range changes {
		c := place()
		change(&c)
		if _, err := Open(key, c, sealed); !errors.Is(err, ErrForged) {
			t.Errorf("%s: got %v, want ErrForged", name, err)
		}
	}
}

func TestOtherKeysAreRefused(t *testing.T) {
	key := NewKey()
	sealed, err := Seal(key, place(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(NewKey(), place(), sealed); !errors.Is(err, ErrKey) {
		t.Errorf("other key: %v", err)
	}
	twin, err := KeyFrom(key.ID, NewKey().Material())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(twin, place(), sealed); !errors.Is(err, ErrForged) {
		t.Errorf("other key of the same id: %v", err)
	}
	if _, err := Seal(Key{}, place(), nil); err == nil {
		t.Error("the zero key sealed")
	}
}

// TestKeysDoNotPrint includes the Key in an unexported field, where fmt cannot
// call its methods and prints what it finds by reflection.
func TestKeysDoNotPrint(t *testing.T) {
	// 0xab is easy to find in any encoding below.
	key, err := KeyFrom(KeyID{}, bytes.Repeat([]byte{0xab}, 32))
	if err != nil {
		t.Fatal(err)
	}
	type hidden struct{ key Key }
	type deep struct {
		list []hidden
		m    map[string]Key
		any  any
	}
	held := []any{
		key, &key,
		struct{ K Key }{key},
		hidden{key},
		&hidden{key},
		deep{[]hidden{{key}}, map[string]Key{"k": key}, key},
		[]Key{key},
		[1]*Key{&key},
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t"} {
		for _, value := range held {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		for _, value := range held {
			slog.New(handler).Info("x", "key", value)
		}
	}
	for _, value := range held {
		b, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	fmt.Fprint(&out, fmt.Errorf("wrapped: %v", held))
	for _, leak := range []string{"abab", "ab ab", "ABAB", "AB AB", "171 171", "171,171", "253 253", "\xab", "q6ur", "10101011 10101011", "U+00AB", "«"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output holds %q", leak)
		}
	}
}

func TestTheZeroKeyDoesNothing(t *testing.T) {
	zero := Key{ID: NewKey().ID}
	if !zero.IsZero() || NewKey().IsZero() {
		t.Error("IsZero is wrong")
	}
	if _, err := KeyFrom(KeyID{}, make([]byte, 32)); err == nil {
		t.Error("all zeros were taken for a secret")
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := KeyFrom(KeyID{}, bytes.Repeat([]byte{1}, n)); err == nil {
			t.Errorf("material of %d bytes was taken", n)
		}
	}
	if zero.Material() != nil {
		t.Error("the zero key has material")
	}
	sealed, err := Seal(NewKey(), place(), nil)
	if err != nil {
		t.Fatal(err)
	}
	copy(sealed[offKeyID:], zero.ID[:])
	if _, err := Open(zero, place(), sealed); err == nil {
		t.Error("the zero key opened")
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero key derived a secret that everyone knows")
		}
	}()
	zero.Derive("label", 32)
}

func TestMaterialIsACopy(t *testing.T) {
	mine := bytes.Repeat([]byte{7}, 32)
	key, err := KeyFrom(KeyID{}, mine)
	if err != nil {
		t.Fatal(err)
	}
	clear(mine)
	clear(key.Material())
	if !bytes.Equal(key.Material(), bytes.Repeat([]byte{7}, 32)) {
		t.Error("the caller's wipe reached into the key")
	}
}

func TestDeriveSeparatesLabelsAndParts(t *testing.T) {
	key := NewKey()
	seen := map[string]string{}
	for name, b := range map[string][]byte{
		"a":       key.Derive("a", 32),
		"b":       key.Derive("b", 32),
		"a+x":     key.Derive("a", 32, "x"),
		"a+x+y":   key.Derive("a", 32, "x", "y"),
		"a+xy":    key.Derive("a", 32, "xy"),
		"other a": NewKey().Derive("a", 32),
	} {
		if twin, ok := seen[string(b)]; ok {
			t.Errorf("%s and %s derive the same bytes", name, twin)
		}
		seen[string(b)] = name
	}
	if !bytes.Equal(key.Derive("a", 32, "x"), key.Derive("a", 32, "x")) {
		t.Error("the same derivation gives other bytes")
	}
}

func FuzzOpen(f *testing.F) {
	key := NewKey()
	sealed, err := Seal(key, place(), []byte("seed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:Overhead])
	f.Add([]byte("SAPI\x01\x01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		plaintext, err := Open(key, place(), b)
		if err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened %d bytes that were not sealed: %q", len(b), plaintext)
		}
		if err != nil && (plaintext != nil || err != ErrMalformed && err != ErrKey && err != ErrForged) { //nolint:errorlint // nothing is wrapped around them
			t.Errorf("%d bytes with %v", len(plaintext), err)
		}
		if n, ok := fuzzcheck.Allocates(len(b), func() { _, _ = Open(key, place(), b) }); !ok {
			t.Errorf("opening %d bytes took %d", len(b), n)
		}
	})
}

// FuzzID holds the parser to the drawing: what it takes is exactly the magic,
// the version, the algorithm and the id, in front of at least an empty seal.
func FuzzID(f *testing.F) {
	sealed, err := Seal(NewKey(), place(), []byte("seed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:Overhead])
	f.Add(sealed[:Overhead-1])
	f.Add([]byte("SAPI\x01\x01"))
	f.Add(bytes.Repeat([]byte("SAPI"), 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := ID(b)
		again := append([]byte("SAPI\x01\x01"), id[:]...)
		if want := len(b) >= 114 && bytes.HasPrefix(b, []byte("SAPI\x01\x01")); (err == nil) != want {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err == nil && !bytes.HasPrefix(b, again) {
			t.Error("the parsed header is not the header")
		}
		if err != nil && (id != KeyID{} || !errors.Is(err, ErrMalformed)) {
			t.Errorf("id %x with error %v", id, err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			key, value := NewKey(), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Seal(key, place(), value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			key := NewKey()
			sealed, err := Seal(key, place(), make([]byte, size))
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Open(key, place(), sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
