package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
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

func TestKeysDoNotPrint(t *testing.T) {
	// 0xab is easy to find in any encoding below.
	key, err := KeyFrom(KeyID{}, bytes.Repeat([]byte{0xab}, 32))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb, key)
		fmt.Fprintf(&out, verb, &key)
		fmt.Fprintf(&out, verb, struct{ K Key }{key})
		fmt.Fprintf(&out, verb, struct{ k Key }{key})
		fmt.Fprintf(&out, verb, &struct{ k *Key }{&key})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", key)
	b, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	for _, leak := range []string{"abab", "ABAB", "171", "\xab", "q6ur"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output holds %q: %s", leak, out.String())
		}
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

// golden is an envelope written once; it opens for ever. Its key is a public
// test vector, a pattern that no system uses.
type golden struct {
	KeyID     []byte  `json:"keyId"`
	Material  []byte  `json:"testVectorMaterial"`
	Context   Context `json:"context"`
	Plaintext string  `json:"plaintext"`
	Sealed    []byte  `json:"sealed"`
}

func TestGoldenEnvelopesOpen(t *testing.T) {
	const file = "testdata/golden.json"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []golden
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no golden envelopes")
	}
	for i, g := range list {
		key, err := KeyFrom(KeyID(g.KeyID), g.Material)
		if err != nil {
			t.Fatal(err)
		}
		plaintext, err := Open(key, g.Context, g.Sealed)
		if err != nil || string(plaintext) != g.Plaintext {
			t.Errorf("golden %d: %q, %v", i, plaintext, err)
		}
		if plaintext := openByTheDrawing(t, g); string(plaintext) != g.Plaintext {
			t.Errorf("golden %d: the package comment's format gives %q", i, plaintext)
		}
	}
}

// openByTheDrawing follows the package comment and shares no code with Open.
func openByTheDrawing(t *testing.T, g golden) []byte {
	t.Helper()
	field := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	c := g.Context
	var info, aad []byte
	for _, s := range []string{c.Label, "secureapi/envelope/v1", c.Tenant, c.Table, c.Class} {
		info = field(info, s)
	}
	aad = append(aad, g.Sealed[:86]...)
	for _, s := range []string{c.Label, c.Tenant, c.Table, c.Partition, c.Row, c.Class, c.Subject} {
		aad = field(aad, s)
	}
	aad = binary.BigEndian.AppendUint64(aad, c.Counter)
	derived, err := hkdf.Key(sha256.New, g.Material, g.Sealed[22:54], string(info), 64)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(derived[32:], g.Sealed[54:86]) {
		t.Error("the commitment is not where the drawing has it")
	}
	block, err := aes.NewCipher(derived[:32])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := aead.Open(nil, g.Sealed[86:98], g.Sealed[98:], aad)
	if err != nil {
		t.Error(err)
	}
	return plaintext
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
	f.Fuzz(func(t *testing.T, b []byte) {
		plaintext, err := Open(key, place(), b)
		if err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("opened %d bytes that were not sealed: %q", len(b), plaintext)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	key, value := NewKey(), []byte("4111111111111111")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal(key, place(), value); err != nil {
			b.Fatal(err)
		}
	}
}
