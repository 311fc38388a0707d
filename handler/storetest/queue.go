package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"secureapi/handler/rowstore"
)

// QueueSender is the queue that operations ring their doorbells on.
type QueueSender interface {
	// Send queues a message that becomes visible after delay.
	Send(ctx context.Context, text string, delay time.Duration) error
}

// Queue runs the suite on fresh, empty queues. texts gives what the queue
// holds now and would deliver, delayed messages left out.
func Queue(t *testing.T, open func(t *testing.T) (q QueueSender, texts func() []string)) {
	t.Helper()
	t.Run("texts arrive as they are", func(t *testing.T) {
		for _, text := range []string{
			"x", `{"operation":"<&>\"'","n":1}`, "U0FQSQE=", " two  spaces ", strings.Repeat("m", 64<<10),
		} {
			q, texts := open(t)
			must(t, q.Send(t.Context(), text, 0))
			if got := texts(); len(got) != 1 || got[0] != text {
				t.Fatalf("queue holds %.60q, want %.60q", got, text)
			}
		}
	})
	t.Run("delayed", func(t *testing.T) {
		q, texts := open(t)
		must(t, q.Send(t.Context(), "later", time.Hour))
		must(t, q.Send(t.Context(), "much later", 6*24*time.Hour))
		if got := texts(); len(got) != 0 {
			t.Fatalf("visible at once: %q", got)
		}
	})
	t.Run("invalid", func(t *testing.T) {
		q, texts := open(t)
		for _, text := range []string{"", "a\nb", "a\x00", "a\x7f", "é", "\xff", strings.Repeat("m", 64<<10+1)} {
			if err := q.Send(t.Context(), text, 0); !errors.Is(err, rowstore.ErrInvalid) {
				t.Errorf("text %.20q: %v, want ErrInvalid", text, err)
			}
		}
		for _, delay := range []time.Duration{-1, -time.Second, 7 * 24 * time.Hour} {
			if err := q.Send(t.Context(), "x", delay); !errors.Is(err, rowstore.ErrInvalid) {
				t.Errorf("delay %s: %v, want ErrInvalid", delay, err)
			}
		}
		if got := texts(); len(got) != 0 {
			t.Fatalf("queued all the same: %.60q", got)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		q, _ := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := q.Send(ctx, "x", 0)
		if !errors.Is(err, rowstore.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Fatalf("with a cancelled context: %v, want ErrUnavailable and Canceled", err)
		}
	})
}
