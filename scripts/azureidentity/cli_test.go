package azureidentity

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

func TestTokensOfTheAzureCLI(t *testing.T) {
	end := time.Now().Add(time.Hour).Unix()
	for name, tt := range map[string]struct {
		script string
		ok     bool
	}{
		"signed in":      {fmt.Sprintf(`test "$1 $2 $4 $6" = "account get-access-token json https://vault.azure.net/.default" && echo '{"accessToken":"T","expires_on":%d}'`, end), true},
		"signed out":     {"echo secret >&2; exit 1", false},
		"an old version": {`echo '{"accessToken":"secret","expiresOn":"2026-01-01 00:00:00"}'`, false},
		"not JSON":       {"echo secret", false},
	} {
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "az")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil { // #nosec G306 -- a program
				t.Fatal(err)
			}
			token, err := cli{program}.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
			if (err == nil) != tt.ok || tt.ok && (token.Token != "T" || token.ExpiresOn.Unix() != end) {
				t.Errorf("%v, %v", token, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats the CLI: %v", err)
			}
		})
	}
}
