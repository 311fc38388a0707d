package host

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
)

// queueLab runs a queue function on one queue of the storage.
func queueLab(t *testing.T, s *storage, name string, onRequest func(seen) reply, env ...string) (*lab, *azqueue.QueueClient) {
	t.Helper()
	client := s.queue(t, name)
	l := startLab(t, labOptions{
		functions: map[string]string{"QueueFn": fmt.Sprintf(queueFunction, name)},
		client:    s.client, onRequest: onRequest,
		env: append(append([]string{
			"AzureFunctionsJobHost__extensions__queues__messageEncoding=none",
			"AzureFunctionsJobHost__extensions__queues__maxDequeueCount=2",
			"AzureFunctionsJobHost__extensions__queues__visibilityTimeout=00:00:01",
			"AzureFunctionsJobHost__extensions__queues__maxPollingInterval=00:00:00.2",
		}, s.env...), env...),
	})
	return l, client
}

// deliver waits for the next delivery and returns its text and count.
func (l *lab) deliver() (message, count string) {
	l.t.Helper()
	s := l.wait()
	if s.Method != http.MethodPost || s.Target != "/QueueFn" {
		l.t.Fatalf("the handler saw %+v", s)
	}
	b := parseBody(l.t, s)
	return textTwice(l.t, b.Data["msg"]), text(l.t, b.Metadata["DequeueCount"])
}

// eventually polls until ok: storage has no way to tell.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestQueueEndToEnd runs queue functions on real storage: Azurite over HTTPS
// with bearer tokens.
func TestQueueEndToEnd(t *testing.T) {
	s := startStorage(t)
	send := func(t *testing.T, q *azqueue.QueueClient, texts ...string) {
		t.Helper()
		for _, m := range texts {
			if _, err := q.EnqueueMessage(t.Context(), m, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("texts arrive exactly and are deleted", func(t *testing.T) {
		l, q := queueLab(t, s, "exact", nil)
		want := []string{"hello plain {x}", `{"a":1}`, "aGVsbG8=", "line1\nline2 \"q\" <&> \\ é😀", "[1]", "  spaced  "}
		for _, m := range want {
			send(t, q, m)
			if got, count := l.deliver(); got != m {
				t.Errorf("%q arrived as %q (%s)", m, got, count)
			}
		}
		eventually(t, "an empty queue", func() bool { return s.count(t, "exact") == 0 })
		if poison := s.texts(t, "exact-poison"); poison != nil {
			t.Errorf("poison %v", poison)
		}
	})
	t.Run("failures end in poison", func(t *testing.T) {
		l, q := queueLab(t, s, "fails", func(seen) reply { return reply{Status: 500} })
		send(t, q, "v")
		for _, want := range []string{"1", "2"} {
			if got, count := l.deliver(); got != "v" || count != want {
				t.Errorf("delivery %q %s, want count %s", got, count, want)
			}
		}
		eventually(t, "poison", func() bool { return strings.Join(s.texts(t, "fails-poison"), "|") == "v" })
		if n := s.count(t, "fails"); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
	t.Run("a crash in the middle is a failure", func(t *testing.T) {
		first := true
		l, q := queueLab(t, s, "crash", func(seen) reply {
			if first {
				first = false
				return exitWith(1)
			}
			return jsonOK()
		})
		send(t, q, "k")
		for _, want := range []string{"1", "2"} {
			if got, count := l.deliver(); got != "k" || count != want {
				t.Errorf("delivery %q %s, want count %s", got, count, want)
			}
		}
		eventually(t, "an empty queue", func() bool { return s.count(t, "crash") == 0 })
		if l.Restarts() != 1 {
			t.Errorf("%d restarts", l.Restarts())
		}
	})
	t.Run("an answer without a value hangs until functionTimeout", func(t *testing.T) {
		l, q := queueLab(t, s, "hangs", func(seen) reply { return reply{Status: 204, NoLength: true} },
			"AzureFunctionsJobHost__functionTimeout=00:00:00.1")
		send(t, q, "h")
		for i, want := range []string{"1", "2"} {
			if got, count := l.deliver(); got != "h" || count != want {
				t.Errorf("delivery %q %s, want count %s", got, count, want)
			}
			l.restarted(i + 1)
		}
		eventually(t, "poison", func() bool { return strings.Join(s.texts(t, "hangs-poison"), "|") == "h" })
	})
	t.Run("after exit 0 messages go to poison", func(t *testing.T) {
		l, q := queueLab(t, s, "exitzero", func(seen) reply { return exitWith(0) })
		send(t, q, "a")
		l.deliver()
		eventually(t, "poison", func() bool { return strings.Join(s.texts(t, "exitzero-poison"), "|") == "a" })
		send(t, q, "b")
		eventually(t, "poison", func() bool { return strings.Join(s.texts(t, "exitzero-poison"), "|") == "a|b" })
		if n := len(l.allStarts()); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
	t.Run("shutdown finishes a message", func(t *testing.T) {
		release := make(chan struct{})
		l, q := queueLab(t, s, "drains", func(seen) reply {
			<-release
			return jsonOK()
		})
		send(t, q, "d")
		l.deliver()
		l.stop()
		close(release)
		if err := l.ended(); err != nil {
			t.Error(err)
		}
		if n := s.count(t, "drains"); n != 0 {
			t.Errorf("%d messages left", n)
		}
	})
	t.Run("the project's own protocol package", func(t *testing.T) {
		l := startRealHandler(t, s, "real")
		q := s.queue(t, "real")
		send(t, q, "sealed", `{"DequeueCount":99}`, "fail once")
		for _, want := range []string{`message "sealed" count 1`, `message "{\"DequeueCount\":99}" count 0`, `message "fail once" count 1`, `message "fail once" count 2`} {
			eventually(t, want, func() bool { return strings.Contains(l.log.String(), want) })
		}
		eventually(t, "an empty queue", func() bool { return s.count(t, "real") == 0 })
		l.raw(plain("POST", "/admin/functions/Tick", "x-functions-key: master-key", "Content-Length: 2") + "{}")
		eventually(t, "a tick", func() bool { return strings.Contains(l.log.String(), "Handler: tick, past due false") })
		if strings.Contains(l.log.String(), "refused") {
			t.Errorf("an invocation of the host was refused:\n%s", l.log)
		}
	})
	t.Run("a queue that does not exist yet", func(t *testing.T) {
		l := startLab(t, labOptions{
			functions: map[string]string{"QueueFn": fmt.Sprintf(queueFunction, "later")}, client: s.client,
			env: append([]string{"AzureFunctionsJobHost__extensions__queues__messageEncoding=none", "AzureFunctionsJobHost__extensions__queues__maxPollingInterval=00:00:00.2"}, s.env...),
		})
		eventually(t, "a warning", func() bool { return strings.Contains(l.log.String(), "QueueNotFound") })
		send(t, s.queue(t, "later"), "m")
		if got, _ := l.deliver(); got != "m" {
			t.Errorf("got %q", got)
		}
	})
}
