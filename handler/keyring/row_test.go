package keyring

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"secureapi/handler/envelope"
	"secureapi/handler/rowstore"
)

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keyOf is the row key that a document claims, 0 where it claims none.
func keyOf(t testing.TB, document []byte) string {
	t.Helper()
	var d struct {
		Generation uint32 `json:"generation"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return rowKey(0)
	}
	return rowKey(d.Generation)
}

func openSecrets(t testing.TB, d generation, root []byte) secrets {
	t.Helper()
	key, _, err := rootKeys(d.WrappingID, root)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := envelope.Open(key, secretsContext(d.Generation), d.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	var s secrets
	if err := json.Unmarshal(plaintext, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// pattern is a public test vector: one byte, repeated.
func pattern(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func goldenDocument() generation {
	return generation{
		Format: format, Generation: 7, State: stateDraining, Counter: 3,
		WrappedBy: KeyRef{Name: "kek", Version: "0123456789abcdef0123456789abcdef"},
		Root:      pattern(1, 384), WrappingID: pattern(2, 16), Secrets: pattern(3, 200), Previous: pattern(4, 32),
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Updated: time.Date(2027, 11, 12, 13, 14, 15, 0, time.UTC),
	}
}

// TestGoldenDocument: the bytes that are signed, and what of them is signed.
// Every row ever written must verify and parse for ever.
func TestGoldenDocument(t *testing.T) {
	want, err := os.ReadFile("testdata/row.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.TrimSuffix(want, []byte("\n"))
	got, err := marshalDocument(goldenDocument())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the signed bytes changed (-golden +now):\n%s", diff)
	}
	const signed = "79414c93cad97324e58f3e45df92df5fc6efd155dca145e058fdf06b0debcd1b"
	if sum := hex.EncodeToString(digest(want)); sum != signed {
		t.Errorf("the signed digest changed: %s", sum)
	}
	byHand := sha256.Sum256(append([]byte("secureapi/keyring/v1\x00"), want...))
	if !bytes.Equal(byHand[:], digest(want)) {
		t.Error("the digest is not SHA-256 over label, NUL, document")
	}
	row := rowstore.Row{
		Key:  "gen|0000000007",
		Body: mustJSON(t, signedRow{Document: want, Signature: signature{By: KeyRef{Name: "sign", Version: "0a"}, Value: pattern(5, 64)}}),
	}
	parsed, err := parseRow(row)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenDocument(), parsed.document); diff != "" {
		t.Error(diff)
	}
}

// goldenGeneration is what the vault's root key protects, under a root and
// standing secrets that are public patterns: a test vector, a key of no system.
type goldenGeneration struct {
	Note        string `json:"note"`
	Generation  uint32 `json:"generation"`
	Root        []byte `json:"testVectorRoot"`
	WrappingID  []byte `json:"wrappingId"`
	Secrets     []byte `json:"secrets"`
	Tenant      string `json:"tenant"`
	Subject     string `json:"subject"`
	SubjectHash string `json:"subjectHash"`
	Token       string `json:"token"`
	TokenHash   string `json:"tokenHash"`
	Pseudonym   string `json:"pseudonym"`
	Digest      string `json:"digest"`
	AuditMAC    []byte `json:"auditMac"`
	SubjectKey  []byte `json:"testVectorSubjectKey"`
	Wrapped     []byte `json:"wrappedSubjectKey"`
}

func readGoldenGeneration(t *testing.T) goldenGeneration {
	t.Helper()
	b, err := os.ReadFile("testdata/generation.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenGeneration
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGoldenGeneration: the sealed secrets and subject keys of before open, and
// the hashes that stand in row keys of before come out the same.
func TestGoldenGeneration(t *testing.T) {
	g := readGoldenGeneration(t)
	row := &generationRow{document: generation{Generation: g.Generation, WrappingID: g.WrappingID, Secrets: g.Secrets}}
	one, err := openGeneration(row, g.Root)
	if err != nil {
		t.Fatal(err)
	}
	keys := &Keys{
		generations: []*opened{one}, standing: one.standing,
		wrapping: map[envelope.KeyID]envelope.Key{one.wrapping.ID: one.wrapping},
	}
	sum := keys.Digest("request", []byte(g.Tenant), nil, []byte("body"))
	key, err := keys.OpenSubjectKey(g.Tenant, g.SubjectHash, g.Wrapped)
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"subject hash":    {g.SubjectHash, keys.SubjectHash(g.Tenant, g.Subject)},
		"token hash":      {g.TokenHash, keys.TokenHash(g.Tenant, g.Token)},
		"pseudonym":       {g.Pseudonym, keys.Pseudonym("absent token", g.Tenant, g.Token)},
		"digest":          {g.Digest, hex.EncodeToString(sum[:])},
		"audit MAC":       {string(g.AuditMAC), string(keys.AuditMAC())},
		"subject key":     {string(g.SubjectKey), string(append(key.ID[:], key.Material()...))},
		"row-seal key":    {string(pattern(0x13, 32)), string(keys.RowSeal().Material())},
		"message key":     {string(pattern(0x14, 32)), string(keys.Message().Material())},
		"cursor key":      {string(pattern(0x16, 32)), string(keys.Cursor().Material())},
		"row-seal key id": {string(pattern(0x23, 16)), string(idOf(keys.RowSeal()))},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %x, golden %x", what, pair[1], pair[0])
		}
	}
}

func idOf(k envelope.Key) []byte { return k.ID[:] }

// TestDerivationsFollowTheComments computes them again with HMAC alone.
func TestDerivationsFollowTheComments(t *testing.T) {
	g := readGoldenGeneration(t)
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(slices.Concat(parts...))
		return h.Sum(nil)
	}
	field := func(s string) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	// HKDF-SHA256 (RFC 5869) for one block, with the key id as salt.
	derive := func(id, material []byte, label string) []byte {
		return mac(mac(id, material), field("derive/"+label), []byte{1})
	}
	locator := derive(pattern(0x21, 16), pattern(0x11, 32), "locator")
	pseudonym := derive(pattern(0x25, 16), pattern(0x15, 32), "pseudonym")
	for what, pair := range map[string][2]string{
		"subject hash": {g.SubjectHash, hex.EncodeToString(mac(locator, field("subject"), field(g.Tenant), field(g.Subject)))},
		"token hash":   {g.TokenHash, hex.EncodeToString(mac(locator, field("token"), field(g.Tenant), field(g.Token)))},
		"digest":       {g.Digest, hex.EncodeToString(mac(locator, field("digest/request"), field(g.Tenant), field(""), field("body")))},
		"pseudonym": {
			g.Pseudonym,
			hex.EncodeToString(mac(pseudonym, field("pseudonym"), field("absent token"), field(g.Tenant), field(g.Token)))[:32],
		},
		"audit MAC": {string(g.AuditMAC), string(derive(pattern(0x27, 16), pattern(0x17, 32), "audit MAC"))},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: golden %x, by hand %x", what, pair[0], pair[1])
		}
	}
	wrapping, err := envelope.KeyFrom(envelope.KeyID(g.WrappingID), derive(g.WrappingID, g.Root, "subject wrapping"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := envelope.Open(wrapping,
		envelope.Context{Label: "subject key", Tenant: g.Tenant, Subject: g.SubjectHash}, g.Wrapped)
	if err != nil || !bytes.Equal(opened, g.SubjectKey) {
		t.Errorf("the wrapped subject key gives %x, %v", opened, err)
	}
}

func TestImpossibleDocumentsAreForged(t *testing.T) {
	for name, change := range map[string]func(*generation){
		"format":              func(d *generation) { d.Format = "secureapi/keyring/v2" },
		"no format":           func(d *generation) { d.Format = "" },
		"counter zero":        func(d *generation) { d.Counter = 0 },
		"counter over 2^53":   func(d *generation) { d.Counter = 1 << 53 },
		"no wrapping id":      func(d *generation) { d.WrappingID = nil },
		"long wrapping id":    func(d *generation) { d.WrappingID = pattern(2, 17) },
		"no previous":         func(d *generation) { d.Previous = nil },
		"short previous":      func(d *generation) { d.Previous = pattern(4, 31) },
		"previous of a first": func(d *generation) { d.Counter = 1 },
		"another generation":  func(d *generation) { d.Generation = 8 },
	} {
		d := goldenDocument()
		change(&d)
		document, err := marshalDocument(d)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parseRow(rowstore.Row{Key: rowKey(7), Body: mustJSON(t, signedRow{Document: document})})
		if !errors.Is(err, ErrForged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := parseRow(rowstore.Row{Key: rowKey(7), Body: make([]byte, maxRow+1)}); !errors.Is(err, ErrForged) {
		t.Errorf("too large: %v", err)
	}
}

// FuzzParseRow: whatever stands in the table, it is a row or ErrForged; and a
// row's document, written again, is the same document.
func FuzzParseRow(f *testing.F) {
	document, err := marshalDocument(goldenDocument())
	if err != nil {
		f.Fatal(err)
	}
	body := mustJSON(f, signedRow{Document: document, Signature: signature{By: KeyRef{Name: "sign", Version: "0a"}, Value: pattern(5, 64)}})
	f.Add(rowKey(7), body)
	f.Add(rowKey(7), bytes.Replace(body, []byte(`"signature"`), []byte(`"Signature"`), 1))
	f.Add(rowKey(7), []byte(`{"document":"e30=","signature":{}}`))
	f.Add("gen|", []byte(`{"document":null}`))
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		row, err := parseRow(rowstore.Row{Key: key, Body: body})
		if err != nil {
			if !errors.Is(err, ErrForged) {
				t.Errorf("got %v", err)
			}
			return
		}
		again, err := marshalDocument(row.document)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parseRow(rowstore.Row{Key: key, Body: mustJSON(t, signedRow{Document: again, Signature: row.signature})})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.document, parsed.document); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzDocument reaches the inner document, which the outer one has in base64.
func FuzzDocument(f *testing.F) {
	document, err := marshalDocument(goldenDocument())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Add([]byte(`{"format":"secureapi/keyring/v1","generation":1,"counter":1}`))
	f.Add([]byte(`{"format":"secureapi/keyring/v1","format":"x"}`))
	f.Add([]byte(`{"created":"2026-13-01T00:00:00Z"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, document []byte) {
		row, err := parseRow(rowstore.Row{Key: keyOf(t, document), Body: mustJSON(t, signedRow{Document: document})})
		if err == nil && row.document.Format != format {
			t.Error("a document of another format")
		}
		if err != nil && !errors.Is(err, ErrForged) {
			t.Errorf("got %v", err)
		}
	})
}
