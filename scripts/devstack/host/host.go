// Package host is the local stand-in for the Azure Functions host.
//
// It runs a staged package (host.json, <Function>/function.json, the handler)
// as the real host runs it, over real sockets and with a real child process:
// HTTP triggers in proxying and in forwarding mode, queue triggers that poll
// Azure Queue Storage, timer triggers, the admin endpoints, and the host's rules
// for start, restart, time-outs and shutdown. Its behaviour follows recordings
// of host 4.1036 (testdata/recordings), weaknesses included: a project that is
// safe behind this stand-in is safe behind the host. Like there, every setting
// of host.json can be overridden by AzureFunctionsJobHost__a__b in the
// environment, and in no other way, so that a test configures what a deployment
// could.
//
// Trust boundary: it listens on loopback only and is a tool for developers and
// tests; it is no hardened server. It holds the queue credential of the app.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"secureapi/scripts/stage/funcjson"
)

// Version is the host version that this stand-in takes after.
const Version = "4.1036.3.0"

const userAgent = "Azure-Functions-Host/" + Version

// Mode is the way in which HTTP requests reach the handler.
type Mode string

const (
	// Proxying streams the request through, as newer hosts do.
	Proxying Mode = "proxying"
	// Forwarding rebuilds the request, as older hosts do.
	Forwarding Mode = "forwarding"
)

// Options configure a Host.
type Options struct {
	// Dir is the staged package. Required.
	Dir string
	// Port is the public port on 127.0.0.1. 0: any free one.
	Port int
	// Mode makes the stand-in a newer (Proxying, the default) or an older
	// host (Forwarding). host.json must enable the mode.
	Mode Mode
	// Env is the host's environment: app settings, AzureFunctionsJobHost__
	// overrides, all of it passed on to the handler. nil: this process's.
	Env []string
	// StateDir keeps the timers' state between runs. Required when the
	// package has a timer.
	StateDir string
	// Log receives the host's log and the handler's output, line by line.
	// nil: nowhere.
	Log io.Writer
	// HTTPClient reaches Queue Storage (local roots, dial map). nil: a plain
	// one. It must not follow redirects with credentials.
	HTTPClient *http.Client
	// MasterKey opens the admin endpoints. "": a random one per Host.
	MasterKey string
}

// Host is one run of a package.
type Host struct {
	mode      Mode
	port      int
	cfg       config
	functions []funcjson.Function
	routes    []route
	masterKey string
	log       *logger
	proc      *process
	client    *http.Transport
	queues    []*queueListener
	timers    []*timerListener
	started   time.Time
	ready     chan struct{}

	mu   sync.Mutex
	addr string
	// running counts the invocations that a shutdown waits for.
	running sync.WaitGroup
}

// ErrHandlerFails tells that the handler failed so often that the host gave up.
var ErrHandlerFails = errors.New("the handler ended with an error too often")

// New reads the package and the settings and reports every reason why the host
// could not run it.
func New(o Options) (*Host, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding the package: %w", err)
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	env := newEnvironment(o.Env)
	cfg, err := loadConfig(filepath.Join(dir, "host.json"), env)
	if err != nil {
		return nil, fmt.Errorf("reading host.json: %w", err)
	}
	functions, err := funcjson.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the functions: %w", err)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	h := &Host{
		mode: o.Mode, port: o.Port, cfg: cfg, functions: functions,
		masterKey: o.MasterKey, log: newLogger(o.Log), ready: make(chan struct{}),
	}
	if h.mode == "" {
		h.mode = Proxying
	}
	if h.masterKey == "" {
		h.masterKey = randomKey()
	}
	if h.proc, err = newProcess(cfg.handler, dir, o.Env, h.log); err != nil {
		return nil, err
	}
	h.client = newHandlerTransport(h.proc.addr())
	if err := h.addTriggers(o, env); err != nil {
		return nil, err
	}
	return h, nil
}

// addTriggers prepares what every function listens to.
func (h *Host) addTriggers(o Options, env environment) error {
	var problems []error
	for _, f := range h.functions {
		switch f.Trigger().Type {
		case funcjson.HTTPTrigger:
			r, err := newRoute(h.cfg.routePrefix, f)
			problems = append(problems, err)
			h.routes = append(h.routes, r)
		case funcjson.QueueTrigger:
			q, err := h.newQueueListener(f, env, o.HTTPClient)
			problems = append(problems, err)
			h.queues = append(h.queues, q)
		case funcjson.TimerTrigger:
			t, err := h.newTimerListener(f, env, o.StateDir)
			problems = append(problems, err)
			h.timers = append(h.timers, t)
		}
	}
	sortRoutes(h.routes)
	if len(h.routes) > 0 && !h.cfg.enables(h.mode) {
		problems = append(problems, fmt.Errorf("host.json does not enable the %s mode, and the payload mode is not part of this stand-in", h.mode))
	}
	return errors.Join(problems...)
}

// Ready is closed when the handler has answered and all triggers are live.
func (h *Host) Ready() <-chan struct{} { return h.ready }

// Addr is the public address, host:port. It is known once Ready is closed.
func (h *Host) Addr() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

// MasterKey opens the admin endpoints.
func (h *Host) MasterKey() string { return h.masterKey }

// HandlerPID is the process id of the running handler, 0 when none runs.
func (h *Host) HandlerPID() int { return h.proc.pid() }

// HandlerAddr is where the handler listens, host:port, across restarts.
func (h *Host) HandlerAddr() string { return h.proc.addr() }

// Restarts counts how often the handler was started again.
func (h *Host) Restarts() int { return h.proc.restarts() }

// shutdownTimeout bounds the wait for calls in flight.
const shutdownTimeout = 30 * time.Second

// Run runs the package until ctx ends, and then drains: listeners stop, calls in
// flight finish, and the handler is killed, as the host does, without a SIGTERM.
// It returns nil after a drain, ErrHandlerFails when the handler was hopeless.
func (h *Host) Run(ctx context.Context) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(h.port)))
	if err != nil {
		return fmt.Errorf("listening on the public port: %w", err)
	}
	h.mu.Lock()
	h.addr, h.started = ln.Addr().String(), time.Now()
	h.mu.Unlock()

	procCtx, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	ended := make(chan error, 1)
	go func() { ended <- h.proc.run(procCtx) }()

	listenCtx, stopListening := context.WithCancelCause(ctx)
	defer stopListening(nil)
	go func() {
		err := <-ended
		stopListening(err)
		ended <- err
	}()
	srv := h.serve(ln, stopListening)
	awaitErr := h.proc.await(listenCtx)
	h.startTriggers(listenCtx)
	if awaitErr == nil {
		close(h.ready)
		h.log.printf(information, "Host", "ready at http://%s/", h.Addr())
	}
	<-listenCtx.Done()
	h.log.printf(information, "Host", "stopping")
	shutdownErr := h.drain(context.WithoutCancel(ctx), srv)
	kill()
	err = <-ended
	if cause := context.Cause(listenCtx); err == nil && ctx.Err() == nil {
		err = cause
	}
	return errors.Join(err, shutdownErr)
}

// serve starts the public listener. Requests that come before the handler is
// ready wait for it.
func (h *Host) serve(ln net.Listener, failed context.CancelCauseFunc) *http.Server {
	srv := &http.Server{
		Handler:           http.HandlerFunc(h.serveHTTP),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          h.log.std("Host.Http"),
	}
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("serving the public port: %w", err))
		}
	}()
	return srv
}

// startTriggers begins to poll and to tick.
func (h *Host) startTriggers(ctx context.Context) {
	for _, q := range h.queues {
		h.running.Go(func() { q.run(ctx) })
	}
	for _, t := range h.timers {
		h.running.Go(func() { t.run(ctx) })
	}
}

// drain waits for calls in flight: HTTP, messages, ticks.
func (h *Host) drain(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	var problems []error
	if err := srv.Shutdown(ctx); err != nil {
		problems = append(problems, fmt.Errorf("draining HTTP: %w", err), srv.Close())
	}
	idle := make(chan struct{})
	go func() {
		h.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		problems = append(problems, fmt.Errorf("draining triggers: %w", ctx.Err()))
	}
	return errors.Join(problems...)
}

// function finds a function by its name, as the host does: in any case.
func (h *Host) function(name string) (funcjson.Function, bool) {
	for _, f := range h.functions {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return funcjson.Function{}, false
}
