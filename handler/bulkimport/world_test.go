package bulkimport_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/dataclass"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/operation"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"

// world is the storage that any number of processes share, and its time.
type world struct {
	records, erased, operations, log, keys *memstore.Store
	blobs                                  *memstore.Blobs
	queue                                  *memstore.Queue
	vault                                  *memvault.Vault

	mu  sync.Mutex
	now time.Time
}

// process is one handler process.
type process struct {
	*bulkimport.Imports
	vault *tokenvault.Vault
	log   *audit.Log
	out   *bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		records: memstore.New(), erased: memstore.New(), operations: memstore.New(), log: memstore.New(), keys: memstore.New(),
		blobs: memstore.NewBlobs(16 << 20), queue: memstore.NewQueue(), vault: vault,
		now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
	}
	if _, err := keyring.Bootstrap(t.Context(), w.keyringOptions()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) keyringOptions() keyring.Options {
	return keyring.Options{
		Store: w.keys, Wrapper: w.vault, Signer: w.vault, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
	}
}

type noStepUp struct{}

func (noStepUp) RequireStepUp(authz.Principal) error { return nil }

func (w *world) process(t *testing.T) *process {
	t.Helper()
	out := &bytes.Buffer{}
	logger := slog.New(slog.NewJSONHandler(out, nil))
	ring, err := keyring.New(w.keyringOptions())
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.New(w.auditOptions(ring, logger))
	if err != nil {
		t.Fatal(err)
	}
	vault, err := tokenvault.New(tokenvault.Options{
		Store: w.records, Erased: w.erased, Keys: ring, Audit: log, StepUp: noStepUp{}, Purposes: []string{"fraud-review"},
		Plans: operation.NewPlans[[]tokenvault.PlannedToken]("tokenize", w.operations, ring, w.clock),
		Clock: w.clock, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	imports, err := bulkimport.New(bulkimport.Options{
		Store: w.operations, Keys: ring, Blobs: w.blobs, Queue: w.queue, Vault: vault, Audit: log,
		Clock: w.clock, Logger: logger, Telemetry: telemetry.Log{Logger: logger}, RepairAfter: 2 * time.Minute,
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
	return &process{imports, vault, log, out}
}

func (w *world) auditOptions(ring *keyring.Keyring, logger *slog.Logger) audit.Options {
	return audit.Options{Store: w.log, Clock: w.clock, Instance: "test", Logger: logger, MACKey: ring.AuditMAC, Telemetry: telemetry.Log{Logger: logger}}
}

// alarms are the reason codes of the alarm entries.
func (w *world) alarms(t *testing.T) string {
	t.Helper()
	ring, err := keyring.New(w.keyringOptions())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := audit.NewReader(w.auditOptions(ring, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for _, tenant := range []string{tenant, ""} {
		page, err := reader.Events(t.Context(), audit.Query{Tenant: tenant, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Phase == audit.Alarm {
				reasons = append(reasons, e.ReasonCode)
			}
		}
	}
	return strings.Join(reasons, " ")
}

func user(id string, role authz.Role) authz.Principal {
	return authz.Principal{Kind: authz.User, TenantID: tenant, ObjectID: id, Roles: []authz.Role{role}, Scoped: true}
}

func writer() authz.Principal   { return user("writer", authz.Writer) }
func operator() authz.Principal { return user("operator", authz.Operator) }

// columns of the tests' files; the e-mail address may be missing.
func columns() []bulkimport.Column {
	return []bulkimport.Column{
		{Name: "card", Class: dataclass.PAN, Format: tokenvault.Preserving},
		{Name: "email", Class: dataclass.Email, Optional: true},
	}
}

// rowsFrom makes CSV of n rows whose subjects are numbered from first.
func rowsFrom(first, n int) string {
	var b strings.Builder
	b.WriteString("email,customer,card\n")
	for i := first; i < first+n; i++ {
		fmt.Fprintf(&b, "c%d@example.com,cust-%d,4111111111111111\n", i, i)
	}
	return b.String()
}

// create makes an import with one part for each text, not committed.
func (p *process) create(t *testing.T, parts ...string) string {
	t.Helper()
	st, err := p.Create(t.Context(), writer(), columns(), "customer", "")
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range parts {
		if _, err := p.PutPart(t.Context(), writer(), st.ID, i+1, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return st.ID
}

func (p *process) commit(t *testing.T, parts ...string) string {
	t.Helper()
	id := p.create(t, parts...)
	if _, err := p.Commit(t.Context(), writer(), id, len(parts)); err != nil {
		t.Fatal(err)
	}
	return id
}

// drain delivers what is in the queue until it is empty, as the host would:
// a message whose delivery fails stays.
func (w *world) drain(t *testing.T, p *process) {
	t.Helper()
	for range 200 {
		m, ok := w.queue.Take()
		if !ok {
			return
		}
		if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
			if err := w.queue.Send(t.Context(), m.Text, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("the queue does not become empty")
}

func (p *process) status(t *testing.T, id string) bulkimport.Status {
	t.Helper()
	st, err := p.Get(t.Context(), writer(), id)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// result reads every page, without the headers.
func (p *process) result(t *testing.T, id string) [][]string {
	t.Helper()
	var all [][]string
	for n := 1; n > 0; {
		page, err := p.Result(t.Context(), writer(), id, n)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(bytes.NewReader(page.CSV)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(lines[0], ","); got != "part,row,card,email,error" {
			t.Fatalf("header %s", got)
		}
		all = append(all, lines[1:]...)
		n = page.Next
	}
	return all
}

// reveal gives the values behind tokens.
func (p *process) reveal(t *testing.T, tokens ...string) string {
	t.Helper()
	opened, err := p.vault.Reveal(t.Context(), user("revealer", authz.Revealer), tokens, "fraud-review", "CASE-1")
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, o := range opened {
		if o.Err != nil {
			t.Fatalf("token: %v", o.Err)
		}
		values = append(values, o.Value.RevealString())
	}
	return strings.Join(values, " ")
}

// stored counts the token rows.
func (w *world) stored() int {
	n := 0
	for _, row := range w.records.All() {
		if strings.HasPrefix(row.Key, "t|") {
			n++
		}
	}
	return n
}
