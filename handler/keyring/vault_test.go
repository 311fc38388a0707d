package keyring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"secureapi/handler/memstore"
	"secureapi/handler/rowstore"
)

// wrappingKeys are made once per test binary: RSA-3072 as deployed is slow to
// make. They are never written anywhere.
var wrappingKeys = sync.OnceValues(func() ([]*rsa.PrivateKey, error) {
	keys := make([]*rsa.PrivateKey, 3)
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 3072); err != nil {
			return nil, err
		}
	}
	return keys, nil
})

// testVault is a vault inside the test: real RSA-OAEP-256, real ES256. Its
// fields are what a test bends; change them while nothing runs.
type testVault struct {
	mu    sync.Mutex
	wraps []*rsa.PrivateKey // versions 0, 1, 2 of "kek"; the last enabled is the newest
	upTo  int
	calls map[string]int

	signName    string
	signVersion string
	sign        *ecdsa.PrivateKey

	down   error
	newest *KeyRef // what Newest says, where it is not the truth
	wrap   func(plaintext []byte) []byte
	signed func(raw []byte) []byte
}

func newTestVault(t testing.TB) *testVault {
	t.Helper()
	keys, err := wrappingKeys()
	if err != nil {
		t.Fatal(err)
	}
	sign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &testVault{
		wraps: keys, upTo: 1, calls: map[string]int{},
		signName: DefaultSignName, signVersion: "5160000000000000000000000000516a", sign: sign,
	}
}

func wrapRef(version int) KeyRef {
	return KeyRef{Name: "kek", Version: fmt.Sprintf("%032x", version)}
}

func (v *testVault) called(what string) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls[what]++
	return v.upTo - 1, v.down
}

func (v *testVault) total() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, calls := range v.calls {
		n += calls
	}
	return n
}

func (v *testVault) addVersion() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.upTo++
}

func (v *testVault) Newest(context.Context) (KeyRef, error) {
	newest, err := v.called("newest")
	if v.newest != nil {
		return *v.newest, err
	}
	return wrapRef(newest), err
}

func (v *testVault) Wrap(_ context.Context, plaintext []byte) (KeyRef, []byte, error) {
	newest, err := v.called("wrap")
	if err != nil {
		return KeyRef{}, nil, err
	}
	if v.wrap != nil {
		plaintext = v.wrap(plaintext)
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &v.wraps[newest].PublicKey, plaintext, nil)
	return wrapRef(newest), wrapped, err
}

func (v *testVault) Unwrap(_ context.Context, ref KeyRef, wrapped []byte) ([]byte, error) {
	newest, err := v.called("unwrap")
	if err != nil {
		return nil, err
	}
	for version := range newest + 1 {
		if ref == wrapRef(version) {
			return v.wraps[version].Decrypt(nil, wrapped, &rsa.OAEPOptions{Hash: crypto.SHA256})
		}
	}
	return nil, errors.New("no such version")
}

func (v *testVault) signRef() KeyRef {
	return KeyRef{Name: v.signName, Version: v.signVersion}
}

func (v *testVault) Sign(_ context.Context, digest []byte) (KeyRef, []byte, error) {
	if _, err := v.called("sign"); err != nil {
		return KeyRef{}, nil, err
	}
	r, s, err := ecdsa.Sign(rand.Reader, v.sign, digest)
	if err != nil {
		return KeyRef{}, nil, err
	}
	size := (v.sign.Params().BitSize + 7) / 8
	raw := make([]byte, 2*size)
	r.FillBytes(raw[:size])
	s.FillBytes(raw[size:])
	if v.signed != nil {
		raw = v.signed(raw)
	}
	return v.signRef(), raw, nil
}

// PublicKey trusts whoever asks: the package under test must not.
func (v *testVault) PublicKey(context.Context, KeyRef) (*ecdsa.PublicKey, error) {
	_, err := v.called("public")
	return &v.sign.PublicKey, err
}

// bench is one keyring on one table: a test's workplace.
type bench struct {
	t     testing.TB
	store *memstore.Store
	vault *testVault
	ring  *Keyring

	mu     sync.Mutex
	now    time.Time
	alarms []error
}

// newBench makes a bootstrapped keyring that has loaded once.
func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, store: memstore.New(), vault: newTestVault(t), now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	if created, err := Bootstrap(t.Context(), b.options()); err != nil || !created {
		t.Fatalf("bootstrap: %v, %v", created, err)
	}
	b.ring = b.process()
	if err := b.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) options() Options {
	return Options{
		Store: b.store, Wrapper: b.vault, Signer: b.vault, Logger: slog.New(slog.DiscardHandler), Clock: b.clock,
		Alarm: func(_ context.Context, err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.alarms = append(b.alarms, err)
		},
	}
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bench) alarmCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.alarms)
}

// process is a new handler process on the same table and vault.
func (b *bench) process() *Keyring {
	b.t.Helper()
	k, err := New(b.options())
	if err != nil {
		b.t.Fatal(err)
	}
	return k
}

func (b *bench) keys() *Keys {
	b.t.Helper()
	keys, err := b.ring.ForWrite(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return keys
}

// rows reads the table's generations without believing them.
func (b *bench) rows() []*generationRow {
	b.t.Helper()
	rows, err := readRows(b.t.Context(), b.store)
	if err != nil {
		b.t.Fatal(err)
	}
	return rows
}

// plant signs a document with the real key and puts it into the table: what
// an honest but wrong writer, or the replay of a lost row, would leave there.
func (b *bench) plant(d generation) *generationRow {
	b.t.Helper()
	document, err := marshalDocument(d)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.plantBytes(document)
}

func (b *bench) plantBytes(document []byte) *generationRow {
	b.t.Helper()
	by, value, err := b.vault.Sign(b.t.Context(), digest(document))
	if err != nil {
		b.t.Fatal(err)
	}
	body := mustJSON(b.t, signedRow{Document: document, Signature: signature{By: by, Value: value}})
	row := rowstore.Row{Partition: partition, Key: keyOf(b.t, document), Body: body}
	row.Version = b.store.Plant(row)
	parsed, err := parseRow(row)
	if err != nil {
		return nil
	}
	return parsed
}

// addGeneration writes a further generation as a rotation would: the current
// one begins to drain, the new one seals the same standing secrets.
func (b *bench) addGeneration(change func(d *generation, s *secrets)) {
	b.t.Helper()
	rows := b.rows()
	last := rows[len(rows)-1]
	old := last.document
	root, err := b.vault.Unwrap(b.t.Context(), old.WrappedBy, old.Root)
	if err != nil {
		b.t.Fatal(err)
	}
	s := openSecrets(b.t, old, root)
	if _, err := rand.Read(root); err != nil {
		b.t.Fatal(err)
	}
	next := generation{
		Format: format, Generation: old.Generation + 1, State: stateCurrent, Counter: 1,
		WrappingID: bytes.Repeat([]byte{byte(old.Generation)}, 16), Created: b.clock(), Updated: b.clock(),
	}
	if change != nil {
		change(&next, &s)
	}
	if next.Secrets, err = sealSecrets(next, root, s); err != nil {
		b.t.Fatal(err)
	}
	if next.WrappedBy, next.Root, err = b.vault.Wrap(b.t.Context(), root); err != nil {
		b.t.Fatal(err)
	}
	hash := last.hash()
	old.State, old.Counter, old.Previous = stateDraining, old.Counter+1, hash[:]
	b.plant(old)
	b.plant(next)
}
