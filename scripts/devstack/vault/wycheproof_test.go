package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/azure"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/handler/vectors"
	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/vault"
)

const host = "devvault.vault.azure.net"

type goodToken struct{}

func (goodToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "good", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// wrapperOver serves a vault whose wrapping key is the given one, over TLS, and
// gives the handler's own adapter to it.
func wrapperOver(t *testing.T, pkcs8 []byte) (*keyvault.Wrapper, keyring.KeyRef) {
	t.Helper()
	ref := keyring.KeyRef{Name: vault.WrapKey, Version: strings.Repeat("a", 32)}
	made := filepath.Join(t.TempDir(), "made.json")
	open(t, made) // a signing key, which the state must hold
	var state map[string][]map[string]any
	read(t, made, &state)
	state[vault.WrapKey] = []map[string]any{{"id": ref.Version, "created": time.Now(), "updated": time.Now(), "enabled": true, "pkcs8": pkcs8}}
	file := filepath.Join(t.TempDir(), "vault.json")
	write(t, file, state)
	authority, err := ca.New(host)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(open(t, file))
	server.TLS = authority.ServerTLS()
	server.StartTLS()
	t.Cleanup(server.Close)
	stack := filepath.Join(t.TempDir(), "transport.json")
	write(t, stack, map[string]any{"rootsPem": authority.RootsPEM(), "hosts": map[string]string{host: server.Listener.Addr().String()}})
	transport, err := azure.NewTransport(stack, func(string) string { return "" }, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	client, err := keyvault.New("https://"+host, goodToken{}, transport.ClientOptions(azure.KeyVault, nil))
	if err != nil {
		t.Fatal(err)
	}
	wrapper, err := client.Wrapper(vault.WrapKey)
	if err != nil {
		t.Fatal(err)
	}
	return wrapper, ref
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, file string, document any) {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWycheproofRSAOAEP256 unwraps every vector through the handler's Key Vault
// adapter, TLS and the local vault. RSA-OAEP-256 has no label and one mask
// function, so that valid vectors with a label, and those whose mask function is
// over SHA-1, must not open.
func TestWycheproofRSAOAEP256(t *testing.T) {
	ours := map[string]int{"unwrapped": 10, "refused: label": 8, "refused: invalid": 19}
	other := map[string]int{"refused: mask function": 13, "refused: invalid": 19}
	for file, want := range map[string]map[string]int{
		"rsa_oaep_2048_sha256_mgf1sha256_test.json": ours,
		"rsa_oaep_3072_sha256_mgf1sha256_test.json": ours,
		"rsa_oaep_4096_sha256_mgf1sha256_test.json": ours,
		"rsa_oaep_2048_sha256_mgf1sha1_test.json":   {"refused: mask function": 13, "refused: invalid": 18},
		"rsa_oaep_3072_sha256_mgf1sha1_test.json":   other,
		"rsa_oaep_4096_sha256_mgf1sha1_test.json":   other,
	} {
		t.Run(file, func(t *testing.T) {
			if outcomes := unwrapAll(t, file); !maps.Equal(outcomes, want) {
				t.Errorf("outcomes %v, want %v", outcomes, want)
			}
		})
	}
}

func unwrapAll(t *testing.T, file string) map[string]int {
	t.Helper()
	type group struct {
		MaskHash string        `json:"mgfSha"`
		PKCS8    vectors.Bytes `json:"privateKeyPkcs8"`
	}
	type vector struct {
		ID         int            `json:"tcId"`
		Message    vectors.Bytes  `json:"msg"`
		Ciphertext vectors.Bytes  `json:"ct"`
		Label      vectors.Bytes  `json:"label"`
		Result     vectors.Result `json:"result"`
	}
	groups, err := vectors.Read[group, vector](file)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for _, g := range groups {
		wrapper, ref := wrapperOver(t, g.Shared.PKCS8)
		for _, v := range g.Tests {
			opened, err := wrapper.Unwrap(t.Context(), ref, v.Ciphertext)
			outcome := "unwrapped"
			switch {
			case v.Result != vectors.Valid:
				outcome = "refused: invalid"
			case g.Shared.MaskHash != "SHA-256":
				outcome = "refused: mask function"
			case len(v.Label) > 0:
				outcome = "refused: label"
			}
			outcomes[outcome]++
			if outcome == "unwrapped" && (err != nil || !bytes.Equal(opened, v.Message)) {
				t.Errorf("vector %d: %v", v.ID, err)
			}
			if outcome != "unwrapped" && !errors.Is(err, keyvault.ErrAnswer) {
				t.Errorf("vector %d (%s): %v", v.ID, outcome, err)
			}
		}
	}
	return outcomes
}
