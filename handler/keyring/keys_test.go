package keyring

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"secureapi/handler/envelope"
)

// TestKeysDoNotPrint looks for every secret of a real keyring in everything
// that prints, in the encodings that printing uses.
func TestKeysDoNotPrint(t *testing.T) {
	b := newBench(t)
	keys := b.keys()
	row := b.rows()[0].document
	root, err := b.vault.Unwrap(t.Context(), row.WrappedBy, row.Root)
	if err != nil {
		t.Fatal(err)
	}
	s := openSecrets(t, row, root)
	hidden := [][]byte{root, keys.AuditMAC(), keys.current().wrapping.Material()}
	for _, one := range s.all() {
		hidden = append(hidden, one.Material)
	}
	type holder struct{ keys *Keys }
	type copied struct{ keys Keys }
	held := []any{keys, *keys, holder{keys}, &holder{keys}, copied{*keys}, b.ring, []*Keys{keys}, keys.standing, keys.RowSeal()}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, value := range held {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("x", "keys", keys, "copy", *keys, "holder", holder{keys})
	}
	for _, value := range []any{keys, *keys, holder{keys}, keys.RowSeal()} {
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
	}
	text := out.String()
	for i, secret := range hidden {
		for _, form := range []string{
			string(secret[:8:8]), hex.EncodeToString(secret[:8]), strings.ToUpper(hex.EncodeToString(secret[:8])),
			strings.Trim(fmt.Sprintf("%d", secret[:8]), "[]"), strings.Trim(fmt.Sprintf("%#v", secret[:8]), "[]byte{}"),
		} {
			if strings.Contains(text, form) {
				t.Errorf("secret %d is in the output as %q", i, form)
			}
		}
	}
}

func TestAuditMACIsACopy(t *testing.T) {
	keys := newBench(t).keys()
	want := keys.AuditMAC()
	clear(keys.AuditMAC())
	if !bytes.Equal(keys.AuditMAC(), want) || len(want) != 32 {
		t.Error("a caller's wipe reached into the keys")
	}
}

func TestSubjectKeysAreBoundToTheirSubject(t *testing.T) {
	b := newBench(t)
	keys := b.keys()
	hash := keys.SubjectHash("t", "s")
	key, wrapped, err := keys.NewSubjectKey("t", hash)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := keys.NewSubjectKey("t", hash)
	if err != nil || second.ID == key.ID || bytes.Equal(second.Material(), key.Material()) {
		t.Errorf("two subject keys are one, %v", err)
	}
	opened, err := keys.OpenSubjectKey("t", hash, wrapped)
	if err != nil || opened.ID != key.ID || !bytes.Equal(opened.Material(), key.Material()) {
		t.Errorf("opened %v, %v", opened.ID, err)
	}
	if bytes.Contains(wrapped, key.Material()[:8]) || bytes.Contains(wrapped, key.ID[:]) {
		t.Error("the wrapped key shows what is in it")
	}
	seal := func(c envelope.Context, plaintext []byte) []byte {
		sealed, err := envelope.Seal(keys.current().wrapping, c, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	altered := bytes.Clone(wrapped)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		tenant, hash string
		wrapped      []byte
		want         error
	}{
		"another tenant":  {"u", hash, wrapped, envelope.ErrForged},
		"another subject": {"t", keys.SubjectHash("t", "r"), wrapped, envelope.ErrForged},
		"altered":         {"t", hash, altered, envelope.ErrForged},
		"cut":             {"t", hash, wrapped[:30], envelope.ErrMalformed},
		"nothing":         {"t", hash, nil, envelope.ErrMalformed},
		"another keyring": {"t", hash, newBench(t).wrap("t", hash), ErrUnknownKey},
		"too short":       {"t", hash, seal(subjectContext("t", hash), pattern(1, 15)), envelope.ErrMalformed},
		"no material":     {"t", hash, seal(subjectContext("t", hash), pattern(1, 16)), envelope.ErrMalformed},
		"too long":        {"t", hash, seal(subjectContext("t", hash), pattern(1, 49)), envelope.ErrMalformed},
		"all zeros":       {"t", hash, seal(subjectContext("t", hash), make([]byte, 48)), envelope.ErrMalformed},
	} {
		key, err := keys.OpenSubjectKey(c.tenant, c.hash, c.wrapped)
		if !errors.Is(err, c.want) || !key.IsZero() {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func (b *bench) wrap(tenant, hash string) []byte {
	b.t.Helper()
	_, wrapped, err := b.keys().NewSubjectKey(tenant, hash)
	if err != nil {
		b.t.Fatal(err)
	}
	return wrapped
}

// TestPropertyHashesAreInjective: no two lists of arguments and no two kinds
// of hash agree, however text moves from one argument to the next.
func TestPropertyHashesAreInjective(t *testing.T) {
	keys := newBench(t).keys()
	text := rapid.StringMatching(`[ab\x00]{0,3}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		c, d := text.Draw(t, "c"), text.Draw(t, "d")
		same := a == c && b == d
		if (keys.SubjectHash(a, b) == keys.SubjectHash(c, d)) != same ||
			(keys.TokenHash(a, b) == keys.TokenHash(c, d)) != same ||
			(keys.Pseudonym(a, b) == keys.Pseudonym(c, d)) != same ||
			(keys.Digest("l", []byte(a), []byte(b)) == keys.Digest("l", []byte(c), []byte(d))) != same {
			t.Fatalf("%q %q and %q %q", a, b, c, d)
		}
		sum := keys.Digest("l", []byte(a), []byte(b))
		all := map[string]bool{
			keys.SubjectHash(a, b): true, keys.TokenHash(a, b): true, hex.EncodeToString(sum[:]): true,
			keys.Pseudonym(a, b): true, keys.Pseudonym(a + b): true, keys.Pseudonym(a, b, ""): true,
		}
		if len(all) != 6 {
			t.Fatalf("two kinds of hash of %q %q agree", a, b)
		}
	})
}

// TestHashesAreSafeForConcurrentUse: pooled states keep nothing of the call
// before, large ones included. Meant for -race.
func TestHashesAreSafeForConcurrentUse(t *testing.T) {
	keys := newBench(t).keys()
	large := strings.Repeat("x", 2*maxPooled)
	want := map[string]string{}
	for i := range 20 {
		token := fmt.Sprint("token", i)
		want[token] = keys.TokenHash("t", token)
	}
	wantLarge := keys.Digest("l", []byte(large))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				for token, hash := range want {
					if keys.TokenHash("t", token) != hash {
						t.Error("a hash changed")
						return
					}
				}
				if keys.Digest("l", []byte(large)) != wantLarge {
					t.Error("a digest changed")
				}
			}
		})
	}
	group.Wait()
}

func FuzzOpenSubjectKey(f *testing.F) {
	b := newBench(f)
	keys := b.keys()
	f.Add(b.wrap("t", "h"))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte("SAPI\x01\x01"), 40))
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		key, err := keys.OpenSubjectKey("t", "other", wrapped)
		if err == nil || !key.IsZero() {
			t.Error("opened what was never sealed for this subject")
		}
	})
}

func BenchmarkHashes(b *testing.B) {
	keys := newBench(b).keys()
	const tenant, token = "72f988bf-86f1-41af-91ab-2d7cd011db47", "tok_eml_0123456789abcdefghjkmnpqrstvwxyz"
	b.Run("TokenHash", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			keys.TokenHash(tenant, token)
		}
	})
	b.Run("Digest", func(b *testing.B) {
		b.ReportAllocs()
		body := []byte(token)
		for b.Loop() {
			keys.Digest("request", body)
		}
	})
	b.Run("ForWrite", func(b *testing.B) {
		bench := newBench(b)
		b.ReportAllocs()
		for b.Loop() {
			bench.keys()
		}
	})
	b.Run("NewSubjectKey", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := keys.NewSubjectKey(tenant, token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
