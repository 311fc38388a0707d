package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"
)

// queueService reaches the queues of one identity-based connection.
type queueService struct {
	url     string
	cred    azcore.TokenCredential
	options *azqueue.ClientOptions
}

// newQueueService reads the settings <connection>__queueServiceUri (or
// __accountName), __credential and __clientId. Connection strings hold keys, and
// this project has none.
func newQueueService(connection string, env environment, client *http.Client) (*queueService, error) {
	address := env.get(connection + "__queueServiceUri")
	if account := env.get(connection + "__accountName"); address == "" && account != "" {
		address = "https://" + account + ".queue.core.windows.net"
	}
	switch {
	case env.get(connection) != "" || env.get("ConnectionStrings:"+connection) != "":
		return nil, errors.New("a connection string is set: only identity-based connections are supported")
	case address == "":
		return nil, fmt.Errorf("%s__queueServiceUri is not set", connection)
	case !strings.HasPrefix(address, "https://"):
		return nil, fmt.Errorf("%s__queueServiceUri must be https: a token must not travel in clear", connection)
	case !strings.EqualFold(env.get(connection+"__credential"), "managedidentity"):
		return nil, fmt.Errorf("%s__credential must be managedidentity", connection)
	}
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	cred, err := newManagedIdentity(env, env.get(connection+"__clientId"), client)
	if err != nil {
		return nil, err
	}
	return &queueService{
		url: strings.TrimSuffix(address, "/"), cred: cred,
		options: &azqueue.ClientOptions{ClientOptions: policy.ClientOptions{
			Transport: client,
			Retry:     policy.RetryOptions{MaxRetries: 3, TryTimeout: 15 * time.Second},
		}},
	}, nil
}

func (s *queueService) queue(name string) queue { return &storageQueue{service: s, name: name} }

// storageQueue is a queue in Azure Queue Storage or Azurite.
type storageQueue struct {
	service *queueService
	name    string
}

func (q *storageQueue) client() (*azqueue.QueueClient, error) {
	client, err := azqueue.NewQueueClient(q.service.url+"/"+q.name, q.service.cred, q.service.options)
	if err != nil {
		return nil, fmt.Errorf("making the queue client: %w", err)
	}
	return client, nil
}

func (q *storageQueue) dequeue(ctx context.Context, n int, hide time.Duration) ([]message, error) {
	client, err := q.client()
	if err != nil {
		return nil, err
	}
	resp, err := client.DequeueMessages(ctx, &azqueue.DequeueMessagesOptions{
		NumberOfMessages: new(int32(min(n, 32))), VisibilityTimeout: seconds(hide), //nolint:gosec // 1 to 32
	})
	if err != nil {
		return nil, fmt.Errorf("taking messages: %w", err)
	}
	messages := make([]message, 0, len(resp.Messages))
	for _, m := range resp.Messages {
		if m == nil || m.MessageID == nil || m.PopReceipt == nil || m.DequeueCount == nil {
			return nil, errors.New("taking messages: an incomplete message")
		}
		taken := message{queueFacts: queueFacts{id: *m.MessageID, popReceipt: *m.PopReceipt, dequeueCount: *m.DequeueCount}}
		if m.MessageText != nil {
			taken.text = *m.MessageText
		}
		for field, value := range map[*time.Time]*time.Time{
			&taken.insertion: m.InsertionTime, &taken.expiration: m.ExpirationTime, &taken.nextVisible: m.TimeNextVisible,
		} {
			if value != nil {
				*field = *value
			}
		}
		messages = append(messages, taken)
	}
	return messages, nil
}

func (q *storageQueue) hide(ctx context.Context, m message, d time.Duration) (string, error) {
	client, err := q.client()
	if err != nil {
		return "", err
	}
	// The service takes an update without the text for an empty text.
	resp, err := client.UpdateMessage(ctx, m.id, m.popReceipt, m.text, &azqueue.UpdateMessageOptions{VisibilityTimeout: seconds(d)})
	if err != nil {
		return "", fmt.Errorf("hiding a message: %w", err)
	}
	if resp.PopReceipt == nil {
		return "", errors.New("hiding a message: no receipt")
	}
	return *resp.PopReceipt, nil
}

func (q *storageQueue) remove(ctx context.Context, m message) error {
	client, err := q.client()
	if err != nil {
		return err
	}
	if _, err := client.DeleteMessage(ctx, m.id, m.popReceipt, nil); err != nil {
		return fmt.Errorf("deleting a message: %w", err)
	}
	return nil
}

func (q *storageQueue) put(ctx context.Context, text string) error {
	client, err := q.client()
	if err != nil {
		return err
	}
	_, err = client.EnqueueMessage(ctx, text, nil)
	if queueerror.HasCode(err, queueerror.QueueNotFound) {
		if _, err := client.Create(ctx, nil); err != nil && !queueerror.HasCode(err, queueerror.QueueAlreadyExists) {
			return fmt.Errorf("creating the queue: %w", err)
		}
		_, err = client.EnqueueMessage(ctx, text, nil)
	}
	if err != nil {
		return fmt.Errorf("adding a message: %w", err)
	}
	return nil
}

func seconds(d time.Duration) *int32 {
	return new(int32(min(math.MaxInt32, d/time.Second))) //nolint:gosec // bounded
}
