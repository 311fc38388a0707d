package customhandler_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"secureapi/handler/customhandler"
)

// TestMain lets the test binary play the handler process, so that signals and
// exit codes are the real ones.
func TestMain(m *testing.M) {
	if port := os.Getenv("TEST_SERVE_PORT"); port != "" {
		os.Exit(serveForTest(port, os.Getenv("TEST_SERVE_DRAIN")))
	}
	os.Exit(m.Run())
}

func serveForTest(port, drain string) int {
	p, err := customhandler.Port(port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	limit, err := time.ParseDuration(drain)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", customhandler.Ready)
	release := make(chan struct{})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("slow began")
		select {
		case <-release:
			_, _ = io.WriteString(w, "finished")
		case <-r.Context().Done():
			fmt.Println("slow cut off")
		}
	})
	go func() {
		released := make(chan os.Signal, 1)
		signal.Notify(released, syscall.SIGUSR1)
		<-released
		close(release)
	}()
	exit, err := customhandler.Serve(context.Background(), p, mux, limit, time.Now)
	fmt.Println("served:", exit, err)
	return exit
}

// child is a handler process under test.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	// client opens a connection per request: a reused one that breaks would
	// make the transport try again behind the test's back.
	client *http.Client
	url    string
	lines  chan string
}

func startChild(t *testing.T, drain time.Duration) *child {
	t.Helper()
	port := freePort(t)
	c := &child{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0]), url: "http://127.0.0.1:" + port, lines: make(chan string, 100)}
	c.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	c.cmd.Env = append(os.Environ(), "TEST_SERVE_PORT="+port, "TEST_SERVE_DRAIN="+drain.String())
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	for {
		resp, err := c.get("/")
		if err == nil {
			resp.Body.Close()
			return c
		}
		if t.Context().Err() != nil {
			t.Fatal("the child did not start")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *child) get(path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	return c.client.Do(req)
}

// refusing waits until the child accepts no more connections.
func (c *child) refusing() {
	for {
		resp, err := c.get("/")
		if err != nil {
			return
		}
		resp.Body.Close()
	}
}

// expect waits for a line of the child's output.
func (c *child) expect(prefix string) {
	c.t.Helper()
	for line := range c.lines {
		if strings.HasPrefix(line, prefix) {
			return
		}
	}
	c.t.Fatalf("the child ended without %q", prefix)
}

// exit waits for the end of the process.
func (c *child) exit() int {
	c.t.Helper()
	for range c.lines {
	}
	err := c.cmd.Wait()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		c.t.Fatal(err)
	}
	return c.cmd.ProcessState.ExitCode()
}

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestExitCodes(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130} {
		t.Run(sig.String(), func(t *testing.T) {
			c := startChild(t, time.Minute)
			c.signal(sig)
			if got := c.exit(); got != want {
				t.Errorf("exit %d, want %d", got, want)
			}
		})
	}
}

// A request in flight at SIGTERM is answered, while new ones are refused.
func TestDrainFinishesRequests(t *testing.T) {
	c := startChild(t, time.Minute)
	answer := make(chan string, 1)
	go func() {
		resp, err := c.get("/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	c.expect("slow began")
	c.signal(syscall.SIGTERM)
	c.refusing()
	c.signal(syscall.SIGUSR1)
	if got := <-answer; got != "finished" {
		t.Errorf("the request in flight got %q", got)
	}
	if got := c.exit(); got != 143 {
		t.Errorf("exit %d", got)
	}
}

// What exceeds the drain is cut off, and the exit code stays a restart.
func TestDrainHasAnEnd(t *testing.T) {
	c := startChild(t, 10*time.Millisecond)
	go func() {
		if resp, err := c.get("/slow"); err == nil {
			resp.Body.Close()
		}
	}()
	c.expect("slow began")
	c.signal(syscall.SIGTERM)
	c.expect("served: 143 draining: context deadline exceeded")
	if got := c.exit(); got != 143 {
		t.Errorf("exit %d", got)
	}
}

// A second signal ends a drain that would last too long for somebody.
func TestSecondSignalCutsTheDrain(t *testing.T) {
	c := startChild(t, time.Hour)
	go func() {
		if resp, err := c.get("/slow"); err == nil {
			resp.Body.Close()
		}
	}()
	c.expect("slow began")
	c.signal(syscall.SIGINT)
	c.refusing()
	c.signal(syscall.SIGINT)
	c.expect("served: 130 draining: context canceled")
	if got := c.exit(); got != 130 {
		t.Errorf("exit %d", got)
	}
}

func TestServeLoopbackOnly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	port, err := customhandler.Port(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int, 1)
	go func() {
		exit, err := customhandler.Serve(ctx, port, http.HandlerFunc(customhandler.Ready), time.Minute, time.Now)
		if err != nil {
			t.Error(err)
		}
		done <- exit
	}()
	loopback := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	for {
		conn, err := net.Dial("tcp", loopback) //nolint:noctx // a test
		if err == nil {
			conn.Close()
			break
		}
		time.Sleep(time.Millisecond)
	}
	// Linux answers on all of 127/8; only 127.0.0.1 itself may be bound.
	if conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(int(port)))); err == nil { //nolint:noctx // a test
		conn.Close()
		t.Error("listening on more than 127.0.0.1")
	}
	cancel()
	if exit := <-done; exit != customhandler.ExitSIGTERM {
		t.Errorf("exit %d", exit)
	}
}

func TestServePortTaken(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, text, _ := net.SplitHostPort(ln.Addr().String())
	port, err := customhandler.Port(text)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := customhandler.Serve(t.Context(), port, http.NotFoundHandler(), time.Second, time.Now)
	if exit != customhandler.ExitFailure || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("exit %d, error %v", exit, err)
	}
}

func TestPort(t *testing.T) {
	if p, err := customhandler.Port("7071"); err != nil || p != 7071 {
		t.Errorf("%d, %v", p, err)
	}
	for _, bad := range []string{"", "0", "-1", "65536", "80 ", "x", "0.0.0.0:80"} {
		if p, err := customhandler.Port(bad); err == nil {
			t.Errorf("%q became %d", bad, p)
		}
	}
}
