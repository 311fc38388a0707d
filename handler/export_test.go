package main

import (
	"crypto/ecdsa"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"secureapi/handler/audit"
	"secureapi/handler/azure/tables"
	"secureapi/handler/config"
	"secureapi/handler/rowstore"
	"secureapi/scripts/auditverify/export"
	"secureapi/scripts/auditverify/verify"
	"secureapi/scripts/devstack/entra"
)

// TestAnExportOfTheRunningSystemVerifies: what the handler left in Azurite is
// exported and verified with the vault's public key alone; then what a storage
// writer changes in Azurite is named with its place.
func TestAnExportOfTheRunningSystemVerifies(t *testing.T) {
	a, server := startApp(t)
	c, err := config.Load(handlerEnv(local))
	if err != nil {
		t.Fatal(err)
	}
	all, err := newStores(c, local.Credential(), a.transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := local.Entra.PersonaToken("writer", entra.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status := post(t, server.URL+"/api/v1/tokens", namesTrace, writer, `{"class":"email","value":"export@example.com"}`); status != http.StatusCreated {
			t.Fatalf("tokenize: status %d", status)
		}
		must(t, server.URL+"/SealAudit", tick, http.StatusOK)
	}
	ref, _, err := a.signer.Sign(t.Context(), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.signer.PublicKey(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	exported := func(key *ecdsa.PublicKey) (verify.Archive, verify.Report) {
		archive, err := export.Export(t.Context(), all.audit, c.Endpoint(c.AuditAccount, "blob")+"/"+audit.Container,
			local.Credential(), local.ClientOptions())
		if err != nil {
			t.Fatal(err)
		}
		return archive, verify.Verify(archive, key)
	}
	archive, report := exported(key)
	if len(report.Findings) > 0 || report.Checkpoints < 2 || report.Size < 2 {
		t.Fatalf("%+v", report)
	}
	for _, row := range archive.Rows {
		if strings.Contains(string(row.Body), "export@example.com") {
			t.Error("the export holds a value")
		}
	}
	breakAuditLog(t, a, func() { // an entry that is not sealed yet
		_, report := exported(key)
		if len(report.Findings) != 1 || report.Findings[0].Kind != verify.ChainBroken {
			t.Errorf("altered, not sealed: %v", report.Findings)
		}
	})
	must(t, server.URL+"/SealAudit", tick, http.StatusOK)
	entry := lastEntry(t, all.audit)
	good := slices.Clone(entry.Body)
	entry.Body[len(entry.Body)/2] ^= 1
	change(t, all.audit, &entry)
	_, report = exported(key)
	entry.Body = good
	change(t, all.audit, &entry)
	if len(report.Findings) != 1 || report.Findings[0].Kind != verify.EntryAltered ||
		report.Findings[0].Stream != entry.Partition || entry.Key != fmt.Sprintf("e|%020d", report.Findings[0].Seq) {
		t.Errorf("altered, sealed: %v", report.Findings)
	}
	a.close(t.Context())
}

// change puts a row as it is now.
func change(t *testing.T, store *tables.Store, row *rowstore.Row) {
	t.Helper()
	versions, err := store.Apply(t.Context(), row.Partition, []rowstore.Mutation{{Action: rowstore.Replace, Row: *row}})
	if err != nil {
		t.Fatal(err)
	}
	row.Version = versions[0]
}
