// Package queues sends messages to one queue of Azure Queue Storage. It does
// not receive: the Functions host's queue trigger does.
//
// Trust boundary: a queue is a doorbell and carries no authority. What is sent
// is sealed by the caller; whatever arrives at a trigger is checked there. The
// text is sent as it is (the host is configured with messageEncoding none), so
// it is limited to what XML cannot alter.
package queues

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"secureapi/handler/azure"
	"secureapi/handler/rowstore"
)

const (
	// life is how long the service keeps a message that nobody takes. What a
	// message rings for stands in the operation row, which rings again.
	life = 7 * 24 * time.Hour
)

var (
	queueName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)

	errAnswer = errors.New("unreadable answer")
)

// Queue is one queue. It is safe for concurrent use.
type Queue struct {
	client *azqueue.QueueClient
}

// NewQueue opens the queue called name at endpoint
// (https://<account>.queue.<suffix>), which it does not contact yet.
func NewQueue(endpoint, name string, credential azcore.TokenCredential, options azcore.ClientOptions) (*Queue, error) {
	if err := azure.CheckEndpoint(endpoint); err != nil {
		return nil, fmt.Errorf("queue service: %w", err)
	}
	if !queueName.MatchString(name) {
		return nil, errors.New("queue service: not a queue name")
	}
	client, err := azqueue.NewQueueClient(endpoint+"/"+name, credential, &azqueue.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, fmt.Errorf("making the queue client: %w", err)
	}
	return &Queue{client}, nil
}

// Send queues text, which becomes visible after delay (in whole seconds,
// rounded up). A message may arrive twice: the SDK repeats a request whose
// answer was lost, and the queue promises no more than at least once.
func (q *Queue) Send(ctx context.Context, text string, delay time.Duration) error {
	if err := rowstore.ValidateMessage(text, delay); err != nil {
		return err
	}
	hidden := seconds(delay)
	expires := seconds(life)
	_, err := q.client.EnqueueMessage(ctx, text, &azqueue.EnqueueMessageOptions{
		VisibilityTimeout: &hidden, TimeToLive: &expires,
	})
	return failure("sending a message", err)
}

// Backlog is how far the consumers of a queue are behind.
type Backlog struct {
	// Messages is the service's approximate count, hidden ones included.
	Messages int
	// Oldest is when the first visible message was sent; zero if there is none.
	Oldest time.Time
}

// Backlog reads the queue's length and the age of its head, without taking a
// message.
func (q *Queue) Backlog(ctx context.Context) (Backlog, error) {
	const step = "reading a queue's length"
	properties, err := q.client.GetProperties(ctx, nil)
	if err != nil {
		return Backlog{}, failure(step, err)
	}
	if properties.ApproximateMessagesCount == nil {
		return Backlog{}, fmt.Errorf("%w: %s: %w", rowstore.ErrUnavailable, step, errAnswer)
	}
	backlog := Backlog{Messages: int(*properties.ApproximateMessagesCount)}
	head, err := q.client.PeekMessage(ctx, nil)
	if err != nil {
		return Backlog{}, failure(step, err)
	}
	if len(head.Messages) > 0 && head.Messages[0] != nil && head.Messages[0].InsertionTime != nil {
		backlog.Oldest = *head.Messages[0].InsertionTime
	}
	return backlog, nil
}

func seconds(d time.Duration) int32 {
	return int32((d + time.Second - 1) / time.Second) // #nosec G115 -- at most a week
}

func failure(step string, err error) error {
	if err == nil {
		return nil
	}
	fault := azure.Inspect(err)
	kind := rowstore.ErrUnavailable
	// 404 is a missing queue: nothing that the caller could name otherwise.
	if fault.Refused() {
		kind = rowstore.ErrInvalid
	}
	return fmt.Errorf("%w: %s: %w", kind, step, fault)
}
