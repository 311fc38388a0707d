package azure_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"secureapi/handler/azure"
	"secureapi/handler/azure/credential"
	"secureapi/handler/azure/insights"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/azure/queues"
	"secureapi/handler/keyring"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
)

// TestTransactionsAreCounted: what a caller does is one transaction each, and
// no call names a row.
func TestTransactionsAreCounted(t *testing.T) {
	transport := newTransport(t)
	var seen observed
	store := newTable(t, transport, newIdentity(t, transport), seen.add)
	insert := func(keys ...string) (m []rowstore.Mutation) {
		for _, key := range keys {
			m = append(m, rowstore.Mutation{Action: rowstore.Insert, Row: rowstore.Row{Partition: "p", Key: key}})
		}
		return m
	}
	_, err := store.Apply(t.Context(), "p", insert("a", "b", "c"))
	must(t, store, err)
	_, err = store.Apply(t.Context(), "p", insert("d"))
	must(t, store, err)
	_, err = store.Get(t.Context(), "p", "a")
	must(t, store, err)
	_, _, err = store.List(t.Context(), "p", rowstore.Range{Limit: 10})
	must(t, store, err)
	if _, err = store.Apply(t.Context(), "p", insert("a", "e")); !errors.Is(err, rowstore.ErrExists) {
		t.Fatal(err)
	}
	var got []string
	for _, call := range seen.take() {
		if call.Tries != 1 || call.Failed() || call.Duration <= 0 || call.Host != env["DATA_STORAGE_ACCOUNT"]+".table.core.windows.net" {
			t.Errorf("call %+v", call)
		}
		method, target, _ := strings.Cut(call.Operation, " ")
		if strings.ContainsAny(target, "'=(") {
			t.Errorf("operation %q", call.Operation)
		}
		got = append(got, method)
	}
	if diff := cmp.Diff([]string{"POST", "POST", "GET", "GET", "POST"}, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestMissingTable is a deployment's mistake, never an empty table.
func TestMissingTable(t *testing.T) {
	transport := newTransport(t)
	store := newTable(t, transport, newIdentity(t, transport), nil)
	rows := []rowstore.Mutation{{Action: rowstore.Insert, Row: rowstore.Row{Partition: "p", Key: "a"}}}
	_, err := store.Apply(t.Context(), "p", rows)
	must(t, store, err)
	missing := missingTable(t, transport)
	_, getErr := missing.Get(t.Context(), "p", "a")
	_, _, listErr := missing.List(t.Context(), "p", rowstore.Range{Limit: 1})
	_, oneErr := missing.Apply(t.Context(), "p", rows)
	_, twoErr := missing.Apply(t.Context(), "p", append(rows, rowstore.Mutation{
		Action: rowstore.Insert, Row: rowstore.Row{Partition: "p", Key: "b"},
	}))
	for call, err := range map[string]error{"Get": getErr, "List": listErr, "one": oneErr, "two": twoErr} {
		if !errors.Is(err, rowstore.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", call, err)
		}
	}
}

func TestOversizeBlob(t *testing.T) {
	transport := newTransport(t)
	_, open := newContainer(t, transport, newIdentity(t, transport))
	if err := open(2000).Put(t.Context(), "large", make([]byte, 1001)); err != nil {
		t.Fatal(err)
	}
	if data, err := open(1000).Get(t.Context(), "large"); !errors.Is(err, rowstore.ErrInvalid) || data != nil {
		t.Errorf("%d bytes, %v; want ErrInvalid", len(data), err)
	}
}

func TestBacklog(t *testing.T) {
	transport := newTransport(t)
	queue, _ := newQueue(t, transport, newIdentity(t, transport))
	if got, err := queue.Backlog(t.Context()); err != nil || got != (queues.Backlog{}) {
		t.Errorf("an empty queue: %v, %v", got, err)
	}
	for _, delay := range []time.Duration{0, 0, time.Hour} {
		if err := queue.Send(t.Context(), "x", delay); err != nil {
			t.Fatal(err)
		}
	}
	got, err := queue.Backlog(t.Context())
	if err != nil || got.Messages != 3 || time.Since(got.Oldest).Abs() > time.Minute {
		t.Errorf("%v, %v; want 3 messages, the first of now", got, err)
	}
}

func newVault(t *testing.T, transport *azure.Transport, identity *credential.Credential) (*keyvault.Wrapper, *keyvault.Signer) {
	t.Helper()
	vault, err := keyvault.New(env["KEY_VAULT_URL"], identity, transport.ClientOptions(azure.KeyVault, nil))
	must(t, vault, err)
	wrapper, err := vault.Wrapper(env["KEY_WRAP_NAME"])
	must(t, wrapper, err)
	signer, err := vault.Signer(env["KEY_SIGN_NAME"])
	return wrapper, must(t, signer, err)
}

func TestKeyVaultOnTheStack(t *testing.T) {
	transport := newTransport(t)
	wrapper, signer := newVault(t, transport, newIdentity(t, transport))
	plaintext := []byte(rand.Text())
	old, wrapped, err := wrapper.Wrap(t.Context(), plaintext)
	must(t, old, err)
	version, err := local.Vault.AddVersion(env["KEY_WRAP_NAME"])
	must(t, version, err)
	newest, err := wrapper.Newest(t.Context())
	must(t, newest, err)
	if want := (keyring.KeyRef{Name: env["KEY_WRAP_NAME"], Version: version}); newest != want || newest == old {
		t.Errorf("newest %v after adding %v to %v", newest, want, old)
	}
	if got, err := wrapper.Unwrap(t.Context(), old, wrapped); err != nil || !bytes.Equal(got, plaintext) {
		t.Errorf("unwrapping by the old version: %v", err)
	}
	must(t, version, local.Vault.SetEnabled(env["KEY_WRAP_NAME"], version, false))
	if got, err := wrapper.Newest(t.Context()); err != nil || got != old {
		t.Errorf("newest with the newest disabled: %v, %v; want %v", got, err, old)
	}
	if _, err := wrapper.Unwrap(t.Context(), newest, wrapped); !errors.Is(err, keyvault.ErrDisabled) {
		t.Errorf("unwrapping by a disabled version: %v, want ErrDisabled", err)
	}
	absent := keyring.KeyRef{Name: old.Name, Version: strings.Repeat("0", 32)}
	if _, err := wrapper.Unwrap(t.Context(), absent, wrapped); !errors.Is(err, keyvault.ErrNotFound) {
		t.Errorf("unwrapping by no version: %v, want ErrNotFound", err)
	}
	digest := sha256.Sum256(plaintext)
	signed, signature, err := signer.Sign(t.Context(), digest[:])
	must(t, signed, err)
	public, err := signer.PublicKey(t.Context(), signed)
	must(t, public, err)
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Error("the signature does not verify")
	}
}

func newInsights(t *testing.T, transport *azure.Transport) *insights.Client {
	t.Helper()
	connection, err := insights.ParseConnection(env["APPLICATIONINSIGHTS_CONNECTION_STRING"], env["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"])
	must(t, connection, err)
	client, err := insights.New(insights.Options{
		Connection: connection, Role: "secureapi", Instance: "test", Credential: newIdentity(t, transport),
		HTTP: transport.Client(10 * time.Second), Logger: quiet,
	})
	return must(t, client, err)
}

// TestTelemetryOnTheStack sends the dependency of a real call through the real
// library, with a token that the endpoint verifies.
func TestTelemetryOnTheStack(t *testing.T) {
	transport := newTransport(t)
	client := newInsights(t, transport)
	store := newTable(t, transport, newIdentity(t, transport), azure.Record(client))
	ctx := telemetry.WithTrace(t.Context(), "")
	if _, err := store.Get(ctx, "p", "secret-key"); !errors.Is(err, rowstore.ErrNotFound) {
		t.Fatal(err)
	}
	client.Event(ctx, telemetry.EventStarted)
	closing, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.Close(closing); err != nil {
		t.Fatal(err)
	}
	type item struct {
		Tags map[string]string
		Data struct {
			BaseType string
			BaseData map[string]any
		}
	}
	var types []string
	for _, received := range local.Ingest.Items() {
		var it item
		must(t, it, json.Unmarshal(received.Raw, &it))
		if it.Tags["ai.operation.id"] != telemetry.TraceID(ctx) {
			continue
		}
		types = append(types, it.Data.BaseType)
		if !received.Authenticated {
			t.Errorf("%s came without a token", it.Data.BaseType)
		}
		if bytes.Contains(received.Raw, []byte("secret-key")) {
			t.Errorf("an item names a row: %s", received.Raw)
		}
	}
	want := []string{"RemoteDependencyData", "EventData"}
	if diff := cmp.Diff(want, types, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

// TestAnotherHostIsOutOfReach: the handler of a local stack cannot leave it.
func TestAnotherHostIsOutOfReach(t *testing.T) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://management.azure.com/", http.NoBody)
	must(t, request, err)
	response, err := newTransport(t).Client(5 * time.Second).Do(request)
	if err == nil {
		response.Body.Close()
		t.Error("management.azure.com answered")
	}
}
