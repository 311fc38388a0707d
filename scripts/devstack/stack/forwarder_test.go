package stack_test

import (
	"net"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"secureapi/scripts/devstack/stack"
)

// emulator is what UseDevelopmentStorage=true stands for.
const emulator = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;" +
	"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;" +
	"QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;TableEndpoint=http://127.0.0.1:10002/devstoreaccount1"

func TestForwarder(t *testing.T) {
	for _, address := range []string{"127.0.0.1:10000", "127.0.0.1:10001", "127.0.0.1:10002"} {
		var config net.ListenConfig
		l, err := config.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Skipf("%s, which Core Tools fix, is taken on this machine: %v", address, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := stack.Start(t.Context(), stack.Options{Dir: t.TempDir(), InMemory: true, Forwarder: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	// The host's way in, plain HTTP with the account's key, ...
	queue, err := azqueue.NewQueueClientFromConnectionString(emulator, "imports", nil)
	if err != nil {
		t.Fatal(err)
	}
	// ... and the handler's, with a bearer token, meet in the same queue.
	if s.DataAccount() != s.HandlerEnv()["DATA_STORAGE_ACCOUNT"] {
		t.Errorf("the handler uses %s", s.HandlerEnv()["DATA_STORAGE_ACCOUNT"])
	}
	handlers, err := azqueue.NewQueueClient(stack.Endpoint(s.DataAccount(), "queue")+"/imports", s.Credential(),
		&azqueue.ClientOptions{ClientOptions: s.ClientOptions()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handlers.EnqueueMessage(t.Context(), "ring", nil); err != nil {
		t.Fatal(err)
	}
	got, err := queue.DequeueMessage(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Messages) != 1 || *got.Messages[0].MessageText != "ring" {
		t.Errorf("%d messages", len(got.Messages))
	}
	tables, err := aztables.NewServiceClientFromConnectionString(emulator, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tables.CreateTable(t.Context(), "hosts", nil); err != nil {
		t.Error(err)
	}
}
