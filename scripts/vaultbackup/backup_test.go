package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/azure"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/dataclass"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
)

// world is the local stack's storage and vault, with the domain over them.
type world struct {
	stack *stack.Stack
	site  *site
	o     options
	// missing is a table that is not there.
	missing *tables.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := stack.Start(t.Context(), stack.Options{Dir: t.TempDir(), InMemory: true, Bootstrap: provision.Keyring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	env := s.HandlerEnv()
	transport, err := azure.NewTransport(env["LOCAL_STACK_FILE"], func(string) string { return "" }, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	dir := t.TempDir()
	w := &world{stack: s, o: options{
		dir: filepath.Join(dir, "values"), keys: filepath.Join(dir, "keys"), account: s.DataAccount(), audit: stack.AuditAccount,
		suffix: stack.Suffix, vault: env["KEY_VAULT_URL"], wrapName: env["KEY_WRAP_NAME"], signName: env["KEY_SIGN_NAME"],
		tenants: entra.HomeTenant, retention: tokenvault.MinRetention,
	}}
	if w.site, err = openSite(w.o, transport, s.Credential()); err != nil {
		t.Fatal(err)
	}
	service, err := tables.NewService(stack.Endpoint(w.o.account, "table"), s.Credential(), transport.ClientOptions(azure.Tables, nil))
	if err != nil {
		t.Fatal(err)
	}
	if w.missing, err = service.Table("missing"); err != nil {
		t.Fatal(err)
	}
	return w
}

// process is the domain as a handler that starts now has it.
type process struct {
	vault    *tokenvault.Vault
	erasures *tokenvault.Erasures
	log      *audit.Log
}

type anyStepUp struct{}

func (anyStepUp) RequireStepUp(authz.Principal) error { return nil }

func (w *world) process(t *testing.T) *process {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	ring, err := keyring.New(w.site.ring)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.New(audit.Options{
		Store: w.site.tables[auditTable], MACKey: ring.AuditMAC, Clock: clock.System, Instance: "test", Logger: logger,
		Telemetry: telemetry.Log{Logger: logger},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{log: log}
	p.vault, err = tokenvault.New(tokenvault.Options{
		Store: w.site.tables[tokenvault.Table], Erased: w.site.tables[tokenvault.ErasuresTable], Keys: ring, Audit: log,
		Plans:  operation.NewPlans[[]tokenvault.PlannedToken]("tokenize", w.site.tables[operation.Table], ring, clock.System),
		StepUp: anyStepUp{}, Purposes: []string{"fraud-review"}, Clock: clock.System, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.erasures, err = tokenvault.NewErasures(p.vault, tokenvault.ErasureOptions{
		Operations: w.site.tables[operation.Table], BackupRetention: tokenvault.MinRetention,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) close(t *testing.T) {
	t.Helper()
	if err := p.log.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func who(role authz.Role) authz.Principal {
	return authz.Principal{Kind: authz.App, TenantID: entra.HomeTenant, ObjectID: "o-" + string(role), Roles: []authz.Role{role}}
}

func (p *process) tokenize(t *testing.T, value, subject string) string {
	t.Helper()
	got, err := p.vault.Tokenize(t.Context(), who(authz.Writer), []tokenvault.Item{{Class: dataclass.Email, Value: value, Subject: subject}}, "")
	if err != nil {
		t.Fatal(err)
	}
	return got[0].Token
}

func (p *process) reveal(t *testing.T, token string) (string, error) {
	t.Helper()
	got, err := p.vault.Reveal(t.Context(), who(authz.Revealer), []string{token}, "fraud-review", "CASE-1")
	if err != nil {
		return "", err
	}
	return got[0].Value.RevealString(), got[0].Err
}

func (p *process) erase(t *testing.T, subject string) {
	t.Helper()
	if _, err := p.erasures.Erase(t.Context(), who(authz.PrivacyOfficer), subject, "CASE-2026-000017"); err != nil {
		t.Fatal(err)
	}
}

// lose deletes tables and makes them anew, empty.
func (w *world) lose(t *testing.T, account string, names ...string) {
	t.Helper()
	service, err := aztables.NewServiceClient(stack.Endpoint(account, "table"), w.stack.Credential(),
		&aztables.ClientOptions{ClientOptions: w.stack.ClientOptions()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := service.DeleteTable(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := service.CreateTable(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) loseData(t *testing.T) {
	t.Helper()
	w.lose(t, w.o.account, tokenvault.Table, operation.Table, keyring.Table, revocation.Table)
}

func (w *world) export(t *testing.T) {
	t.Helper()
	m, err := export(t.Context(), w.o, w.site, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	if w.o.digest, err = m.digest(); err != nil {
		t.Fatal(err)
	}
}

// stopAfter cancels when a text is written: a restore that is interrupted there.
type stopAfter struct {
	text string
	stop context.CancelFunc
}

func (s stopAfter) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(s.text)) {
		s.stop()
	}
	return len(b), nil
}

// TestARestoreBringsLiveValuesBackAndNoErasedOne is the whole story: tokenize,
// back up, erase and tokenize more, lose every data table, restore.
func TestARestoreBringsLiveValuesBackAndNoErasedOne(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	live, erased, before := p.tokenize(t, "live@example.com", "c-1"), p.tokenize(t, "erased@example.com", "c-2"), p.tokenize(t, "early@example.com", "c-3")
	p.erase(t, "c-3") // known to the backup already
	w.export(t)
	p.erase(t, "c-2")
	late := p.tokenize(t, "late@example.com", "c-4")
	p.close(t)
	w.loseData(t)

	// Interrupted: the vault stays closed, to whoever starts.
	ctx, stop := context.WithCancel(t.Context())
	if _, err := restore(ctx, w.o, w.site, stopAfter{"members.rows", stop}); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	closed := w.process(t)
	if _, err := closed.reveal(t, erased); !errors.Is(err, keyring.ErrForged) {
		t.Errorf("in the middle of a restore: %v", err)
	}
	closed.close(t)

	r, err := restore(t.Context(), w.o, w.site, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if r.Erased != 2 || r.LogLost || r.RegisterLost || len(r.Unregistered) != 0 || r.LostCalls != 1 || r.LostValues != 1 {
		t.Errorf("report %+v", r)
	}
	q := w.process(t)
	defer q.close(t)
	if got, err := q.reveal(t, live); err != nil || got != "live@example.com" {
		t.Errorf("the live value: %q, %v", got, err)
	}
	for name, token := range map[string]string{"erased after": erased, "erased before": before, "written after": late} {
		if got, err := q.reveal(t, token); !errors.Is(err, tokenvault.ErrNoToken) {
			t.Errorf("%s the backup: %q, %v", name, got, err)
		}
	}
	_, err = q.vault.Tokenize(t.Context(), who(authz.Writer), []tokenvault.Item{{Class: dataclass.Email, Value: "a@example.com", Subject: "c-2"}}, "")
	if !errors.Is(err, tokenvault.ErrErased) {
		t.Errorf("the erased subject takes values: %v", err)
	}
	if _, err := restore(t.Context(), w.o, w.site, io.Discard); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a restore over a vault in use: %v", err)
	}
}

// TestAnErasureThatTheRegisterLostKeepsTheVaultClosed: the log tells of it.
func TestAnErasureThatTheRegisterLostKeepsTheVaultClosed(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	token := p.tokenize(t, "erased@example.com", "c-2")
	w.export(t)
	p.erase(t, "c-2")
	p.close(t)
	w.loseData(t)
	w.lose(t, w.o.audit, tokenvault.ErasuresTable)
	if _, err := restore(t.Context(), w.o, w.site, io.Discard); err == nil || !strings.Contains(err.Error(), "stays closed") {
		t.Fatalf("restored: %v", err)
	}
	closed := w.process(t)
	defer closed.close(t)
	if _, err := closed.reveal(t, token); !errors.Is(err, keyring.ErrForged) {
		t.Errorf("the vault is open: %v", err)
	}
	w.o.acceptMissing = true
	r, err := restore(t.Context(), w.o, w.site, io.Discard)
	if err != nil || len(r.Unregistered) != 1 || !r.RegisterLost {
		t.Errorf("accepted: %+v, %v", r, err)
	}
}

// TestWhatIsNotTheBackupIsRefused: each file and the manifest, altered, cut or exchanged.
func TestWhatIsNotTheBackupIsRefused(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	p.tokenize(t, "live@example.com", "c-1")
	p.close(t)
	w.export(t)
	if _, err := verify(w.o); err != nil {
		t.Fatal(err)
	}
	paths := []string{filepath.Join(w.o.dir, manifestName)}
	for _, part := range parts() {
		paths = append(paths, part.path(w.o))
	}
	for _, path := range paths {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 1
		for what, bad := range map[string][]byte{
			"one bit": flipped, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "empty": nil,
		} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := verify(w.o); err == nil {
				t.Errorf("%s, %s: verifies", filepath.Base(path), what)
			}
			if _, err := restore(t.Context(), w.o, w.site, io.Discard); err == nil {
				t.Errorf("%s, %s: restored", filepath.Base(path), what)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := w.o
	other.digest = strings.Repeat("0", 64)
	if _, err := verify(other); err == nil {
		t.Error("another manifest's SHA-256 verifies")
	}
}

// TestAnExportGoesOnWhereItStopped: what is finished is kept, and what comes
// later in the order is younger, so that each token has its head.
func TestAnExportGoesOnWhereItStopped(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	defer p.close(t)
	p.tokenize(t, "a@example.com", "c-1")
	// The third file's table cannot be read: its account is another name.
	gone := *w.site
	gone.tables = maps.Clone(w.site.tables)
	gone.tables[operation.Table] = w.missing
	if _, err := export(t.Context(), w.o, &gone, clock.System); err == nil {
		t.Fatal("exported a table that is not there")
	}
	if _, err := verify(w.o); err == nil {
		t.Error("half an export verifies")
	}
	first, err := readManifest(w.o.dir)
	if err != nil || len(first.Files) != 3 {
		t.Fatalf("%+v, %v", first, err)
	}
	p.tokenize(t, "b@example.com", "c-2")
	w.export(t)
	m, err := verify(w.o)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range first.Files {
		if m.Files[i] != f {
			t.Errorf("%s was copied again", f.Name)
		}
	}
	if _, err := export(t.Context(), w.o, w.site, clock.System); err == nil {
		t.Error("a finished backup was written again")
	}
}
