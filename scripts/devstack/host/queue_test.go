package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"secureapi/scripts/stage/funcjson"
)

// fakeQueue is a storage queue in memory for tests that move the clock: hidden
// messages, receipts that change, counts. The real service is tested elsewhere.
type fakeQueue struct {
	mu       sync.Mutex
	messages []*fakeMessage
	serial   int
	fail     error // of the next dequeue
	polls    []time.Time
}

type fakeMessage struct {
	message
	visible time.Time
}

var errStale = errors.New("the receipt is stale")

func (q *fakeQueue) put(_ context.Context, text string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.serial++
	q.messages = append(q.messages, &fakeMessage{message: message{text: text, queueFacts: queueFacts{id: fmt.Sprint("m", q.serial)}}})
	return nil
}

func (q *fakeQueue) dequeue(ctx context.Context, n int, hide time.Duration) ([]message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.polls = append(q.polls, time.Now())
	if err := q.fail; err != nil || ctx.Err() != nil {
		q.fail = nil
		return nil, errors.Join(err, ctx.Err())
	}
	var taken []message
	for _, m := range q.messages {
		if len(taken) == n || m.visible.After(time.Now()) {
			continue
		}
		q.serial++
		m.visible, m.dequeueCount, m.popReceipt = time.Now().Add(hide), m.dequeueCount+1, fmt.Sprint("r", q.serial)
		taken = append(taken, m.message)
	}
	return taken, nil
}

func (q *fakeQueue) find(m message) (int, error) {
	for i, x := range q.messages {
		if x.id == m.id && x.popReceipt == m.popReceipt {
			return i, nil
		}
	}
	return 0, errStale
}

func (q *fakeQueue) hide(_ context.Context, m message, d time.Duration) (string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i, err := q.find(m)
	if err != nil {
		return "", err
	}
	q.serial++
	q.messages[i].visible, q.messages[i].popReceipt = time.Now().Add(d), fmt.Sprint("r", q.serial)
	return q.messages[i].popReceipt, nil
}

func (q *fakeQueue) remove(_ context.Context, m message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	i, err := q.find(m)
	if err == nil {
		q.messages = append(q.messages[:i], q.messages[i+1:]...)
	}
	return err
}

func (q *fakeQueue) texts() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := []string{}
	for _, m := range q.messages {
		all = append(all, m.text)
	}
	return all
}

// attempt is a delivery as the function saw it.
type attempt struct {
	at    time.Duration
	text  string
	count string
}

// bench runs a listener in virtual time.
type bench struct {
	*queueListener
	main, dead *fakeQueue
	log        *logBuffer
	began      time.Time
	mu         sync.Mutex
	attempts   []attempt
	now, most  int // invocations at the same time
}

func newBench(cfg queueConfig, do func(context.Context, attempt) error) *bench {
	b := &bench{main: &fakeQueue{}, dead: &fakeQueue{}, log: &logBuffer{}, began: time.Now()}
	b.queueListener = &queueListener{
		function: funcjson.Function{Name: "QueueFn", Bindings: []funcjson.Binding{{Type: funcjson.QueueTrigger, Name: "msg", QueueName: "q"}}},
		cfg:      cfg, queue: b.main, poison: b.dead, log: newLogger(b.log),
	}
	b.invoke = func(ctx context.Context, payload string) error {
		_, body, _ := strings.Cut(payload, `{"msg":"\"`)
		body, rest, _ := strings.Cut(body, `\"`)
		_, count, _ := strings.Cut(rest, `"DequeueCount":"`)
		count, _, _ = strings.Cut(count, `"`)
		a := attempt{time.Since(b.began), body, count}
		b.mu.Lock()
		b.attempts = append(b.attempts, a)
		b.now++
		b.most = max(b.most, b.now)
		b.mu.Unlock()
		defer func() {
			b.mu.Lock()
			b.now--
			b.mu.Unlock()
		}()
		return do(ctx, a)
	}
	return b
}

func (b *bench) add(t *testing.T, text string) {
	t.Helper()
	if err := b.main.put(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) runFor(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	b.run(ctx)
}

func testQueues() queueConfig {
	return queueConfig{maxPollingInterval: time.Second, visibilityTimeout: 30 * time.Second, batchSize: 16, newBatchThreshold: 8, maxDequeueCount: 3}
}

// Recorded: attempts with counts 1, 2, 3, a pause of visibilityTimeout between
// them, then the poison queue, raw.
func TestFailuresEndInPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(testQueues(), func(context.Context, attempt) error { return errInvocation })
		b.add(t, "v")
		// Less than another visibilityTimeout after the third attempt.
		b.runFor(t, 75*time.Second)
		if len(b.attempts) != 3 {
			t.Fatalf("attempts %v", b.attempts)
		}
		for i, a := range b.attempts {
			if a.count != fmt.Sprint(i+1) {
				t.Errorf("attempt %d has count %s", i+1, a.count)
			}
			if i > 0 {
				if gap := a.at - b.attempts[i-1].at; gap < 30*time.Second || gap > 33*time.Second {
					t.Errorf("gap %v", gap)
				}
			}
		}
		if got := b.dead.texts(); len(got) != 1 || got[0] != "v" || len(b.main.texts()) != 0 {
			t.Errorf("poison %v, queue %v", got, b.main.texts())
		}
	})
}

// Without visibilityTimeout a failed message comes again at once.
func TestImmediateRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testQueues()
		cfg.visibilityTimeout = 0
		b := newBench(cfg, func(_ context.Context, a attempt) error {
			if a.count == "1" {
				return errInvocation
			}
			return nil
		})
		b.add(t, "v")
		b.runFor(t, 2*time.Second)
		if len(b.attempts) != 2 || len(b.main.texts())+len(b.dead.texts()) != 0 {
			t.Errorf("attempts %v, queue %v", b.attempts, b.main.texts())
		}
	})
}

// A message that is already too often delivered is not delivered again: a host
// that died each time never got to count.
func TestTooOftenIsNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(testQueues(), func(context.Context, attempt) error { return nil })
		b.add(t, "v")
		b.main.messages[0].dequeueCount = 3
		b.runFor(t, 5*time.Second)
		if len(b.attempts) != 0 || len(b.dead.texts()) != 1 {
			t.Errorf("attempts %v, poison %v", b.attempts, b.dead.texts())
		}
	})
}

// Recorded: with batchSize 2 and newBatchThreshold 1, eight messages of two
// seconds each run two at a time; never more than batch and threshold together.
func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testQueues()
		cfg.batchSize, cfg.newBatchThreshold = 2, 1
		b := newBench(cfg, func(context.Context, attempt) error {
			time.Sleep(2 * time.Second)
			return nil
		})
		for i := range 8 {
			b.add(t, fmt.Sprint("c", i))
		}
		b.runFor(t, time.Minute)
		if len(b.attempts) != 8 || b.most > 3 || b.most < 2 {
			t.Errorf("%d attempts, %d at once: %v", len(b.attempts), b.most, b.attempts)
		}
		if last := b.attempts[7].at; last > 9*time.Second {
			t.Errorf("the last began after %v", last)
		}
	})
}

// A message that takes longer than it is hidden stays hidden, and is settled
// with its latest receipt.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(testQueues(), func(context.Context, attempt) error {
			time.Sleep(25 * time.Minute)
			return nil
		})
		b.add(t, "long")
		b.runFor(t, time.Hour)
		if len(b.attempts) != 1 || len(b.main.texts()) != 0 || len(b.dead.texts()) != 0 {
			t.Errorf("attempts %v, queue %v, poison %v\n%s", b.attempts, b.main.texts(), b.dead.texts(), b.log)
		}
	})
}

// Empty polls become rarer up to maxPollingInterval; a message resets that.
func TestPollingBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testQueues()
		cfg.maxPollingInterval = 10 * time.Second
		b := newBench(cfg, func(context.Context, attempt) error { return nil })
		b.main.fail = errors.New("the queue is away")
		b.runFor(t, 2*time.Minute)
		polls := b.main.polls
		if first := polls[1].Sub(polls[0]); first > 120*time.Millisecond {
			t.Errorf("first pause %v", first)
		}
		last := polls[len(polls)-1].Sub(polls[len(polls)-2])
		if last < 8*time.Second || last > 12*time.Second {
			t.Errorf("last pause %v", last)
		}
		if !strings.Contains(b.log.String(), "the queue is away") {
			t.Error("the failure was not logged")
		}
	})
}

// The end of the host: no new poll, and the message in work is finished.
func TestListenerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(testQueues(), func(ctx context.Context, _ attempt) error {
			time.Sleep(time.Minute)
			return ctx.Err()
		})
		b.add(t, "v")
		b.runFor(t, time.Second)
		if since := time.Since(b.began); since < time.Minute {
			t.Errorf("left after %v", since)
		}
		if len(b.main.texts()) != 0 {
			t.Error("the message was not settled")
		}
	})
}

// Recorded: under base64, text that is none or hides no UTF-8 goes to the poison
// queue unseen.
func TestBase64Encoding(t *testing.T) {
	l := &queueListener{cfg: queueConfig{base64: true}}
	for stored, want := range map[string]string{"aGVsbG8=": "hello", "": ""} {
		if got, ok := l.decode(stored); !ok || got != want {
			t.Errorf("%q: %q, %v", stored, got, ok)
		}
	}
	for _, stored := range []string{"hello plain {not base64}", `{"a":1}`, "test", "//4AcmF3"} {
		if got, ok := l.decode(stored); ok {
			t.Errorf("%q: delivered as %q", stored, got)
		}
	}
}
