package config_test

import (
	"strings"
	"testing"

	"secureapi/handler/config"
)

func good() map[string]string {
	return map[string]string{
		"FUNCTIONS_CUSTOMHANDLER_PORT": "7072",
		"TENANT_IDS":                   "72f988bf-86f1-41af-91ab-2d7cd011db47",
		"API_CLIENT_ID":                "5a1b0a5e-0f41-4f0e-8f8e-3a2b6f1f9d11",
		"KEY_VAULT_URL":                "https://devvault.vault.azure.net",
		"DATA_STORAGE_ACCOUNT":         "devdata",
		"AUDIT_STORAGE_ACCOUNT":        "devaudit",
	}
}

func TestGoodSettingsLoad(t *testing.T) {
	c, err := config.Load(good())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Endpoint(c.DataAccount, "table"); got != "https://devdata.table.core.windows.net" {
		t.Errorf("endpoint %s", got)
	}
	if len(c.RevealPurposes) != 3 || c.StepUpContext != "c1" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestAllProblemsAreNamedAtOnce(t *testing.T) {
	_, err := config.Load(nil)
	if err == nil {
		t.Fatal("an empty environment loaded")
	}
	for _, setting := range []string{
		"FUNCTIONS_CUSTOMHANDLER_PORT", "TENANT_IDS", "API_CLIENT_ID", "KEY_VAULT_URL", "DATA_STORAGE_ACCOUNT", "AUDIT_STORAGE_ACCOUNT",
	} {
		if !strings.Contains(err.Error(), setting) {
			t.Errorf("%s is not named: %v", setting, err)
		}
	}
}

func TestBadSettingsAreRefusedWithoutTheirValue(t *testing.T) {
	cases := map[string]string{
		"TENANT_IDS":            "common",
		"API_CLIENT_ID":         "api://zq-secret",
		"KEY_VAULT_URL":         "http://devvault.vault.azure.net",
		"AUTHORITY_HOST":        "https://login.microsoftonline.com/zq-secret",
		"AUDIT_STORAGE_ACCOUNT": "devdata",
		"KEY_SIGN_NAME":         "kek",
		"REVEAL_PURPOSES":       "zq secret",
		"LOG_LEVEL":             "trace",
		"AzureWebJobsStorage":   "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=zq-secret",
		"DataStorage":           "https://a.queue.core.windows.net?sv=1&sig=zq-secret",
	}
	for setting, value := range cases {
		environment := good()
		environment[setting] = value
		_, err := config.Load(environment)
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%s: %v", setting, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error holds the value: %v", setting, err)
		}
	}
}
