package main

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/config"
	"secureapi/handler/keyring"
	"secureapi/handler/rowstore"
)

// keyringRow is the one generation's row as the table holds it.
func keyringRow(t *testing.T, store *tables.Store) rowstore.Row {
	t.Helper()
	rows, _, err := store.List(t.Context(), keyring.Table, rowstore.Range{Limit: 2})
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d keyring rows, %v", len(rows), err)
	}
	return rows[0]
}

// TestARefusedKeyringIsInTheAuditLog: whoever writes the keyring's table is
// refused, and leaves an alarm behind.
func TestARefusedKeyringIsInTheAuditLog(t *testing.T) {
	forge := func(row, _ rowstore.Row) rowstore.Row {
		row.Body[len(row.Body)/2] ^= 1
		return row
	}
	lower := func(row, older rowstore.Row) rowstore.Row {
		older.Version = row.Version
		return older
	}
	for name, change := range map[string]func(row, older rowstore.Row) rowstore.Row{"forged": forge, "lowered": lower} {
		t.Run(name, func(t *testing.T) {
			started := time.Now().Truncate(time.Millisecond)
			a, _ := startApp(t)
			c, err := config.Load(handlerEnv(local))
			if err != nil {
				t.Fatal(err)
			}
			all, err := newStores(c, local.Credential(), a.transport, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.keyring.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			older := keyringRow(t, all.keyring)
			if _, err := local.Vault.AddVersion(c.KeyWrapName); err != nil {
				t.Fatal(err)
			}
			if _, err := a.keyring.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
			good := keyringRow(t, all.keyring)
			row := change(keyringRow(t, all.keyring), older)
			if _, err := all.keyring.Apply(t.Context(), keyring.Table, []rowstore.Mutation{{Action: rowstore.Replace, Row: row}}); err != nil {
				t.Fatal(err)
			}
			defer func() {
				good.Version = keyringRow(t, all.keyring).Version
				if _, err := all.keyring.Apply(t.Context(), keyring.Table, []rowstore.Mutation{{Action: rowstore.Replace, Row: good}}); err != nil {
					t.Fatal(err)
				}
			}()
			for range 2 { // one alarm, however often it is looked at
				if err := a.keyring.Load(t.Context()); !errors.Is(err, keyring.ErrForged) {
					t.Fatalf("load: %v", err)
				}
			}
			a.alarms.Wait()
			events, err := audit.NewReader(audit.Options{
				Store: all.audit, MACKey: a.keyring.AuditMAC, Clock: clock.System, Instance: "test", Logger: slog.New(slog.DiscardHandler),
				Telemetry: a.recorder,
			})
			if err != nil {
				t.Fatal(err)
			}
			page, err := events.Events(t.Context(), audit.Query{Action: "keyring.load", From: started, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Entries) != 1 || page.Entries[0].Phase != audit.Alarm || page.Entries[0].ReasonCode != "keyring_forged" {
				t.Errorf("entries: %+v", page.Entries)
			}
			a.close(t.Context())
		})
	}
}
