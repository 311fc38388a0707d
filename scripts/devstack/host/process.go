package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
)

// The host's rules for the handler's life, as observed.
const (
	readyInterval = 25 * time.Millisecond
	readyTimeout  = 30 * time.Second
	// restartDelay lies between the end of a handler and its next start.
	restartDelay = 150 * time.Millisecond
	// outputDelay bounds the wait for output of a handler that has ended, which
	// a child of its own may hold open.
	outputDelay = time.Second
	// maxCrashes within crashWindow end the host.
	maxCrashes  = 3
	crashWindow = 30 * time.Minute
	// exitNever is the exit code after which the handler is never started
	// again; exitRestart asks for a restart that is not held against it.
	exitNever   = 0
	exitRestart = 200
)

var (
	errHandlerGone = errors.New("the handler is gone")
	errNotReady    = errors.New("the handler did not answer in time")
)

type state int

const (
	starting state = iota
	ready
	gone // for ever: it exited with 0, or the host stops
)

// process keeps the handler running, on one port for the life of the host.
type process struct {
	cfg  handlerConfig
	dir  string
	env  []string
	port int
	log  *logger

	mu      sync.Mutex
	state   state
	changed chan struct{} // closed and replaced at every change of state
	cmd     *exec.Cmd
	starts  int
	// killed is the start that the host itself ended.
	killed int
}

func newProcess(cfg handlerConfig, dir string, env []string, log *logger) (*process, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a port for the handler: %w", err)
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err := errors.Join(err, ln.Close()); err != nil {
		return nil, fmt.Errorf("finding a port for the handler: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("finding a port for the handler: %w", err)
	}
	return &process{cfg: cfg, dir: dir, env: env, port: n, log: log, changed: make(chan struct{})}, nil
}

func (p *process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) restarts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.starts-1)
}

func (p *process) set(s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until the handler can be called. A handler that is gone for good
// fails at once: from then on every call does.
func (p *process) await(ctx context.Context) error {
	for {
		p.mu.Lock()
		s, changed := p.state, p.changed
		p.mu.Unlock()
		switch s {
		case ready:
			return nil
		case gone:
			return errHandlerGone
		case starting:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start names the present start of the handler, for kill.
func (p *process) start() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// kill ends the handler because a call exceeded functionTimeout, if it is still
// the one that got the call. It is started again, and not blamed.
func (p *process) kill(start int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.starts != start || p.killed == start {
		return
	}
	p.killed = start
	if err := p.cmd.Process.Kill(); err != nil {
		p.log.printf(warning, "Host", "killing the handler: %v", err)
	}
}

// run keeps the handler alive until ctx ends, which kills it, or until it has
// crashed too often.
func (p *process) run(ctx context.Context) error {
	defer p.set(gone)
	var crashes []time.Time
	for {
		start, code, err := p.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		p.mu.Lock()
		byHost := start > 0 && p.killed == start
		p.mu.Unlock()
		p.set(starting)
		switch {
		case byHost:
			p.log.printf(information, "Host", "the handler was ended after functionTimeout; starting it again")
		case err == nil && code == exitNever:
			p.log.printf(failure, "Host", "the handler exited with 0 and is never started again: every call fails from now on")
			p.set(gone)
			<-ctx.Done()
			return nil
		case err == nil && code == exitRestart:
			p.log.printf(information, "Host", "the handler exited with %d; starting it again", code)
		default:
			now := time.Now()
			for len(crashes) > 0 && now.Sub(crashes[0]) > crashWindow {
				crashes = crashes[1:]
			}
			crashes = append(crashes, now)
			p.log.printf(failure, "Host", "the handler ended (exit code %d, %v), failure %d of %d", code, err, len(crashes), maxCrashes)
			if len(crashes) >= maxCrashes {
				return fmt.Errorf("%w (last exit code %d)", ErrHandlerFails, code)
			}
		}
		select {
		case <-time.After(restartDelay):
		case <-ctx.Done():
			return nil
		}
	}
}

// once starts the handler, waits until it is ready and then until it ends. The
// error tells of a start that failed; an exit code is no error.
func (p *process) once(ctx context.Context) (start, code int, err error) {
	cmd, err := p.command(ctx)
	if err != nil {
		return 0, -1, err
	}
	stdout := &lineLogger{log: p.log, level: information, category: "Handler"}
	stderr := &lineLogger{log: p.log, level: failure, category: "Handler"}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, stderr, outputDelay
	p.mu.Lock()
	err = cmd.Start()
	if err == nil {
		p.cmd = cmd
		p.starts++
		start = p.starts
	}
	p.mu.Unlock()
	if err != nil {
		return 0, -1, fmt.Errorf("starting the handler: %w", err)
	}
	probeCtx, stopProbing := context.WithCancel(ctx)
	probed := make(chan error, 1)
	go func() {
		err := p.probe(probeCtx)
		if err == nil {
			p.set(ready)
		} else if errors.Is(err, errNotReady) {
			err = errors.Join(err, cmd.Process.Kill())
		}
		probed <- err
	}()
	waitErr := cmd.Wait()
	stopProbing()
	stdout.flush()
	stderr.flush()
	p.mu.Lock()
	p.cmd = nil
	p.mu.Unlock()
	if err := <-probed; errors.Is(err, errNotReady) {
		return start, -1, err
	}
	var status *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &status) {
		return start, -1, fmt.Errorf("waiting for the handler: %w", waitErr)
	}
	return start, cmd.ProcessState.ExitCode(), nil
}

// command prepares a start with the environment that the host documents.
func (p *process) command(ctx context.Context) (*exec.Cmd, error) {
	executable := p.cfg.executable
	if !filepath.IsAbs(executable) {
		executable = filepath.Join(p.dir, p.cfg.workDir, executable)
	}
	if _, err := os.Stat(executable); err != nil {
		// The host, too, then tries the search path.
		found, lookErr := exec.LookPath(p.cfg.executable)
		if lookErr != nil {
			return nil, fmt.Errorf("finding the handler: %w", err)
		}
		executable = found
	}
	cmd := exec.CommandContext(ctx, executable, p.cfg.arguments...)
	cmd.Dir = filepath.Join(p.dir, p.cfg.workDir)
	port := strconv.Itoa(p.port)
	cmd.Env = append(append([]string{}, p.env...),
		"FUNCTIONS_CUSTOMHANDLER_PORT="+port,
		"FUNCTIONS_HTTPWORKER_PORT="+port,
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID="+uuid.NewString(),
		"FUNCTIONS_APP_ROOT_PATH="+p.dir,
	)
	detach(cmd)
	return cmd, nil
}

// probe asks `GET /` until anything answers.
func (p *process) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errNotReady)
	defer cancel()
	transport := newHandlerTransport(p.addr())
	defer transport.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr()+"/", http.NoBody)
		if err != nil {
			return fmt.Errorf("asking for readiness: %w", err)
		}
		resp, err := transport.RoundTrip(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-time.After(readyInterval):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
