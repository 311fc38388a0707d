package customhandler

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// memory is a listener whose connections are pipes: time in a test's bubble
// passes for both ends.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	// slow are the clients that trickle.
	slow sync.WaitGroup
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// dial gives the client's end, once the server has taken its own.
func (m *memory) dial() net.Conn {
	client, server := net.Pipe()
	m.conns <- server
	return client
}

// inBubble serves h as Serve does, in a bubble of time.
func inBubble(t *testing.T, h http.Handler, test func(t *testing.T, m *memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := serveListener(ctx, m, boundBodies(h, time.Now), time.Minute, nil)
			done <- err
		}()
		test(t, m)
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
		m.slow.Wait()
	})
}

func put(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// trickle sends text, a byte every second, until the server has enough of it.
func (m *memory) trickle(c net.Conn, text string) {
	m.slow.Go(func() {
		for i := range text {
			time.Sleep(time.Second)
			if _, err := c.Write([]byte{text[i]}); err != nil {
				return
			}
		}
	})
}

// closedAfter reads until the server closes, and gives the time that took.
func closedAfter(t *testing.T, c net.Conn) (time.Duration, string) {
	t.Helper()
	began := time.Now()
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(began), string(all)
}

// echoBody answers with what the body was, or with why it was not.
var echoBody = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.WriteHeader(http.StatusRequestTimeout)
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
	default:
		_, _ = w.Write(body)
	}
})

func TestHeadersThatTrickleAreCut(t *testing.T) {
	inBubble(t, echoBody, func(t *testing.T, m *memory) {
		c := m.dial()
		defer c.Close()
		m.trickle(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "+strings.Repeat("a", 100))
		if after, got := closedAfter(t, c); after != readHeaderTimeout || strings.Contains(got, " 200 ") {
			t.Errorf("closed after %v, answered %q", after, got)
		}
	})
}

func TestABodyThatTricklesIsCut(t *testing.T) {
	for name, head := range map[string]string{
		"of known length": "Content-Length: 100\r\n\r\n",
		"chunked":         "Transfer-Encoding: chunked\r\n\r\n64\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, echoBody, func(t *testing.T, m *memory) {
				c := m.dial()
				defer c.Close()
				put(t, c, "POST / HTTP/1.1\r\nHost: x\r\n"+head)
				m.trickle(c, strings.Repeat("a", 100))
				after, got := closedAfter(t, c)
				length := int64(100)
				if name == "chunked" {
					length = -1
				}
				if after < bodyTime(length) || after > bodyTime(length)+time.Second {
					t.Errorf("closed after %v", after)
				}
				if !strings.HasPrefix(got, "HTTP/1.1 408 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
					t.Errorf("answered %q", got)
				}
			})
		})
	}
}

// A body that nobody reads is cut as well: the server would wait for its rest
// before it answers.
func TestAnUnreadBodyIsCut(t *testing.T) {
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	inBubble(t, refuse, func(t *testing.T, m *memory) {
		c := m.dial()
		defer c.Close()
		put(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
		m.trickle(c, "GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
		after, got := closedAfter(t, c)
		if after < bodyGrace || after > bodyGrace+time.Second || strings.Count(got, "HTTP/1.1 401 ") != 1 {
			t.Errorf("closed after %v, answered %q", after, got)
		}
	})
}

// What works on a request for minutes is not ended by the limits of reading:
// neither with a body nor without.
func TestLongWorkIsNotCut(t *testing.T) {
	const long = 4 * time.Minute
	work := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		select {
		case <-time.After(long):
		case <-r.Context().Done():
			t.Errorf("the context ended: %v", r.Context().Err())
		}
		w.WriteHeader(http.StatusOK)
	})
	for name, request := range map[string]string{
		"without a body": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"with length":    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"chunked":        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, work, func(t *testing.T, m *memory) {
				c := m.dial()
				defer c.Close()
				put(t, c, request)
				began := time.Now()
				status, err := bufio.NewReader(c).ReadString('\n')
				if err != nil || status != "HTTP/1.1 200 OK\r\n" || time.Since(began) != long {
					t.Errorf("%q after %v: %v", status, time.Since(began), err)
				}
			})
		})
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	inBubble(t, echoBody, func(t *testing.T, m *memory) {
		c := m.dial()
		defer c.Close()
		put(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
		if after, got := closedAfter(t, c); after != idleTimeout || !strings.HasSuffix(got, "{}") {
			t.Errorf("closed after %v: %q", after, got)
		}
	})
}

// Connections over the bound wait, and are served when slow ones were cut.
func TestConnectionsAreBounded(t *testing.T) {
	inBubble(t, echoBody, func(t *testing.T, m *memory) {
		var slow []net.Conn
		for range maxConnections {
			slow = append(slow, m.dial())
		}
		synctest.Wait()
		client, server := net.Pipe()
		defer client.Close()
		began := time.Now()
		m.conns <- server
		if waited := time.Since(began); waited != readHeaderTimeout {
			t.Errorf("one connection more waited %v", waited)
		}
		put(t, client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if _, got := closedAfter(t, client); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("answered %q", got)
		}
		for _, c := range slow {
			_ = c.Close()
		}
	})
}

func TestBodyTime(t *testing.T) {
	if got := bodyTime(maxTimed); got != 42*time.Second {
		t.Errorf("8 MiB have %v", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.Int64Min(-1).Draw(t, "length")
		if got := bodyTime(length); got < bodyGrace || got > bodyTime(maxTimed) {
			t.Fatalf("%d bytes have %v", length, got)
		}
	})
}
