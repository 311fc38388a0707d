package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// The golden file holds what was written once and opens for ever. Its keys are
// public patterns. Entries are added to it, never changed.
type goldenFile struct {
	Note      string    `json:"note"`
	Envelopes []golden  `json:"envelopes"`
	Derived   []derived `json:"derived"`
}

type golden struct {
	KeyID     []byte  `json:"keyId"`
	Material  []byte  `json:"testVectorMaterial"`
	Context   Context `json:"context"`
	Plaintext string  `json:"plaintext"`
	Sealed    []byte  `json:"sealed"`
}

type derived struct {
	KeyID    []byte   `json:"keyId"`
	Material []byte   `json:"testVectorMaterial"`
	Label    string   `json:"label"`
	Parts    []string `json:"parts"`
	Output   []byte   `json:"output"`
}

func readGolden(t *testing.T) goldenFile {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenFile
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Envelopes) < 5 || len(g.Derived) < 3 {
		t.Fatalf("%d envelopes, %d derivations: entries are gone", len(g.Envelopes), len(g.Derived))
	}
	return g
}

func TestGoldenEnvelopesOpen(t *testing.T) {
	for i, g := range readGolden(t).Envelopes {
		key, err := KeyFrom(KeyID(g.KeyID), g.Material)
		if err != nil {
			t.Fatal(err)
		}
		plaintext, err := Open(key, g.Context, g.Sealed)
		if err != nil || string(plaintext) != g.Plaintext {
			t.Errorf("golden %d: %q, %v", i, plaintext, err)
		}
		if plaintext := openByTheDrawing(t, g.KeyID, g.Material, g.Context, g.Sealed); string(plaintext) != g.Plaintext {
			t.Errorf("golden %d: the package comment's format gives %q", i, plaintext)
		}
	}
}

func TestGoldenDerivationsHold(t *testing.T) {
	for i, g := range readGolden(t).Derived {
		key, err := KeyFrom(KeyID(g.KeyID), g.Material)
		if err != nil {
			t.Fatal(err)
		}
		if got := key.Derive(g.Label, len(g.Output), g.Parts...); !bytes.Equal(got, g.Output) {
			t.Errorf("derivation %d gives %x", i, got)
		}
		info := fields(append([]string{"derive/" + g.Label}, g.Parts...)...)
		if got := hkdfByTheRFC(g.Material, g.KeyID, info, len(g.Output)); !bytes.Equal(got, g.Output) {
			t.Errorf("derivation %d: the comment's format gives %x", i, got)
		}
	}
}

// TestFreshEnvelopesFollowTheDrawing: what is sealed today is what was drawn.
func TestFreshEnvelopesFollowTheDrawing(t *testing.T) {
	key := NewKey()
	sealed, err := Seal(key, place(), []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	if got := openByTheDrawing(t, key.ID[:], key.Material(), place(), sealed); string(got) != "value" {
		t.Errorf("the package comment's format gives %q", got)
	}
	again, err := Seal(key, place(), []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(sealed[22:54], again[22:54]) || bytes.Equal(sealed[54:86], again[54:86]) || bytes.Equal(sealed[86:98], again[86:98]) {
		t.Error("two seals share a salt, a commitment or a nonce")
	}
}

// openByTheDrawing follows the package comment and shares no code with Open.
func openByTheDrawing(t *testing.T, keyID, material []byte, c Context, sealed []byte) []byte {
	t.Helper()
	if !bytes.Equal(sealed[:22], slices.Concat([]byte("SAPI\x01\x01"), keyID)) {
		t.Error("the header is not the drawing's")
	}
	info := fields(c.Label, "secureapi/envelope/v1", c.Tenant, c.Table, c.Class)
	aad := slices.Concat(sealed[:86], fields(c.Label, c.Tenant, c.Table, c.Partition, c.Row, c.Class, c.Subject))
	aad = binary.BigEndian.AppendUint64(aad, c.Counter)
	out := hkdfByTheRFC(material, sealed[22:54], info, 64)
	if !bytes.Equal(out[32:], sealed[54:86]) {
		t.Error("the commitment is not where the drawing has it")
	}
	block, err := aes.NewCipher(out[:32])
	if err != nil {
		t.Fatal(err)
	}
	var plaintext []byte
	// A nonce given by the caller is what this test is about; FIPS mode refuses it.
	fips140.WithoutEnforcement(func() {
		aead, gcmErr := cipher.NewGCM(block)
		if gcmErr != nil {
			t.Fatal(gcmErr)
		}
		plaintext, err = aead.Open(nil, sealed[86:98], sealed[98:], aad)
	})
	if err != nil {
		t.Error(err)
	}
	return plaintext
}

func fields(list ...string) (b []byte) {
	for _, s := range list {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return b
}

// hkdfByTheRFC is RFC 5869, sections 2.2 and 2.3.
func hkdfByTheRFC(secret, salt, info []byte, n int) (okm []byte) {
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(slices.Concat(parts...))
		return h.Sum(nil)
	}
	prk := mac(salt, secret)
	for block, i := []byte(nil), byte(1); len(okm) < n; i++ {
		block = mac(prk, block, info, []byte{i})
		okm = append(okm, block...)
	}
	return okm[:n]
}
