package main

import (
	"slices"
	"testing"

	"secureapi/handler/config"
)

// TestTheSettingsNameWhatMayBePrivate: with private endpoints each of these
// resolves to an address of the virtual network, and nothing else may.
func TestTheSettingsNameWhatMayBePrivate(t *testing.T) {
	c := config.Config{
		AuthorityHost: "https://login.microsoftonline.com", KeyVaultURL: "https://devvault.vault.azure.net",
		DataAccount: "devdata", AuditAccount: "devaudit", StorageSuffix: "core.windows.net",
		InsightsConnection: "InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/",
	}
	want := []string{
		"https://devaudit.blob.core.windows.net", "https://devaudit.queue.core.windows.net", "https://devaudit.table.core.windows.net",
		"https://devdata.blob.core.windows.net", "https://devdata.queue.core.windows.net", "https://devdata.table.core.windows.net",
		"https://devvault.vault.azure.net", "https://login.microsoftonline.com", "https://westeurope-5.in.applicationinsights.azure.com",
	}
	got, err := endpoints(c)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("endpoints() = %q, %v, want %q", got, err, want)
	}
	c.InsightsConnection = ""
	if got, err = endpoints(c); err != nil || len(got) != len(want)-1 {
		t.Errorf("without telemetry: %q, %v", got, err)
	}
}
