package stack_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	mi "github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/fault"
	"secureapi/scripts/devstack/stack"
)

// TestStack starts one stack for all its parts: a start takes seconds.
func TestStack(t *testing.T) {
	s, err := stack.Start(t.Context(), stack.Options{Dir: t.TempDir(), InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		select {
		case <-s.Azurite.Done():
		default:
			t.Error("Azurite outlives the stack")
		}
	})
	t.Run("tables", func(t *testing.T) { testTables(t, s) })
	t.Run("queues", func(t *testing.T) { testQueues(t, s) })
	t.Run("container", func(t *testing.T) { testContainer(t, s) })
	t.Run("vault", func(t *testing.T) { testVault(t, s) })
	t.Run("vault faults", func(t *testing.T) { testVaultFaults(t, s) })
	t.Run("managed identity", func(t *testing.T) { testManagedIdentity(t, s) })
	t.Run("local token", func(t *testing.T) { testLocalToken(t, s) })
	t.Run("files", func(t *testing.T) { testFiles(t, s) })
	t.Run("unknown host", func(t *testing.T) { testUnknownHost(t, s) })
}

func testTables(t *testing.T, s *stack.Stack) {
	client, err := aztables.NewServiceClient(stack.Endpoint(s.DataAccount(), "table"), s.Credential(),
		&aztables.ClientOptions{ClientOptions: s.ClientOptions()})
	if err != nil {
		t.Fatal(err)
	}
	records := client.NewClient("records")
	// A batch, which Azurite alone would refuse under this host name.
	var actions []aztables.TransactionAction
	for _, row := range []string{"a", "b"} {
		entity, err := json.Marshal(aztables.EDMEntity{
			Entity: aztables.Entity{PartitionKey: "p", RowKey: row}, Properties: map[string]any{"Value": []byte("x")},
		})
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: entity})
	}
	if _, err := records.SubmitTransaction(t.Context(), actions, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := records.GetEntity(t.Context(), "p", "b", nil); err != nil {
		t.Fatal(err)
	}
	_, err = records.SubmitTransaction(t.Context(), actions, nil)
	if err == nil || !strings.Contains(err.Error(), "EntityAlreadyExists") {
		t.Errorf("the same batch again: %v", err)
	}
	var tables []string
	for pager := client.NewListTablesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range page.Tables {
			tables = append(tables, *table.Name)
		}
	}
	if diff := cmp.Diff([]string{"keyring", "operations", "records", "revocations"}, tables); diff != "" {
		t.Error(diff)
	}
}

func testQueues(t *testing.T, s *stack.Stack) {
	for _, name := range []string{"imports", "imports-poison"} {
		client, err := azqueue.NewQueueClient(stack.Endpoint(s.DataAccount(), "queue")+"/"+name, s.Credential(),
			&azqueue.ClientOptions{ClientOptions: s.ClientOptions()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.EnqueueMessage(t.Context(), "ring", nil); err != nil {
			t.Fatal(err)
		}
		got, err := client.DequeueMessage(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Messages) != 1 || *got.Messages[0].MessageText != "ring" {
			t.Errorf("%s: %d messages", name, len(got.Messages))
		}
	}
}

func testContainer(t *testing.T, s *stack.Stack) {
	token, err := s.Credential().GetToken(t.Context(), storageScope())
	if err != nil {
		t.Fatal(err)
	}
	url := stack.Endpoint(s.DataAccount(), "blob") + "/imports/chunk"
	for _, tt := range []struct {
		method, token string
		body          string
		want          int
	}{
		{http.MethodPut, token.Token, "rows", http.StatusCreated},
		{http.MethodGet, token.Token, "", http.StatusOK},
		{http.MethodGet, "not-a-token", "", http.StatusForbidden},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, url, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tt.token)
		req.Header.Set("X-Ms-Version", "2021-12-02")
		req.Header.Set("X-Ms-Blob-Type", "BlockBlob")
		resp, err := s.HTTPClient().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tt.want {
			t.Errorf("%s with %.5s: status %d, want %d", tt.method, tt.token, resp.StatusCode, tt.want)
		}
	}
}

func vaultClient(t *testing.T, s *stack.Stack, cred azcore.TokenCredential) *azkeys.Client {
	t.Helper()
	options := s.ClientOptions()
	options.Retry.MaxRetries = -1
	client, err := azkeys.NewClient(s.HandlerEnv()["KEY_VAULT_URL"], cred, &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func testVault(t *testing.T, s *stack.Stack) {
	client := vaultClient(t, s, s.Credential())
	oaep := azkeys.EncryptionAlgorithmRSAOAEP256
	secret := []byte("0123456789abcdef0123456789abcdef")
	wrapped, err := client.WrapKey(t.Context(), "kek", "", azkeys.KeyOperationParameters{Algorithm: &oaep, Value: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	version := wrapped.KID.Version()
	unwrap := func() ([]byte, error) {
		got, err := client.UnwrapKey(t.Context(), "kek", version, azkeys.KeyOperationParameters{Algorithm: &oaep, Value: wrapped.Result}, nil)
		return got.Result, err
	}
	if got, err := unwrap(); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("unwrapped %q, %v", got, err)
	}
	// A newer version wraps; the older one still unwraps, until it is disabled.
	newer, err := s.Vault.AddVersion("kek")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.GetKey(t.Context(), "kek", "", nil); err != nil || got.Key.KID.Version() != newer || len(got.Key.N) != 384 {
		t.Errorf("newest key: %v, %v", got.Key, err)
	}
	if _, err := unwrap(); err != nil {
		t.Error(err)
	}
	if err := s.Vault.SetEnabled("kek", version, false); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "disabled", http.StatusForbidden, func() error { _, err := unwrap(); return err })
	var versions int
	for pager := client.NewListKeyPropertiesVersionsPager("kek", nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Value)
	}
	if versions != 2 {
		t.Errorf("%d versions, want 2", versions)
	}
	wantStatus(t, "no such key", http.StatusNotFound, func() error { _, err := client.GetKey(t.Context(), "nokey", "", nil); return err })
	testSign(t, client)
}

func testSign(t *testing.T, client *azkeys.Client) {
	key, err := client.GetKey(t.Context(), "sign", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("checkpoint"))
	es256 := azkeys.SignatureAlgorithmES256
	signed, err := client.Sign(t.Context(), "sign", "", azkeys.SignParameters{Algorithm: &es256, Value: digest[:]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, key.Key.X, key.Key.Y))
	if err != nil {
		t.Fatal(err)
	}
	r, ss := new(big.Int).SetBytes(signed.Result[:32]), new(big.Int).SetBytes(signed.Result[32:])
	if len(signed.Result) != 64 || !ecdsa.Verify(public, digest[:], r, ss) {
		t.Error("signature does not verify")
	}
}

func wantStatus(t *testing.T, what string, status int, call func() error) {
	t.Helper()
	err := call()
	if answer, ok := errors.AsType[*azcore.ResponseError](err); !ok || answer.StatusCode != status {
		t.Errorf("%s: %v, want status %d", what, err, status)
	}
}

func testVaultFaults(t *testing.T, s *stack.Stack) {
	client := vaultClient(t, s, s.Credential())
	before := s.Vault.Counts()["get"]
	s.Vault.Faults.Set(fault.Fault{Operation: "get", Status: http.StatusTooManyRequests, Times: 1})
	wantStatus(t, "throttled", http.StatusTooManyRequests, func() error { _, err := client.GetKey(t.Context(), "sign", "", nil); return err })
	if _, err := client.GetKey(t.Context(), "sign", "", nil); err != nil {
		t.Errorf("after the fault: %v", err)
	}
	if got := s.Vault.Counts()["get"] - before; got != 2 {
		t.Errorf("%d calls counted, want 2", got)
	}
	// A token of the right issuer for another resource is refused for ever.
	wrong := vaultClient(t, s, wrongResource{s.Credential()})
	wantStatus(t, "wrong audience", http.StatusUnauthorized, func() error { _, err := wrong.GetKey(t.Context(), "sign", "", nil); return err })
}

func testManagedIdentity(t *testing.T, s *stack.Stack) {
	env := s.HandlerEnv()
	t.Setenv("IDENTITY_ENDPOINT", env["IDENTITY_ENDPOINT"])
	t.Setenv("IDENTITY_HEADER", env["IDENTITY_HEADER"])
	client, err := mi.New(mi.UserAssignedClientID(env["AZURE_CLIENT_ID"]))
	if err != nil {
		t.Fatal(err)
	}
	result, err := client.AcquireToken(t.Context(), "https://vault.azure.net")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Entra.VerifyResource(result.AccessToken, "https://vault.azure.net"); err != nil {
		t.Error(err)
	}
	t.Setenv("IDENTITY_HEADER", "guessed")
	client, err = mi.New(mi.UserAssignedClientID(env["AZURE_CLIENT_ID"]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.AcquireToken(t.Context(), "https://monitor.azure.com"); err == nil {
		t.Error("a wrong header was accepted")
	}
}

func testLocalToken(t *testing.T, s *stack.Stack) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Info().TokenURL, strings.NewReader(`{"persona":"writer"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || strings.Count(answer.AccessToken, ".") != 2 {
		t.Errorf("token %q, %v", answer.AccessToken, err)
	}
}

func testFiles(t *testing.T, s *stack.Stack) {
	dir := filepath.Dir(s.Info().LogDir)
	for _, name := range []string{"stack.json", "transport.json", "handler.env", "vaultctl.env", "server.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %s", name, info.Mode())
		}
	}
	loaded, err := stack.Load(filepath.Join(dir, "stack.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Info(), loaded); diff != "" {
		t.Error(diff)
	}
}

func testUnknownHost(t *testing.T, s *stack.Stack) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://management.azure.com/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.HTTPClient().Do(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if !errors.Is(err, ca.ErrUnknownHost) {
		t.Errorf("error %v, want ErrUnknownHost", err)
	}
}

func TestStartStopsWhatItStarted(t *testing.T) {
	dir := t.TempDir()
	failure := errors.New("no keyring")
	_, err := stack.Start(t.Context(), stack.Options{
		Dir: dir, InMemory: true,
		Bootstrap: func(context.Context, *stack.Stack) error { return failure },
	})
	if !errors.Is(err, failure) {
		t.Fatalf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "transport.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("transport.json is left: %v", err)
	}
}
