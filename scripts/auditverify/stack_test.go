package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/azure/blobs"
	"secureapi/handler/azure/tables"
	"secureapi/handler/rowstore"
	"secureapi/scripts/auditverify/verify"
	"secureapi/scripts/devstack/azurite"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
	"secureapi/scripts/stage/staging"
)

// maxNote is more than a signed checkpoint has.
const maxNote = 64 << 10

// system is the stack with the handler as it is deployed.
type system struct {
	*stack.Stack
	env map[string]string
}

func startSystem(t *testing.T) *system {
	t.Helper()
	root, err := azurite.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	dist := filepath.Join(t.TempDir(), "dist")
	if err := staging.Stage(t.Context(), staging.Options{Root: root, Out: dist, Log: io.Discard}); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Start(t.Context(), stack.Options{
		Dir: t.TempDir(), InMemory: true, Bootstrap: provision.Keyring, Host: &stack.Host{Dir: dist},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	env := s.HandlerEnv()
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER"} { // MSAL reads them from the process itself
		t.Setenv(name, env[name])
	}
	return &system{s, env}
}

// auditverify is one run of the program.
func (s *system) auditverify(t *testing.T, want int, args ...string) (out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, world{func(name string) string { return s.env[name] }, &stdout, &stderr})
	if code != want {
		t.Fatalf("auditverify %q: code %d, said %q and %q", args, code, stdout.String(), stderr.String())
	}
	return stdout.String() + stderr.String()
}

func (s *system) call(t *testing.T, method, path, body string, header map[string]string, into any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := s.HTTPClient().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err != nil || closeErr != nil || resp.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			t.Fatal(err)
		}
	}
}

// as is the header of a persona.
func (s *system) as(t *testing.T, persona string) map[string]string {
	t.Helper()
	token, err := s.Token(t.Context(), persona)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"Authorization": "Bearer " + token}
}

// sealMore leaves an entry more in the log, and it sealed.
func (s *system) sealMore(t *testing.T) {
	t.Helper()
	entries := func() (n uint64) {
		var c struct{ Entries uint64 }
		s.call(t, http.MethodGet, "/api/v1/audit/checkpoint", "", s.as(t, "auditor"), &c)
		return c.Entries
	}
	before := entries()
	s.call(t, http.MethodPost, "/api/v1/tokens", `{"class":"email","value":"anna@example.com"}`, s.as(t, "writer"), nil)
	s.call(t, http.MethodPost, "/admin/functions/SealAudit", `{}`, map[string]string{"X-Functions-Key": s.Info().MasterKey}, nil)
	notes, err := blobs.NewContainer(stack.Endpoint(stack.AuditAccount, "blob"), audit.Container, maxNote, s.Credential(), s.ClientOptions())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The blob comes a moment after the row that the API tells of.
	for published := false; !published; {
		if n := entries(); n > before {
			_, err := notes.Get(ctx, audit.BlobName(n))
			published = err == nil
		}
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain for the signed checkpoint")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestTheLogOfARunningSystem is exported as an auditor does it, over a rotation
// of the signing key, and checked; then a row is changed in its account.
func TestTheLogOfARunningSystem(t *testing.T) {
	s := startSystem(t)
	dir := filepath.Join(t.TempDir(), "export")
	keyFile := filepath.Join(dir, "sign.pem")

	// What cannot be had leaves nothing behind.
	if out := s.auditverify(t, 2, "export", "-sign-name", "other", dir); !strings.Contains(out, "not found") {
		t.Errorf("another key: %s", out)
	}
	if out := s.auditverify(t, 2, "export", "-account", "devnone", dir); !strings.Contains(out, "exporting checkpoints") {
		t.Errorf("another account: %s", out)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("left behind: %v", err)
	}

	s.sealMore(t)
	old := s.Vault.Versions("sign")[0]
	if _, err := s.Vault.AddVersion("sign"); err != nil {
		t.Fatal(err)
	}
	s.sealMore(t)
	if out := s.auditverify(t, 0, "export", dir); !strings.Contains(out, "2 versions of sign") || !strings.Contains(out, keyFile) {
		t.Errorf("exported: %s", out)
	}
	for _, args := range [][]string{{"-key", keyFile, dir}, {"verify", "-key", keyFile, dir}} {
		if out := s.auditverify(t, 0, args...); !strings.Contains(out, " 0 findings") || strings.HasPrefix(out, "0 sealed entries") {
			t.Errorf("checked: %s", out)
		}
	}
	if out := s.auditverify(t, 2, "export", dir); !strings.Contains(out, "the folder is not empty") {
		t.Errorf("exported once more: %s", out)
	}
	s.checkWithOneKey(t, dir, keyFile)

	changed := s.changeFirst(t, dir)
	if err := s.Vault.SetEnabled("sign", old, false); err != nil {
		t.Fatal(err)
	}
	after := filepath.Join(t.TempDir(), "after")
	if out := s.auditverify(t, 0, "export", after); !strings.Contains(out, "Disabled, so that what they signed does not count: "+old) {
		t.Errorf("a version is disabled: %s", out)
	}
	if out := s.auditverify(t, 1, "-key", keyFile, after); !strings.Contains(out, changed) || !strings.Contains(out, "1 findings") {
		t.Errorf("a row was changed: %s", out)
	}

	s.env["KEY_VAULT_URL"] = ""
	bare := filepath.Join(t.TempDir(), "bare")
	s.auditverify(t, 0, "export", bare)
	if _, err := os.Stat(filepath.Join(bare, "sign.pem")); !os.IsNotExist(err) {
		t.Errorf("keys without a vault: %v", err)
	}
}

// checkWithOneKey: with the key of one version alone, what the other signed does
// not count.
func (s *system) checkWithOneKey(t *testing.T, dir, keyFile string) {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	one := filepath.Join(t.TempDir(), "one.pem")
	if err := os.WriteFile(one, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.auditverify(t, 1, "-key", one, dir); !strings.Contains(out, "checkpoint_forged") {
		t.Errorf("with one key of two: %s", out)
	}
}

// changeFirst alters the first sealed entry of an export where it is stored,
// and gives what is to be said of it.
func (s *system) changeFirst(t *testing.T, dir string) string {
	t.Helper()
	archive, err := verify.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	service, err := tables.NewService(stack.Endpoint(stack.AuditAccount, "table"), s.Credential(), s.ClientOptions())
	if err != nil {
		t.Fatal(err)
	}
	table, err := service.Table(auditTable)
	if err != nil {
		t.Fatal(err)
	}
	for _, exported := range archive.Rows {
		if !strings.HasPrefix(exported.Key, "e|") {
			continue
		}
		row, err := table.Get(t.Context(), exported.Partition, exported.Key)
		if err != nil {
			t.Fatal(err)
		}
		row.Body[len(row.Body)/2] ^= 1
		if _, err := table.Apply(t.Context(), row.Partition, []rowstore.Mutation{{Action: rowstore.Replace, Row: row}}); err != nil {
			t.Fatal(err)
		}
		return string(verify.EntryAltered)
	}
	t.Fatal("there is no entry")
	return ""
}
