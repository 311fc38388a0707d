package azure_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"secureapi/handler/azure"
	"secureapi/handler/azure/blobs"
	"secureapi/handler/azure/credential"
	"secureapi/handler/azure/queues"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/storetest"
	"secureapi/scripts/devstack/stack"
)

// The tests of this file run every adapter as main puts them together, over
// one local stack: real MSAL and SDKs, verified TLS under the real names,
// tokens of the managed identity, Azurite, the vault and the ingestion
// endpoint behind the handler's own transport file.

var (
	local *stack.Stack
	env   map[string]string
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "secureapi-stack-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	local, err = stack.Start(context.Background(), stack.Options{Dir: dir, InMemory: true})
	if err != nil {
		return fail(err)
	}
	defer func() { _ = local.Stop() }()
	env = local.HandlerEnv()
	// MSAL reads these two from the process itself.
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER"} {
		if err := os.Setenv(name, env[name]); err != nil {
			return fail(err)
		}
	}
	return m.Run()
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, "local stack:", err)
	return 1
}

func getenv(name string) string { return env[name] }

// observed keeps what the observer of a client was told.
type observed struct {
	mu    sync.Mutex
	calls []azure.Call
}

func (o *observed) add(_ context.Context, call azure.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, call)
}

func (o *observed) take() []azure.Call {
	o.mu.Lock()
	defer o.mu.Unlock()
	calls := o.calls
	o.calls = nil
	return calls
}

func newTransport(t *testing.T) *azure.Transport {
	t.Helper()
	transport, err := azure.NewTransport(env["LOCAL_STACK_FILE"], getenv, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	return transport
}

func newIdentity(t *testing.T, transport *azure.Transport) *credential.Credential {
	t.Helper()
	identity, err := credential.ManagedIdentity(env["AZURE_CLIENT_ID"], transport.IdentityClient(10*time.Second),
		credential.Options{Clock: clock.System})
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// unique is a name that every service takes.
func unique(prefix string) string { return prefix + strings.ToLower(rand.Text()[:20]) }

// must is for steps that only prepare a test.
func must[T any](t *testing.T, value T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func newTable(t *testing.T, transport *azure.Transport, identity azcore.TokenCredential, o azure.Observer) *tables.Store {
	t.Helper()
	endpoint, name := stack.Endpoint(env["DATA_STORAGE_ACCOUNT"], "table"), unique("t")
	admin, err := aztables.NewServiceClient(endpoint, local.Credential(), &aztables.ClientOptions{ClientOptions: local.ClientOptions()})
	must(t, admin, err)
	_, err = admin.CreateTable(t.Context(), name, nil)
	must(t, name, err)
	service, err := tables.NewService(endpoint, identity, transport.ClientOptions(azure.Tables, o))
	must(t, service, err)
	store, err := service.Table(name)
	return must(t, store, err)
}

func newContainer(t *testing.T, transport *azure.Transport, identity azcore.TokenCredential) (name string, open func(limit int) *blobs.Container) {
	t.Helper()
	endpoint, name := stack.Endpoint(env["DATA_STORAGE_ACCOUNT"], "blob"), unique("c")
	admin, err := container.NewClient(endpoint+"/"+name, local.Credential(), &container.ClientOptions{ClientOptions: local.ClientOptions()})
	must(t, admin, err)
	_, err = admin.Create(t.Context(), nil)
	must(t, name, err)
	return name, func(limit int) *blobs.Container {
		c, err := blobs.NewContainer(endpoint, name, limit, identity, transport.ClientOptions(azure.Blobs, nil))
		return must(t, c, err)
	}
}

func newQueue(t *testing.T, transport *azure.Transport, identity azcore.TokenCredential) (*queues.Queue, *azqueue.QueueClient) {
	t.Helper()
	endpoint, name := stack.Endpoint(env["DATA_STORAGE_ACCOUNT"], "queue"), unique("q")
	admin, err := azqueue.NewQueueClient(endpoint+"/"+name, local.Credential(), &azqueue.ClientOptions{ClientOptions: local.ClientOptions()})
	must(t, admin, err)
	_, err = admin.Create(t.Context(), nil)
	must(t, name, err)
	queue, err := queues.NewQueue(endpoint, name, identity, transport.ClientOptions(azure.Queues, nil))
	return must(t, queue, err), admin
}

func TestTablesOnTheStack(t *testing.T) {
	transport := newTransport(t)
	identity := newIdentity(t, transport)
	storetest.Rows(t, func(t *testing.T) storetest.Store { return newTable(t, transport, identity, nil) })
}

func TestBlobsOnTheStack(t *testing.T) {
	const limit = 1 << 20
	transport := newTransport(t)
	identity := newIdentity(t, transport)
	storetest.Blobs(t, limit, func(t *testing.T) storetest.BlobStore {
		_, open := newContainer(t, transport, identity)
		return open(limit)
	})
}

func TestQueuesOnTheStack(t *testing.T) {
	transport := newTransport(t)
	identity := newIdentity(t, transport)
	storetest.Queue(t, func(t *testing.T) (storetest.QueueSender, func() []string) {
		queue, admin := newQueue(t, transport, identity)
		return queue, func() []string {
			peeked, err := admin.PeekMessages(t.Context(), nil)
			must(t, peeked, err)
			var texts []string
			for _, m := range peeked.Messages {
				texts = append(texts, *m.MessageText)
			}
			return texts
		}
	})
}

var quiet = slog.New(slog.DiscardHandler)

func missingTable(t *testing.T, transport *azure.Transport) *tables.Store {
	t.Helper()
	service, err := tables.NewService(stack.Endpoint(env["DATA_STORAGE_ACCOUNT"], "table"), newIdentity(t, transport),
		transport.ClientOptions(azure.Tables, nil))
	must(t, service, err)
	store, err := service.Table(unique("absent"))
	return must(t, store, err)
}
