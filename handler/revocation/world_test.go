package revocation_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/revocation"
	"secureapi/handler/telemetry"
)

const (
	home      = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	other     = "0f8fad5b-d9cb-469f-a165-70867728950e"
	alice     = "aaaaaaaa-0000-4000-8000-000000000001"
	bob       = "aaaaaaaa-0000-4000-8000-000000000002"
	tokenLife = 29*time.Hour + 2*time.Minute
)

// world is what instances share: storage, vault and audit log. It lives in a
// bubble, whose time is simulated.
type world struct {
	store, log *memstore.Store
	ringStore  *memstore.Store
	vault      *memvault.Vault
	events     *events
}

// events counts the alarms that telemetry is told of.
type events struct {
	telemetry.Log
	mu     sync.Mutex
	alarms int
}

func (e *events) Event(_ context.Context, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if name == telemetry.EventAlarm {
		e.alarms++
	}
}

func (e *events) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.alarms
}

// inWorld runs a test in a bubble.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{store: memstore.New(), log: memstore.New(), ringStore: memstore.New(), vault: vault, events: &events{}}
		if _, err := keyring.Bootstrap(t.Context(), w.ringOptions()); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func (w *world) ringOptions() keyring.Options {
	return keyring.Options{
		Store: w.ringStore, Wrapper: w.vault, Signer: w.vault, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// instance is a process of the handler. It refreshes in the background only
// after run.
type instance struct {
	*revocation.List
	audit *audit.Log
}

func (w *world) instance(t *testing.T) *instance {
	t.Helper()
	ring, err := keyring.New(w.ringOptions())
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	log, err := audit.New(audit.Options{
		Store: w.log, MACKey: ring.AuditMAC, Clock: time.Now, Instance: "test", Logger: logger, Telemetry: w.events,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.log.OnApply(nil)
		if err := log.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	list, err := revocation.New(revocation.Options{
		Store: w.store, Keys: ring, Audit: log, Tenants: []string{home, other}, TokenLife: tokenLife,
		Clock: time.Now, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &instance{list, log}
}

// run refreshes until the test ends.
func (i *instance) run(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { i.Run(ctx); close(done) }()
	t.Cleanup(func() {
		stop()
		<-done
		time.Sleep(5 * time.Second) // a read outlives who began it
	})
	synctest.Wait()
}

func operator(tenant string) authz.Principal {
	return authz.Principal{
		Kind: authz.App, TenantID: tenant, ObjectID: "cccccccc-0000-4000-8000-000000000009", Roles: []authz.Role{authz.Operator},
	}
}

// bearer is the principal of a token issued now.
func bearer(tenant, subject, tokenID string) authz.Principal {
	return authz.Principal{
		Kind: authz.App, TenantID: tenant, ObjectID: subject, TokenID: tokenID, Roles: []authz.Role{authz.Writer},
		IssuedAt: time.Now().Truncate(time.Second),
	}
}

func (i *instance) revoke(t *testing.T, r revocation.Request) revocation.Entry {
	t.Helper()
	e, err := i.Revoke(t.Context(), operator(home), r)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// wants what the list says of a token: "", "token", "subject", or "unknown"
// where it cannot say.
func (i *instance) wants(t *testing.T, step string, p authz.Principal, want string) {
	t.Helper()
	r, err := i.Check(t.Context(), p)
	got := ""
	switch {
	case err != nil:
		got = "unknown"
	case !r.IssuedBefore.IsZero():
		got = "subject"
	case r.Token:
		got = "token"
	}
	if got != want {
		t.Errorf("%s: %q, want %q (%v)", step, got, want, err)
	}
}
