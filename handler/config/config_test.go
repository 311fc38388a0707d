package config_test

import (
	"maps"
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

		"MAX_CONCURRENT_REQUESTS": "0",
		"RATE_LIMIT_PER_MINUTE":   "zq-secret",
		"RATE_LIMIT_BURST":        "-1",
		"TRUSTED_PROXY_HOPS":      "6",
		"IMPORT_REPAIR_AFTER":     "zq-secret",

		"AzureWebJobsStorage": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=zq-secret",
		"DataStorage":         "https://a.queue.core.windows.net?sv=1&sig=zq-secret",
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

const (
	id      = "5a1b0a5e-0f41-4f0e-8f8e-3a2b6f1f9d11"
	china   = "https://login.partner.microsoftonline.cn"
	chinaV1 = "https://sts.chinacloudapi.cn"
)

// TestSettingsThatBelongTogether: each set is whole or refused, and the error
// names the setting that is at fault.
func TestSettingsThatBelongTogether(t *testing.T) {
	for name, tt := range map[string]struct {
		settings map[string]string
		fault    string // "" loads
	}{
		"managed identity of the system": {map[string]string{"AZURE_CREDENTIAL": "managed-identity"}, ""},
		"certificate": {map[string]string{
			"AZURE_CREDENTIAL": "client-certificate", "AZURE_CLIENT_ID": id, "AZURE_TENANT_ID": id, "AZURE_CLIENT_CERTIFICATE_PATH": "/run/cert.pem",
		}, ""},
		"federation": {map[string]string{
			"AZURE_CREDENTIAL": "workload-identity", "AZURE_CLIENT_ID": id, "AZURE_TENANT_ID": id, "AZURE_FEDERATED_TOKEN_FILE": "/run/token",
		}, ""},
		"a client secret": {map[string]string{"AZURE_CREDENTIAL": "client-secret"}, "AZURE_CREDENTIAL"},
		"a chain":         {map[string]string{"AZURE_CREDENTIAL": "default"}, "AZURE_CREDENTIAL"},
		"certificate without file": {map[string]string{
			"AZURE_CREDENTIAL": "client-certificate", "AZURE_CLIENT_ID": id, "AZURE_TENANT_ID": id,
		}, "AZURE_CLIENT_CERTIFICATE_PATH"},
		"certificate of the working directory": {map[string]string{
			"AZURE_CREDENTIAL": "client-certificate", "AZURE_CLIENT_ID": id, "AZURE_TENANT_ID": id, "AZURE_CLIENT_CERTIFICATE_PATH": "cert.pem",
		}, "AZURE_CLIENT_CERTIFICATE_PATH"},
		"federation without tenant": {map[string]string{
			"AZURE_CREDENTIAL": "workload-identity", "AZURE_CLIENT_ID": id, "AZURE_FEDERATED_TOKEN_FILE": "/run/token",
		}, "AZURE_TENANT_ID"},
		"federation without client": {map[string]string{
			"AZURE_CREDENTIAL": "workload-identity", "AZURE_TENANT_ID": id, "AZURE_FEDERATED_TOKEN_FILE": "/run/token",
		}, "AZURE_CLIENT_ID"},
		"a certificate that nobody looks at": {map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": "/run/cert.pem"}, "AZURE_CLIENT_CERTIFICATE_PATH"},
		"an assertion that nobody looks at":  {map[string]string{"AZURE_FEDERATED_TOKEN_FILE": "/run/token"}, "AZURE_FEDERATED_TOKEN_FILE"},

		"version 1.0":                   {map[string]string{"ACCEPT_V1_TOKENS": "true", "API_APP_ID_URI": "api://x"}, ""},
		"version 1.0 of another cloud":  {map[string]string{"ACCEPT_V1_TOKENS": "true", "AUTHORITY_HOST": china, "V1_ISSUER_HOST": chinaV1}, ""},
		"a guess for another cloud":     {map[string]string{"ACCEPT_V1_TOKENS": "true", "AUTHORITY_HOST": china}, "V1_ISSUER_HOST"},
		"neither yes nor no":            {map[string]string{"ACCEPT_V1_TOKENS": "1"}, "ACCEPT_V1_TOKENS"},
		"an issuer of naught":           {map[string]string{"V1_ISSUER_HOST": chinaV1}, "V1_ISSUER_HOST"},
		"an issuer over plain HTTP":     {map[string]string{"ACCEPT_V1_TOKENS": "true", "V1_ISSUER_HOST": "http://sts.windows.net"}, "V1_ISSUER_HOST"},
		"a second name for version 2.0": {map[string]string{"API_APP_ID_URI": "api://x"}, "API_APP_ID_URI"},
		"a name that is no URI":         {map[string]string{"ACCEPT_V1_TOKENS": "true", "API_APP_ID_URI": "x"}, "API_APP_ID_URI"},
	} {
		environment := good()
		maps.Copy(environment, tt.settings)
		_, err := config.Load(environment)
		if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
