package host

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var hello = map[string]string{"Hello": anyMethod("hello")}

func TestHandlerEnvironment(t *testing.T) {
	l := startLab(t, labOptions{functions: hello, env: []string{"AzureWebJobsStorage__accountName=devhost"}})
	s := l.allStarts()[0]
	env := newEnvironment(s.Env)
	dir, err := filepath.EvalSymlinks(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if got != dir {
		t.Errorf("working directory %q, want %q", got, dir)
	}
	port := env.get("FUNCTIONS_CUSTOMHANDLER_PORT")
	if l.HandlerAddr() != "127.0.0.1:"+port || env.get("FUNCTIONS_HTTPWORKER_PORT") != port {
		t.Errorf("ports %q %q", port, env.get("FUNCTIONS_HTTPWORKER_PORT"))
	}
	if !anyGUID.MatchString(env.get("FUNCTIONS_CUSTOMHANDLER_WORKER_ID")) || env.get("FUNCTIONS_APP_ROOT_PATH") != l.dir {
		t.Errorf("worker %q, root %q", env.get("FUNCTIONS_CUSTOMHANDLER_WORKER_ID"), env.get("FUNCTIONS_APP_ROOT_PATH"))
	}
	if env.get("AzureWebJobsStorage__accountName") != "devhost" || env.get("PATH") != os.Getenv("PATH") {
		t.Error("the host's environment was not passed on whole")
	}
	if !slices.Equal(s.Args, []string{"--flag", "expanded"}) {
		t.Errorf("arguments %q", s.Args)
	}
	if l.HandlerPID() != s.PID || l.Restarts() != 0 {
		t.Errorf("pid %d, restarts %d", l.HandlerPID(), l.Restarts())
	}
}

func TestHandlerOutputIsLogged(t *testing.T) {
	l := startLab(t, labOptions{functions: hello, onRequest: func(seen) reply {
		r := jsonOK()
		r.Stdout, r.Stderr = "to stdout\nand more\n", "to stderr\n"
		return r
	}})
	l.get("/api/hello")
	l.stop()
	if err := l.ended(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"[Information] Handler: to stdout\n", "[Information] Handler: and more\n", "[Error] Handler: to stderr\n"} {
		if !strings.Contains(l.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// ended waits for the end of the host.
func (l *lab) ended() error {
	err := <-l.done
	l.done <- err
	return err
}

// restarted waits until the handler has been started n more times and is ready.
func (l *lab) restarted(n int) {
	l.t.Helper()
	for l.Restarts() < n {
		select {
		case err := <-l.done:
			l.done <- err
			l.t.Fatalf("the host ended instead of restarting the handler: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := l.proc.await(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

// Recorded: a killed handler is started again on the same port.
func TestRestartAfterKill(t *testing.T) {
	l := startLab(t, labOptions{functions: hello})
	addr, pid := l.HandlerAddr(), l.HandlerPID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.restarted(1)
	if status, _ := l.get("/api/hello"); status != 200 || l.HandlerAddr() != addr || l.HandlerPID() == pid {
		t.Errorf("status %d, %s, pid %d", status, l.HandlerAddr(), l.HandlerPID())
	}
	first, second := newEnvironment(l.allStarts()[0].Env), newEnvironment(l.allStarts()[1].Env)
	if id := "FUNCTIONS_CUSTOMHANDLER_WORKER_ID"; first.get(id) == second.get(id) {
		t.Error("the worker id did not change")
	}
}

// Recorded: exit code 200 asks for a restart that is not held against it.
func TestExit200IsNotCounted(t *testing.T) {
	l := startLab(t, labOptions{functions: hello, onRequest: func(s seen) reply {
		if strings.Contains(s.Target, "restart") {
			return exitWith(200)
		}
		return jsonOK()
	}})
	for i := 1; i <= 4; i++ {
		if status, _ := l.get("/api/hello?restart"); status != 500 {
			t.Errorf("status %d of a call in flight", status)
		}
		l.restarted(i)
	}
	if status, _ := l.get("/api/hello"); status != 200 {
		t.Errorf("status %d", status)
	}
}

// Recorded: a handler that exits with 0 is never started again; HTTP answers
// 500 for ever.
func TestExit0IsForEver(t *testing.T) {
	l := startLab(t, labOptions{functions: hello, onRequest: func(seen) reply { return exitWith(0) }})
	for range 3 {
		if status, _ := l.get("/api/hello"); status != 500 {
			t.Errorf("status %d", status)
		}
	}
	for l.HandlerPID() != 0 {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(2 * restartDelay) // long enough for the restart that must not come
	if status, _ := l.get("/api/hello"); status != 500 || len(l.allStarts()) != 1 || l.HandlerPID() != 0 {
		t.Errorf("status %d, %d starts, pid %d", status, len(l.allStarts()), l.HandlerPID())
	}
	select {
	case err := <-l.done:
		t.Errorf("the host ended: %v", err)
	default:
	}
}

// Recorded: the third end with an error shuts the host down.
func TestThirdCrashEndsTheHost(t *testing.T) {
	l := startLab(t, labOptions{functions: hello, onRequest: func(seen) reply { return exitWith(3) }})
	for i := 1; i <= 3; i++ {
		if status, _ := l.get("/api/hello"); status != 500 {
			t.Errorf("status %d", status)
		}
		if i < 3 {
			l.restarted(i)
		}
	}
	err := l.ended()
	if !errors.Is(err, ErrHandlerFails) {
		t.Errorf("the host ended with %v", err)
	}
	if n := len(l.allStarts()); n != 3 {
		t.Errorf("%d starts", n)
	}
}

// A handler that cannot even start ends the host by the same rule.
func TestHandlerThatNeverStarts(t *testing.T) {
	l := newLab(t, labOptions{functions: hello, onStart: func(started) reply { return exitWith(2) }})
	l.run()
	err := l.ended()
	if !errors.Is(err, ErrHandlerFails) || len(l.allStarts()) != 3 {
		t.Errorf("%d starts, %v", len(l.allStarts()), err)
	}
	select {
	case <-l.Ready():
		t.Error("ready")
	default:
	}
}

// Recorded: after functionTimeout the client gets 500 and the handler is killed,
// with all that is in flight, and started again without blame.
func TestFunctionTimeout(t *testing.T) {
	for _, mode := range []Mode{Forwarding, Proxying} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			l := startLab(t, labOptions{
				functions: hello, mode: mode, env: []string{"AzureFunctionsJobHost__functionTimeout=00:00:00.2"},
				onRequest: func(s seen) reply {
					if strings.Contains(s.Target, "hang") {
						return reply{Hang: true}
					}
					return jsonOK()
				},
			})
			// Often enough to end the host, were it the handler's fault.
			for i := 1; i <= maxCrashes; i++ {
				began := time.Now()
				if status, body := l.get("/api/hello?hang"); status != 500 || body != "" {
					t.Errorf("status %d %q", status, body)
				}
				if took := time.Since(began); took < timeoutGrace {
					t.Errorf("ended after %v, before the grace of the host", took)
				}
				l.restarted(i)
			}
			if status, _ := l.get("/api/hello"); status != 200 {
				t.Errorf("status %d after the restart", status)
			}
		})
	}
}

// Recorded: on SIGTERM the host stops listening, lets calls in flight finish and
// then kills the handler, which gets no signal that it could catch.
func TestShutdownDrains(t *testing.T) {
	for _, mode := range []Mode{Forwarding, Proxying} {
		t.Run(string(mode), func(t *testing.T) {
			release := make(chan struct{})
			l := startLab(t, labOptions{functions: hello, mode: mode, onRequest: func(seen) reply {
				<-release
				return jsonOK()
			}})
			answer := make(chan int, 1)
			go func() {
				status, _ := l.get("/api/hello")
				answer <- status
			}()
			l.wait()
			pid := l.HandlerPID()
			l.stop()
			for { // until the listener is gone
				resp, err := http.Get("http://" + l.Addr() + "/admin/host/ping") //nolint:noctx // a test
				if err != nil {
					break
				}
				resp.Body.Close()
			}
			if err := syscall.Kill(pid, 0); err != nil {
				t.Errorf("the handler ended before its call: %v", err)
			}
			close(release)
			if status := <-answer; status != 200 {
				t.Errorf("the call in flight got %d", status)
			}
			if err := l.ended(); err != nil {
				t.Errorf("the host ended with %v", err)
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the handler is still there: %v", err)
			}
		})
	}
}

// Recorded: in forwarding mode a client that goes away does not cancel the call.
func TestClientAbort(t *testing.T) {
	var finished atomic.Bool
	release := make(chan struct{})
	l := startLab(t, labOptions{functions: hello, mode: Forwarding, onRequest: func(s seen) reply {
		if s.Method == http.MethodPost {
			<-release
			finished.Store(true)
		}
		return jsonOK()
	}})
	conn := dial(t, l.Addr())
	if _, err := conn.Write([]byte(post("/api/hello", "", "x"))); err != nil {
		t.Fatal(err)
	}
	l.wait()
	conn.Close()
	close(release)
	l.stop()
	err := l.ended()
	if err != nil || !finished.Load() || !strings.Contains(l.log.String(), "Executed 'Hello' (Succeeded") {
		t.Errorf("%v, finished %v", err, finished.Load())
	}
}

func TestPublicPortTaken(t *testing.T) {
	l := startLab(t, labOptions{functions: hello})
	_, port, _ := strings.Cut(l.Addr(), ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	other := newLab(t, labOptions{functions: hello})
	other.port = n
	if err := other.Run(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("error %v", err)
	}
}

func TestHostAnswers(t *testing.T) {
	l := startLab(t, labOptions{functions: hello})
	resp, body := l.raw(plain("GET", "/"))
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "up and running") || resp.Header.Get("Content-Type") != "text/html" {
		t.Errorf("landing page: %s %q", resp.Status, body)
	}
	resp, body = l.raw(plain("GET", "/nope"))
	if resp.StatusCode != http.StatusNotFound || body != "" || resp.Header.Get("Server") != "Kestrel" {
		t.Errorf("%s %q %v", resp.Status, body, resp.Header)
	}
}
