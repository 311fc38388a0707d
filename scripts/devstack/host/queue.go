package host

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"secureapi/scripts/stage/funcjson"
)

const (
	// invisibility hides a message while it is worked on; it is renewed at
	// half time. A host that dies leaves the message hidden for as long.
	invisibility = 10 * time.Minute
	// minPollingInterval is the first pause after an empty poll; each further
	// one doubles, up to maxPollingInterval.
	minPollingInterval = 100 * time.Millisecond
	storageTimeout     = time.Minute
)

// queue is what the listener needs of a storage queue.
type queue interface {
	// dequeue takes up to n messages and hides them.
	dequeue(ctx context.Context, n int, hide time.Duration) ([]message, error)
	// hide shows or hides a taken message anew and returns its new receipt.
	hide(ctx context.Context, m message, d time.Duration) (popReceipt string, err error)
	// remove deletes a taken message.
	remove(ctx context.Context, m message) error
	// put adds a message and makes the queue if there is none.
	put(ctx context.Context, text string) error
}

type message struct {
	text string // as stored
	queueFacts
}

// queueListener polls one queue for one function.
type queueListener struct {
	function funcjson.Function
	cfg      queueConfig
	queue    queue
	poison   queue
	invoke   func(ctx context.Context, payload string) error
	log      *logger
}

func (h *Host) newQueueListener(f funcjson.Function, env environment, client *http.Client) (*queueListener, error) {
	trigger := f.Trigger()
	service, err := newQueueService(trigger.Connection, env, client)
	if err != nil {
		return nil, fmt.Errorf("%s: connection %s: %w", f.Name, trigger.Connection, err)
	}
	return &queueListener{
		function: f, cfg: h.cfg.queues, log: h.log,
		queue:  service.queue(trigger.QueueName),
		poison: service.queue(trigger.QueueName + "-poison"),
		invoke: func(ctx context.Context, payload string) error { return h.invoke(ctx, f, payload) },
	}, nil
}

// run polls until ctx ends and then waits for the messages in work. A new batch
// is taken when no more than newBatchThreshold of them are left.
func (l *queueListener) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	finished := make(chan struct{}, l.cfg.batchSize+l.cfg.newBatchThreshold)
	inWork := 0
	pause := minPollingInterval
	for {
		for inWork > l.cfg.newBatchThreshold {
			select {
			case <-finished:
				inWork--
			case <-ctx.Done():
				return
			}
		}
		batch, err := l.queue.dequeue(ctx, l.cfg.batchSize, invisibility)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.log.printf(warning, "Host.Triggers.Queue", "%s: polling %s: %v", l.function.Name, l.function.Trigger().QueueName, err)
		}
		for _, m := range batch {
			inWork++
			work.Go(func() {
				l.process(context.WithoutCancel(ctx), m)
				finished <- struct{}{}
			})
		}
		if len(batch) > 0 {
			pause = minPollingInterval
			continue
		}
		idle := time.NewTimer(jitter(pause))
		for waiting := true; waiting; {
			select {
			case <-finished:
				inWork--
			case <-idle.C:
				waiting = false
			case <-ctx.Done():
				idle.Stop()
				return
			}
		}
		pause = min(2*pause, max(l.cfg.maxPollingInterval, minPollingInterval))
	}
}

// jitter varies a pause by a fifth, so that hosts do not poll in step.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // it only spreads polls
}

// process delivers one message and settles it.
func (l *queueListener) process(ctx context.Context, m message) {
	text, ok := l.decode(m.text)
	if !ok || m.dequeueCount > int64(l.cfg.maxDequeueCount) {
		l.settle(ctx, m, l.bury)
		return
	}
	renewCtx, stop := context.WithCancel(ctx)
	renewed := make(chan message, 1)
	go func() { renewed <- l.renew(renewCtx, m) }()
	payload := queuePayload(l.function.Name, l.function.Trigger().Name, text, m.queueFacts, time.Now())
	err := l.invoke(ctx, payload)
	stop()
	m = <-renewed
	switch {
	case err == nil:
		l.settle(ctx, m, l.queue.remove)
	case m.dequeueCount >= int64(l.cfg.maxDequeueCount):
		l.log.printf(warning, "Host.Triggers.Queue", "%s: message %s failed %d times and goes to the poison queue", l.function.Name, m.id, m.dequeueCount)
		l.settle(ctx, m, l.bury)
	default:
		l.settle(ctx, m, l.release)
	}
}

// renew keeps the message hidden until ctx ends and returns it with its latest
// receipt.
func (l *queueListener) renew(ctx context.Context, m message) message {
	ticks := time.NewTicker(invisibility / 2)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return m
		case <-ticks.C:
			receipt, err := l.queue.hide(ctx, m, invisibility)
			if err != nil {
				l.log.printf(warning, "Host.Triggers.Queue", "%s: renewing message %s: %v", l.function.Name, m.id, err)
				continue
			}
			m.popReceipt = receipt
		}
	}
}

func (l *queueListener) settle(ctx context.Context, m message, how func(context.Context, message) error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	if err := how(ctx, m); err != nil {
		l.log.printf(warning, "Host.Triggers.Queue", "%s: settling message %s: %v", l.function.Name, m.id, err)
	}
}

// release shows a message that failed again, after visibilityTimeout.
func (l *queueListener) release(ctx context.Context, m message) error {
	_, err := l.queue.hide(ctx, m, l.cfg.visibilityTimeout)
	return err
}

// bury moves a message to the poison queue as it is stored. A crash in between
// leaves it in both.
func (l *queueListener) bury(ctx context.Context, m message) error {
	if err := l.poison.put(ctx, m.text); err != nil {
		return fmt.Errorf("putting it in the poison queue: %w", err)
	}
	return l.queue.remove(ctx, m)
}

// decode applies messageEncoding. Under base64 a text that is none, or hides no
// valid UTF-8, is never delivered.
func (l *queueListener) decode(stored string) (string, bool) {
	if !l.cfg.base64 {
		return stored, true
	}
	text, err := base64.StdEncoding.DecodeString(stored)
	return string(text), err == nil && utf8.Valid(text)
}
