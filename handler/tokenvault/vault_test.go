package tokenvault_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/dataclass"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

const (
	tenant      = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	otherTenant = "5a1b0a5e-0f41-4f0e-8f8e-3a2b6f1f9d11"
)

// world is the storage that any number of processes share.
type world struct {
	records, erased, operations, log, keys *memstore.Store
	vault                                  *memvault.Vault

	ahead atomic.Int64 // of the machine's clock, in nanoseconds
}

func (w *world) clock() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *world) later(d time.Duration) { w.ahead.Add(int64(d)) }

// process is one handler process.
type process struct {
	*tokenvault.Vault
	log      *audit.Log
	erasures *tokenvault.Erasures
}

func newWorld(t *testing.T) *world {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		records: memstore.New(), erased: memstore.New(), operations: memstore.New(), log: memstore.New(), keys: memstore.New(), vault: vault,
	}
	if _, err := keyring.Bootstrap(t.Context(), w.keyringOptions()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) keyringOptions() keyring.Options {
	return keyring.Options{
		Store: w.keys, Wrapper: w.vault, Signer: w.vault, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
	}
}

// stepUp admits users who have the context c1.
type stepUp struct{}

var errStepUp = errors.New("step-up required")

func (stepUp) RequireStepUp(p authz.Principal) error {
	if len(p.AuthContexts) == 0 {
		return errStepUp
	}
	return nil
}

func (w *world) process(t *testing.T) *process {
	t.Helper()
	ring, err := keyring.New(w.keyringOptions())
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.New(w.auditOptions(ring))
	if err != nil {
		t.Fatal(err)
	}
	v, err := tokenvault.New(tokenvault.Options{
		Store: w.records, Erased: w.erased, Keys: ring, Audit: log, StepUp: stepUp{}, Purposes: []string{"fraud-review"},
		Plans: operation.NewPlans[[]tokenvault.PlannedToken]("tokenize", w.operations, ring, w.clock),
		Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	erasures, err := tokenvault.NewErasures(v, tokenvault.ErasureOptions{
		Operations: w.operations, BackupRetention: retention,
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
	return &process{v, log, erasures}
}

func (w *world) auditOptions(ring *keyring.Keyring) audit.Options {
	return audit.Options{
		Store: w.log, Clock: w.clock, Instance: "test", Logger: slog.New(slog.DiscardHandler),
		MACKey: ring.AuditMAC, Telemetry: telemetry.Log{Logger: slog.New(slog.DiscardHandler)},
	}
}

// entries reads the audit log of a tenant.
func (w *world) entries(t *testing.T, tenant string) []audit.Entry {
	t.Helper()
	ring, err := keyring.New(w.keyringOptions())
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.NewReader(w.auditOptions(ring))
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.Events(t.Context(), audit.Query{Tenant: tenant, Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	return page.Entries
}

func who(role authz.Role) authz.Principal {
	return authz.Principal{
		Kind: authz.User, TenantID: tenant, ObjectID: "o-" + string(role), Roles: []authz.Role{role}, Scoped: true,
		AuthContexts: []string{"c1"},
	}
}

func email(value, subject string) tokenvault.Item {
	return tokenvault.Item{Class: dataclass.Email, Value: value, Subject: subject}
}

func tokenize(t *testing.T, p *process, key string, items ...tokenvault.Item) []string {
	t.Helper()
	results, err := p.Tokenize(t.Context(), who(authz.Writer), items, key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, len(results))
	for i, r := range results {
		if r.Invalid != nil {
			t.Fatalf("item %d: %v", i, r.Invalid)
		}
		tokens[i] = r.Token
	}
	return tokens
}

func reveal(t *testing.T, p *process, tokens ...string) []tokenvault.Opened {
	t.Helper()
	opened, err := p.Reveal(t.Context(), who(authz.Revealer), tokens, "fraud-review", "CASE-2026-004711")
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func values(opened []tokenvault.Opened) string {
	var list []string
	for _, o := range opened {
		if o.Err != nil {
			list = append(list, "!"+o.Err.Error())
			continue
		}
		list = append(list, o.Value.RevealString())
	}
	return strings.Join(list, " ")
}

func TestEveryClassGoesInAndComesOut(t *testing.T) {
	w := newWorld(t)
	a, b := w.process(t), w.process(t)
	items := []tokenvault.Item{
		{Class: dataclass.PAN, Value: "4111 1111 1111 1111", Subject: "c-1"},
		{Class: dataclass.PAN, Value: "4111111111111111", Subject: "c-1", Format: tokenvault.Preserving},
		{Class: dataclass.SSN, Value: "078-05-1120", Subject: "c-1", Format: tokenvault.Preserving},
		email("anna@example.com", "c-1"),
		{Class: dataclass.Phone, Value: "+49 30 901820"},
		{Class: dataclass.Name, Value: "Anna Müller"},
		{Class: dataclass.DateOfBirth, Value: "1980-02-29"},
		{Class: dataclass.Text, Value: "left at the door"},
	}
	tokens := tokenize(t, a, "", items...)
	want := "4111111111111111 4111111111111111 078-05-1120 anna@example.com +4930901820 Anna Müller 1980-02-29 left at the door"
	if got := values(reveal(t, b, tokens...)); got != want {
		t.Errorf("revealed %q", got)
	}
	masked, err := b.Inspect(t.Context(), who(authz.Reader), tokens)
	if err != nil {
		t.Fatal(err)
	}
	if got := values(masked); got != "************1111 ************1111 ***-**-1120 a***@***.com +********20 A*** M*** ****-**-** ***" {
		t.Errorf("masked %q", got)
	}
	if !strings.HasSuffix(tokens[1], "1111") || len(tokens[1]) != 16 || tokens[1] == "4111111111111111" {
		t.Error("the format-preserving token does not keep the last four digits")
	}
}

func TestRowsHoldNoValueAndNoToken(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "key-1", email("canary-zq@example.com", "canary-subject"))
	reveal(t, p, tokens...)
	if err := p.log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, store := range []*memstore.Store{w.records, w.operations, w.log, w.keys} {
		for _, row := range store.All() {
			text := row.Partition + row.Key + string(row.Body) + fmt.Sprint(row.Attributes)
			for _, mark := range []string{"canary", tokens[0], "key-1"} {
				if strings.Contains(text, mark) {
					t.Errorf("row %s|%s holds %q", row.Partition, row.Key, mark)
				}
			}
		}
	}
}

func TestOnlyTheRolesMay(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", ""))
	for _, role := range authz.Roles() {
		_, err := p.Tokenize(t.Context(), who(role), []tokenvault.Item{email("b@example.com", "")}, "")
		check(t, role, "tokenize", err, role == authz.Writer)
		_, err = p.Inspect(t.Context(), who(role), tokens)
		check(t, role, "inspect", err, role == authz.Reader || role == authz.Revealer)
		_, err = p.Reveal(t.Context(), who(role), tokens, "fraud-review", "CASE-1")
		check(t, role, "reveal", err, role == authz.Revealer)
	}
	denied := 0
	for _, e := range w.entries(t, tenant) {
		if e.Phase == audit.Denied {
			denied++
		}
	}
	if denied != 6+5+6 {
		t.Errorf("%d denied entries", denied)
	}
}

func check(t *testing.T, role authz.Role, action string, err error, allowed bool) {
	t.Helper()
	_, denied := errors.AsType[*authz.Denial](err)
	if allowed != (err == nil) || !allowed && !denied {
		t.Errorf("%s %s: %v", role, action, err)
	}
}

func TestAnotherTenantsTokenIsAbsent(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	stranger := who(authz.Revealer)
	stranger.TenantID = otherTenant
	opened, err := p.Reveal(t.Context(), stranger, tokens, "fraud-review", "CASE-1")
	if err != nil || !errors.Is(opened[0].Err, tokenvault.ErrNoToken) {
		t.Errorf("opened %v, %v", values(opened), err)
	}
}

func TestRestrictedClassesTakeAStepUp(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "",
		tokenvault.Item{Class: dataclass.PAN, Value: "4111111111111111"}, email("anna@example.com", ""))
	weak := who(authz.Revealer)
	weak.AuthContexts = nil
	if _, err := p.Reveal(t.Context(), weak, tokens, "fraud-review", "CASE-1"); !errors.Is(err, errStepUp) {
		t.Errorf("restricted: %v", err)
	}
	if _, err := p.Reveal(t.Context(), weak, tokens[1:], "fraud-review", "CASE-1"); err != nil {
		t.Errorf("standard: %v", err)
	}
}

func TestBadRequestsNameTheFieldAndNotTheValue(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	const secret = "4111111111111112"
	results, err := p.Tokenize(t.Context(), who(authz.Writer), []tokenvault.Item{
		{Class: dataclass.PAN, Value: secret},
		{Class: "passport", Value: secret},
		{Class: dataclass.Email, Value: secret, Subject: "a b", Format: "short"},
		{Class: dataclass.Email, Value: "a@example.com", Format: tokenvault.Preserving},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/value pan_checksum", "/class class_unknown", "/value email_syntax /subject subject_invalid /format format_unknown", "/format format_unsupported"}
	for i, r := range results {
		var got []string
		for _, f := range r.Invalid.Fields {
			got = append(got, f.Pointer, f.Code)
		}
		if strings.Join(got, " ") != want[i] {
			t.Errorf("item %d: %v", i, got)
		}
		if strings.Contains(r.Invalid.Error(), secret) {
			t.Errorf("item %d: the error holds the value", i)
		}
	}
	for _, c := range [][2]string{{"curiosity", "CASE-1"}, {"fraud-review", "because"}, {"fraud-review", "REF-4111-1111-1111-1111"}} {
		_, err := p.Reveal(t.Context(), who(authz.Revealer), []string{"tok_eml_0123456789abcdefghjkmnpqrstvwxyz"}, c[0], c[1])
		if _, ok := errors.AsType[*tokenvault.InvalidError](err); !ok {
			t.Errorf("purpose %q, reason %q: %v", c[0], c[1], err)
		}
	}
	if _, err := p.Reveal(t.Context(), who(authz.Revealer), []string{"4111111111111111"}, "fraud-review", "CASE-1"); err == nil || strings.Contains(err.Error(), "4111") {
		t.Errorf("a card number sent as a token: %v", err)
	}
}

func TestARepeatUnderOneKeyGivesTheSameTokens(t *testing.T) {
	w := newWorld(t)
	items := []tokenvault.Item{email("anna@example.com", ""), email("bela@example.com", "c-2")}
	first := tokenize(t, w.process(t), "order-17", items...)
	var group sync.WaitGroup
	for range 8 {
		p := w.process(t)
		group.Go(func() {
			results, err := p.Tokenize(context.Background(), who(authz.Writer), items, "order-17")
			if err != nil {
				t.Error(err)
				return
			}
			for i, r := range results {
				if r.Token != first[i] {
					t.Errorf("item %d has another token", i)
				}
			}
		})
	}
	group.Wait()
	if n := count(w, "t|"); n != 2 {
		t.Errorf("%d token rows, want 2", n)
	}
	items[0].Value = "other@example.com"
	_, err := w.process(t).Tokenize(t.Context(), who(authz.Writer), items, "order-17")
	if !errors.Is(err, operation.ErrOtherRequest) {
		t.Errorf("another body: %v", err)
	}
	other := who(authz.Writer)
	other.ObjectID = "somebody-else"
	results, err := w.process(t).Tokenize(t.Context(), other, items, "order-17")
	if err != nil || results[0].Token == first[0] {
		t.Errorf("another caller's key is not his own: %v", err)
	}
}

func count(w *world, prefix string) int {
	n := 0
	for _, row := range w.records.All() {
		if strings.HasPrefix(row.Key, prefix) {
			n++
		}
	}
	return n
}

// Whichever write fails, and whether or not it was applied, a repeat under
// the same key stores each value once.
func TestFaultsNeitherLoseNorDoubleRecords(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for nth := range 4 {
			t.Run(fmt.Sprintf("applied=%v/%d", applied, nth), func(t *testing.T) {
				w := newWorld(t)
				calls := 0
				fault := func([]rowstore.Mutation) (bool, error) {
					calls++
					if calls > nth && calls <= nth+2 {
						return applied, rowstore.ErrUnavailable
					}
					return true, nil
				}
				items := []tokenvault.Item{email("anna@example.com", "c-1"), email("bela@example.com", "c-2")}
				p := w.process(t)
				w.records.OnApply(fault)
				w.operations.OnApply(fault)
				_, err := p.Tokenize(t.Context(), who(authz.Writer), items, "k")
				if err != nil && !errors.Is(err, rowstore.ErrUnavailable) {
					t.Fatalf("first call: %v", err)
				}
				w.records.OnApply(nil)
				w.operations.OnApply(nil)
				tokens := tokenize(t, w.process(t), "k", items...)
				if got := values(reveal(t, w.process(t), tokens...)); got != "anna@example.com bela@example.com" {
					t.Errorf("revealed %q", got)
				}
				if n := count(w, "t|"); n != 2 {
					t.Errorf("%d token rows, want 2", n)
				}
			})
		}
	}
}

func TestConcurrentWritersOfOneSubjectAllSucceed(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	for i := range 4 {
		p := w.process(t)
		group.Go(func() {
			for j := range 5 {
				item := email(fmt.Sprintf("u%d-%d@example.com", i, j), "one-subject")
				if _, err := p.Tokenize(context.Background(), who(authz.Writer), []tokenvault.Item{item}, ""); err != nil {
					t.Errorf("writer %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
	if heads, tokens, members := count(w, "s|"), count(w, "t|"), count(w, "m|"); heads != 1 || tokens != 20 || members != 20 {
		t.Errorf("%d heads, %d tokens, %d members", heads, tokens, members)
	}
}

func TestWithoutAuditNothingHappens(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	before := len(w.records.All())
	w.log.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrUnavailable })
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	if _, err := p.Tokenize(soon(), who(authz.Writer), []tokenvault.Item{email("b@example.com", "")}, ""); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("tokenize: %v", err)
	}
	if _, err := p.Reveal(soon(), who(authz.Revealer), tokens, "fraud-review", "CASE-1"); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("reveal: %v", err)
	}
	if after := len(w.records.All()); after != before {
		t.Errorf("%d rows were written", after-before)
	}
	if _, err := p.Reveal(soon(), who(authz.Reader), tokens, "fraud-review", "CASE-1"); err == nil {
		t.Error("a denial became an allowance")
	} else if _, denied := errors.AsType[*authz.Denial](err); !denied {
		t.Errorf("a denial became %v", err)
	}
}

func TestWhatAStorageWriterChangesDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	writer := w.process(t)
	tokens := tokenize(t, writer, "",
		tokenvault.Item{Class: dataclass.PAN, Value: "4111111111111111", Subject: "c-1"},
		tokenvault.Item{Class: dataclass.PAN, Value: "5555555555554444", Subject: "c-1"})
	rows := map[string]rowstore.Row{}
	var tokenRows []rowstore.Row
	for _, row := range w.records.All() {
		rows[row.Key[:2]] = row
		if strings.HasPrefix(row.Key, "t|") {
			tokenRows = append(tokenRows, row)
		}
	}
	cases := map[string]func(row rowstore.Row) rowstore.Row{
		"bodies swapped": func(row rowstore.Row) rowstore.Row {
			for _, other := range tokenRows {
				if other.Key != row.Key {
					row.Body = other.Body
				}
			}
			return row
		},
		"class lowered": func(row rowstore.Row) rowstore.Row {
			row.Attributes = map[string]string{"Class": "text", "Subject": row.Attributes["Subject"], "Counter": "1"}
			return row
		},
		"counter raised": func(row rowstore.Row) rowstore.Row {
			row.Attributes = map[string]string{"Class": "pan", "Subject": row.Attributes["Subject"], "Counter": "2"}
			return row
		},
		"subject repointed": func(row rowstore.Row) rowstore.Row {
			subject := row.Attributes["Subject"]
			row.Attributes = map[string]string{"Class": "pan", "Subject": subject[:1] + strings.Repeat("0", 63), "Counter": "1"}
			return row
		},
		"body cut": func(row rowstore.Row) rowstore.Row {
			row.Body = row.Body[:len(row.Body)-1]
			return row
		},
	}
	for name, tamper := range cases {
		t.Run(name, func(t *testing.T) {
			for _, row := range tokenRows {
				w.records.Plant(tamper(row))
			}
			p := w.process(t)
			for _, o := range reveal(t, p, tokens...) {
				if !errors.Is(o.Err, tokenvault.ErrIntegrity) {
					t.Errorf("got %v", o.Err)
				}
			}
			alarms := 0
			for _, e := range w.entries(t, tenant) {
				if e.Phase == audit.Alarm {
					alarms++
				}
			}
			if alarms == 0 {
				t.Error("no alarm")
			}
			for _, row := range tokenRows {
				w.records.Plant(row)
			}
		})
	}
	if got := values(reveal(t, w.process(t), tokens...)); got != "4111111111111111 5555555555554444" {
		t.Errorf("the honest rows give %q", got)
	}
	head := rows["s|"]
	head.Body = append([]byte(nil), head.Body...)
	head.Body[len(head.Body)-1] ^= 1
	w.records.Plant(head)
	_, err := w.process(t).Tokenize(t.Context(), who(authz.Writer), []tokenvault.Item{email("a@example.com", "c-1")}, "")
	if !errors.Is(err, tokenvault.ErrIntegrity) {
		t.Errorf("a forged head: %v", err)
	}
}

func TestTransactionsOfWarmCalls(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	reveal(t, p, tokens...)
	transactions, reads, vaultCalls := 0, 0, w.vault.Calls()
	count := func([]rowstore.Mutation) (bool, error) { transactions++; return true, nil }
	w.records.OnApply(count)
	w.operations.OnApply(count)
	w.records.OnRead(func(string, string) error { reads++; return nil })
	tokenize(t, p, "", email("bela@example.com", "c-1"))
	if transactions != 1 || reads != 0 {
		t.Errorf("tokenize: %d writes, %d reads; want 1, 0", transactions, reads)
	}
	transactions = 0
	tokenize(t, p, "key", email("carl@example.com", "c-1"))
	if transactions != 2 || reads != 0 {
		t.Errorf("tokenize under a key: %d writes, %d reads; want 2, 0", transactions, reads)
	}
	transactions = 0
	reveal(t, p, tokens...)
	if transactions != 0 || reads != 1 {
		t.Errorf("reveal: %d writes, %d reads; want 0, 1", transactions, reads)
	}
	if calls := w.vault.Calls() - vaultCalls; calls != 0 {
		t.Errorf("%d vault calls", calls)
	}
}

func TestASubjectOfSeveralTokensIsReadOnce(t *testing.T) {
	w := newWorld(t)
	tokens := tokenize(t, w.process(t), "", email("a@example.com", "c-1"), email("b@example.com", "c-1"), email("c@example.com", "c-2"))
	cold := w.process(t)
	var mu sync.Mutex
	reads := 0
	w.records.OnRead(func(string, string) error {
		mu.Lock()
		defer mu.Unlock()
		reads++
		return nil
	})
	if got := values(reveal(t, cold, tokens...)); got != "a@example.com b@example.com c@example.com" {
		t.Errorf("revealed %q", got)
	}
	if reads != 5 {
		t.Errorf("%d reads, want 3 tokens and 2 subjects", reads)
	}
}
