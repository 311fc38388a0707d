package memstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"secureapi/handler/rowstore"
)

// Queue is one queue. It is safe for concurrent use.
type Queue struct {
	mu       sync.Mutex
	messages []Message
	onSend   SendHook
}

// Message is what a Send left in the queue.
type Message struct {
	Text  string
	Delay time.Duration
}

// SendHook sees a valid message before it is queued; see ApplyHook for what
// applied means.
type SendHook func(message Message) (applied bool, err error)

// NewQueue makes an empty queue.
func NewQueue() *Queue { return &Queue{} }

// OnSend sets the hook; nil removes it.
func (q *Queue) OnSend(hook SendHook) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.onSend = hook
}

// Send queues a message that becomes visible after delay.
func (q *Queue) Send(ctx context.Context, text string, delay time.Duration) error {
	if err := rowstore.ValidateMessage(text, delay); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return unavailable(err)
	}
	q.mu.Lock()
	hook := q.onSend
	q.mu.Unlock()
	message := Message{Text: text, Delay: delay}
	var fault error
	if hook != nil {
		applied, err := hook(message)
		if err != nil && !applied {
			return err
		}
		fault = err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, message)
	return fault
}

// Take removes the oldest message, whatever its delay, as a trigger that
// completes would. It reports false when the queue is empty.
func (q *Queue) Take() (Message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.messages) == 0 {
		return Message{}, false
	}
	message := q.messages[0]
	q.messages = slices.Delete(q.messages, 0, 1)
	return message, true
}

// All gives a copy of the messages, oldest first.
func (q *Queue) All() []Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.messages)
}
