package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"secureapi/handler/envelope"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/rowstore"
)

const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"

type world struct {
	store *memstore.Store
	vault *memvault.Vault

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	return &world{store: memstore.New(), vault: vault, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) options() keyring.Options {
	return keyring.Options{
		Store: w.store, Wrapper: w.vault, Signer: w.vault, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) bootstrap(t *testing.T) {
	t.Helper()
	if created, err := keyring.Bootstrap(t.Context(), w.options()); err != nil || !created {
		t.Fatalf("bootstrap: %v, %v", created, err)
	}
}

// process is a new handler process on the world's storage.
func (w *world) process(t *testing.T) *keyring.Keyring {
	t.Helper()
	k, err := keyring.New(w.options())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keysOf(t *testing.T, k *keyring.Keyring) *keyring.Keys {
	t.Helper()
	keys, err := k.ForWrite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestAMissingKeyringIsNeverMade(t *testing.T) {
	w := newWorld(t)
	k := w.process(t)
	if err := k.Load(t.Context()); !errors.Is(err, keyring.ErrMissing) {
		t.Errorf("load: %v", err)
	}
	if _, err := k.ForRead(t.Context()); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("read: %v", err)
	}
	if rows := w.store.All(); len(rows) != 0 {
		t.Errorf("%d rows were made", len(rows))
	}
}

func TestBootstrapMakesOneGenerationUnderRace(t *testing.T) {
	w := newWorld(t)
	var created sync.Map
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			made, err := keyring.Bootstrap(t.Context(), w.options())
			if err != nil {
				t.Error(err)
			}
			if made {
				created.Store(i, true)
			}
		})
	}
	group.Wait()
	makers := 0
	created.Range(func(any, any) bool { makers++; return true })
	if rows := w.store.All(); makers != 1 || len(rows) != 1 {
		t.Errorf("%d made it, %d rows", makers, len(rows))
	}
}

func TestProcessesShareTheKeys(t *testing.T) {
	w := newWorld(t)
	w.bootstrap(t)
	a, b := keysOf(t, w.process(t)), keysOf(t, w.process(t))
	hash := a.SubjectHash(tenant, "customer-1")
	if hash != b.SubjectHash(tenant, "customer-1") || len(hash) != 64 {
		t.Errorf("hash %q", hash)
	}
	if a.TokenHash(tenant, "customer-1") == hash || a.SubjectHash("other", "customer-1") == hash {
		t.Error("labels or tenants are not separated")
	}
	key, wrapped, err := a.NewSubjectKey(tenant, hash)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := b.OpenSubjectKey(tenant, hash, wrapped)
	if err != nil || opened.ID != key.ID || !bytes.Equal(opened.Material(), key.Material()) {
		t.Errorf("opened another key, %v", err)
	}
	if _, err := b.OpenSubjectKey("other", hash, wrapped); !errors.Is(err, envelope.ErrForged) {
		t.Errorf("other tenant: %v", err)
	}
	if _, err := b.OpenSubjectKey(tenant, b.SubjectHash(tenant, "customer-2"), wrapped); !errors.Is(err, envelope.ErrForged) {
		t.Errorf("other subject: %v", err)
	}
}

func TestWarmKeysAskNobody(t *testing.T) {
	w := newWorld(t)
	w.bootstrap(t)
	k := w.process(t)
	keysOf(t, k)
	before := w.vault.Calls()
	for range 10000 {
		keysOf(t, k)
	}
	w.pass(keyring.RefreshEvery)
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if calls := w.vault.Calls() - before; calls != 0 {
		t.Errorf("%d vault calls", calls)
	}
}

func TestAStaleCopyDoesNotWriteThenNotRead(t *testing.T) {
	w := newWorld(t)
	w.bootstrap(t)
	k := w.process(t)
	keysOf(t, k)
	w.store.OnRead(func(string, string) error { return rowstore.ErrUnavailable })
	w.pass(keyring.WriteLife - time.Second)
	keysOf(t, k)
	w.pass(time.Second)
	if _, err := k.ForWrite(t.Context()); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("write at the limit: %v", err)
	}
	if _, err := k.ForRead(t.Context()); err != nil {
		t.Errorf("read within its limit: %v", err)
	}
	w.pass(keyring.ReadLife - keyring.WriteLife)
	if _, err := k.ForRead(t.Context()); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("read at the limit: %v", err)
	}
	w.pass(-time.Hour)
	if _, err := k.ForWrite(t.Context()); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("a clock that stepped back: %v", err)
	}
}

func TestAdoptionMovesToTheNewVersion(t *testing.T) {
	w := newWorld(t)
	w.bootstrap(t)
	k := w.process(t)
	keys := keysOf(t, k)
	hash := keys.SubjectHash(tenant, "s")
	key, wrapped, err := keys.NewSubjectKey(tenant, hash)
	if err != nil {
		t.Fatal(err)
	}
	version, err := w.vault.AddVersion()
	if err != nil {
		t.Fatal(err)
	}
	before, err := k.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		adopter := w.process(t)
		group.Go(func() {
			if _, err := adopter.Adopt(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	w.vault.Disable(before[0].WrappedBy.Version)
	fresh := w.process(t)
	status, err := fresh.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status[0].WrappedBy.Version != version || status[0].Counter != 2 {
		t.Errorf("status %+v, want version %s once", status[0], version)
	}
	opened, err := keysOf(t, fresh).OpenSubjectKey(tenant, hash, wrapped)
	if err != nil || opened.ID != key.ID {
		t.Errorf("a subject key of before does not open: %v", err)
	}
	again, err := fresh.Adopt(t.Context())
	if err != nil || again[0].Changed {
		t.Errorf("second adoption: %+v, %v", again, err)
	}
}

func TestForgedRowsAreRefused(t *testing.T) {
	type signed struct {
		Document  []byte `json:"document"`
		Signature struct {
			By    keyring.KeyRef `json:"by"`
			Value []byte         `json:"value"`
		} `json:"signature"`
	}
	edit := func(change func(*signed)) func(t *testing.T, w *world, first rowstore.Row) {
		return func(t *testing.T, w *world, first rowstore.Row) {
			var body signed
			if err := json.Unmarshal(first.Body, &body); err != nil {
				t.Fatal(err)
			}
			change(&body)
			b, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			first.Body = b
			w.store.Plant(first)
		}
	}
	document := func(old, replacement string) func(*signed) {
		return func(s *signed) {
			s.Document = []byte(strings.Replace(string(s.Document), old, replacement, 1))
		}
	}
	other, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(t *testing.T, w *world, first rowstore.Row){
		"counter raised":    edit(document(`"counter":1`, `"counter":2`)),
		"counter lowered":   edit(document(`"counter":1`, `"counter":0`)),
		"state altered":     edit(document(`"current"`, `"retired"`)),
		"signature missing": edit(func(s *signed) { s.Signature.Value = nil }),
		"signature altered": edit(func(s *signed) { s.Signature.Value[0] ^= 1 }),
		"signed by another vault": func(t *testing.T, w *world, _ rowstore.Row) {
			o := w.options()
			o.Signer, o.Store = other, memstore.New()
			if _, err := keyring.Bootstrap(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			forged, _ := o.Store.(*memstore.Store)
			w.store.Plant(forged.All()[0])
		},
		"second generation planted": func(_ *testing.T, w *world, first rowstore.Row) {
			first.Key = "gen|0000000002"
			w.store.Plant(first)
		},
		"not JSON": func(_ *testing.T, w *world, first rowstore.Row) {
			first.Body = []byte("x")
			w.store.Plant(first)
		},
		"row removed": func(_ *testing.T, w *world, first rowstore.Row) {
			w.store.Remove(first.Partition, first.Key)
		},
	}
	for name, tamper := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.bootstrap(t)
			running := w.process(t)
			keysOf(t, running)
			tamper(t, w, w.store.All()[0])
			if err := running.Load(t.Context()); err == nil {
				t.Error("a running process took it")
			}
			if _, err := w.process(t).ForRead(t.Context()); err == nil {
				t.Error("a new process took it")
			}
			keysOf(t, running) // the last good copy serves until it is stale
		})
	}
}

func TestARolledBackRowIsRefused(t *testing.T) {
	w := newWorld(t)
	w.bootstrap(t)
	old := w.store.All()[0]
	k := w.process(t)
	keysOf(t, k)
	if _, err := w.vault.AddVersion(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.store.Plant(old)
	if err := k.Load(t.Context()); !errors.Is(err, keyring.ErrForged) {
		t.Errorf("got %v", err)
	}
}

func TestAVaultThatIsDownIsAnError(t *testing.T) {
	w := newWorld(t)
	w.bootstrap(t)
	w.vault.Down(errors.New("no answer"))
	if _, err := w.process(t).ForRead(context.Background()); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("got %v", err)
	}
	if rows := w.store.All(); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

func BenchmarkTokenHash(b *testing.B) {
	vault, err := memvault.New()
	if err != nil {
		b.Fatal(err)
	}
	o := keyring.Options{Store: memstore.New(), Wrapper: vault, Signer: vault, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)}
	if _, err := keyring.Bootstrap(b.Context(), o); err != nil {
		b.Fatal(err)
	}
	k, err := keyring.New(o)
	if err != nil {
		b.Fatal(err)
	}
	keys, err := k.ForRead(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		keys.TokenHash(tenant, "tok_eml_0123456789abcdefghjkmnpqrstvwxyz")
	}
}
