package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
	"secureapi/handler/config"
)

// TestTheConfiguredIdentityIsTheOneInUse: no kind falls back to another.
func TestTheConfiguredIdentityIsTheOneInUse(t *testing.T) {
	none := func(string) string { return "" }
	transport, err := azure.NewTransport("", none, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	c := config.Config{
		AuthorityHost: "https://login.microsoftonline.com", TenantID: "5f0a3c52-8a1e-4c39-9d8e-2b6f1f7c0a11",
		ClientID: "a96e2f18-d0b4-4f7c-8c63-1e5d7b3a9f55", CertificateFile: missing, FederatedTokenFile: missing,
	}
	for kind, want := range map[string]string{
		config.ClientCertificate: "client certificate", config.WorkloadIdentity: "workload identity",
	} {
		c.Credential = kind
		identity, err := newIdentity(c, transport, slog.New(slog.DiscardHandler))
		if err == nil {
			_, err = identity.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s without its file: %v", kind, err)
		}
	}
}

func TestTheTokensOfTheSettingsAreThoseOfTheAPI(t *testing.T) {
	c := config.Config{AcceptV1: "true", V1IssuerHost: "https://sts.chinacloudapi.cn", AppIDURI: "api://x"}
	if got := acceptedTokens(c); !got.AcceptV1 || got.V1Host != c.V1IssuerHost || got.AppIDURI != c.AppIDURI {
		t.Errorf("%+v", got)
	}
	if acceptedTokens(config.Config{AcceptV1: "false"}).AcceptV1 {
		t.Error("version 1.0 is accepted")
	}
}
