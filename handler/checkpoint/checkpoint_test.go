package checkpoint_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/checkpoint"
)

const origin = "log.example/checkpoints"

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// rawSign signs as Key Vault does.
func rawSign(t testing.TB, key *ecdsa.PrivateKey, digest []byte) []byte {
	t.Helper()
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return raw
}

func signed(t testing.TB, key *ecdsa.PrivateKey, size int64) []byte {
	t.Helper()
	tree := tlog.Tree{N: size, Hash: tlog.RecordHash([]byte("a leaf"))}
	c, err := checkpoint.Sign(origin, tree, &key.PublicKey, rawSign(t, key, checkpoint.Digest(origin, tree)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSignedCheckpointsVerify(t *testing.T) {
	key, other := newKey(t), newKey(t)
	for range 64 { // lengths of r and s differ
		c, err := checkpoint.Parse(signed(t, key, 1<<40))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Verify(&other.PublicKey, &key.PublicKey, &key.PublicKey); err != nil {
			t.Fatal(err)
		}
		if c.Origin != origin || c.Tree.N != 1<<40 {
			t.Errorf("%+v", c)
		}
		if err := c.Verify(&other.PublicKey); !errors.Is(err, checkpoint.ErrSignature) {
			t.Errorf("by another key: %v", err)
		}
		if err := c.Verify(); !errors.Is(err, checkpoint.ErrSignature) {
			t.Errorf("by no key: %v", err)
		}
		c.Tree.N++
		if err := c.Verify(&key.PublicKey); !errors.Is(err, checkpoint.ErrSignature) {
			t.Errorf("of another size: %v", err)
		}
	}
}

// The key id and the signature are those of C2SP's ECDSA type, computed here by
// hand from its text.
func TestKeyIDAndSignatureAreTheStandards(t *testing.T) {
	key := newKey(t)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	b := signed(t, key, 7)
	text, line, _ := strings.Cut(string(b), "\n\n")
	fields := strings.Fields(strings.TrimPrefix(line, "— "))
	signature, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(text + "\n"))
	if fields[0] != origin || !bytes.Equal(signature[:4], sum[:4]) || !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature[4:]) {
		t.Errorf("not in the standard's form: %s", b)
	}
	vkey, err := checkpoint.VerifierKey(origin, &key.PublicKey)
	parts := strings.SplitN(vkey, "+", 3)
	encoded, decodeErr := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || decodeErr != nil || parts[0] != origin || !bytes.Equal(encoded, append([]byte{2}, der...)) {
		t.Errorf("verifier key %q", vkey)
	}
	if id, err := strconv.ParseUint(parts[1], 16, 32); err != nil || id != uint64(binary.BigEndian.Uint32(sum[:])) {
		t.Errorf("key id %q", parts[1])
	}
}

func TestWhatIsNoCheckpointIsRefused(t *testing.T) {
	key := newKey(t)
	good := string(signed(t, key, 12))
	unsigned, _, _ := strings.Cut(good, "—")
	for name, bad := range map[string]string{
		"nothing":           "",
		"no signature":      unsigned,
		"leading zero":      strings.Replace(good, "\n12\n", "\n012\n", 1),
		"plus sign":         strings.Replace(good, "\n12\n", "\n+12\n", 1),
		"negative":          strings.Replace(good, "\n12\n", "\n-12\n", 1),
		"too large":         strings.Replace(good, "\n12\n", "\n9223372036854775808\n", 1),
		"extension line":    strings.Replace(good, "\n12\n", "\n12\n12\n", 1),
		"carriage return":   strings.Replace(good, "\n12\n", "\r\n12\r\n", 1),
		"origin with space": strings.Replace(good, origin, "log example", 1),
		"trailing bytes":    good + "\n",
		"short root":        strings.Replace(good, "=\n\n", "\n\n", 1),
		"oversized":         good + strings.Repeat("— x AAAAAAAA\n", 10000),
	} {
		if _, err := checkpoint.Parse([]byte(bad)); !errors.Is(err, checkpoint.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := checkpoint.Parse([]byte(good)); err != nil {
		t.Error(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tree := tlog.Tree{N: 1}
	for name, try := range map[string]func() error{
		"key on P-384":     func() error { _, err := checkpoint.KeyID(&p384.PublicKey); return err },
		"no key":           func() error { _, err := checkpoint.VerifierKey(origin, nil); return err },
		"short signature":  func() error { _, err := checkpoint.Sign(origin, tree, &key.PublicKey, make([]byte, 63)); return err },
		"zero signature":   func() error { _, err := checkpoint.Sign(origin, tree, &key.PublicKey, make([]byte, 64)); return err },
		"origin with plus": func() error { _, err := checkpoint.Sign("a+b", tree, &key.PublicKey, make([]byte, 64)); return err },
	} {
		if err := try(); !errors.Is(err, checkpoint.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A signature beside ours, as a witness adds, is kept and is no obstacle.
func TestAWitnessMayCosign(t *testing.T) {
	key := newKey(t)
	skey, vkey, err := note.GenerateKey(rand.Reader, "witness.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Parse(signed(t, key, 3))
	if err != nil {
		t.Fatal(err)
	}
	b, err := note.Sign(&note.Note{Text: checkpoint.Text(c.Origin, c.Tree), Sigs: c.Signatures}, signer)
	if err != nil {
		t.Fatal(err)
	}
	again, err := checkpoint.Parse(b)
	if err != nil || again.Verify(&key.PublicKey) != nil {
		t.Fatalf("with a cosignature: %v", err)
	}
	witness, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(b, note.VerifierList(witness)); err != nil {
		t.Error(err)
	}
}

// golden is what was published once.
type golden struct {
	PublicKey []byte `json:"publicKey"` // DER SubjectPublicKeyInfo
	Note      string `json:"note"`
	Size      int64  `json:"size"`
	Root      []byte `json:"root"`
}

const goldenFile = "testdata/golden.json"

// The golden file must verify for ever. It is made once, with a key that is
// thrown away: GOLDEN=1 go test -run Golden writes it where there is none.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile(goldenFile)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("GOLDEN") != "" {
		text = makeGolden(t)
	} else if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKIXPublicKey(g.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Parse([]byte(g.Note))
	if err != nil {
		t.Fatal(err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("the golden key is a %T", parsed)
	}
	if err := c.Verify(key); err != nil {
		t.Error(err)
	}
	if c.Tree.N != g.Size || !bytes.Equal(c.Tree.Hash[:], g.Root) {
		t.Errorf("golden checkpoint reads as %+v", c.Tree)
	}
}

func makeGolden(t *testing.T) []byte {
	t.Helper()
	key := newKey(t)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	root := tlog.RecordHash([]byte("a leaf"))
	text, err := json.MarshalIndent(golden{PublicKey: der, Note: string(signed(t, key, 123456)), Size: 123456, Root: root[:]}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenFile, append(text, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzParse: what parses is written as it came, and never verifies by a key
// that did not sign it.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(g.Note))
	f.Add([]byte(g.Note + "— witness.example AAAAAAAA\n"))
	f.Add([]byte(strings.Replace(g.Note, "123456", "0", 1)))
	f.Add([]byte("a\n1\nAAAA\n\n— a AAAAAAA=\n"))
	stranger := newKey(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := checkpoint.Parse(b)
		if err != nil {
			return
		}
		again, err := c.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q became %q, %v", b, again, err)
		}
		if c.Verify(&stranger.PublicKey) == nil {
			t.Errorf("%q verifies by a stranger's key", b)
		}
	})
}
