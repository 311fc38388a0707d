package customhandler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"secureapi/handler/clock"
)

// PortVariable names the environment variable in which the host passes the
// port that the handler must serve.
const PortVariable = "FUNCTIONS_CUSTOMHANDLER_PORT"

// Exit codes. The host restarts the handler after any of them; it never
// restarts one that exited with 0, which is why there is no ExitOK.
const (
	ExitFailure = 1
	ExitSIGINT  = 130
	ExitSIGTERM = 143
)

// Limits of the listener. The host is the only rightful caller, but passes on
// slow and broken clients.
const (
	readHeaderTimeout = 10 * time.Second
	// writeTimeout exceeds the functionTimeout of host.json (5 min): the host
	// gives up first, and its kill is the cleaner end.
	writeTimeout   = 6 * time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	// maxConnections bounds sockets and goroutines. One more waits in the
	// system's queue until another has ended: a connection that is turned away
	// would fail a queue message, one that waits is served when the slow ones
	// have been cut.
	maxConnections = 1024
)

// Port parses the value of PortVariable.
func Port(value string) (uint16, error) {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s must be a port number: the Functions host sets it", PortVariable)
	}
	return uint16(n), nil
}

// Ready answers the host's question whether the handler is up: `GET /` with any
// status counts. It says nothing about dependencies; health/ready does.
func Ready(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusOK)
}

// Serve serves h on 127.0.0.1 until SIGTERM, SIGINT or the end of ctx, then
// stops accepting, waits up to drain for what is in flight, and cuts off the
// rest. A second signal cuts the drain short. It returns the code to exit with,
// never 0: ExitSIGTERM, ExitSIGINT, or ExitFailure with the error.
func Serve(ctx context.Context, port uint16, h http.Handler, drain time.Duration, now clock.Clock) (int, error) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return ExitFailure, fmt.Errorf("listening: %w", err)
	}
	return serveListener(ctx, ln, boundBodies(h, now), drain, signals)
}

func serveListener(ctx context.Context, ln net.Listener, h http.Handler, drain time.Duration, signals <-chan os.Signal) (int, error) {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// `OPTIONS *` is answered, and refused, like everything else.
		DisableGeneralOptionsHandler: true,
		// The server's own log would carry panic values, which can hold
		// anything; the recovery middleware records panics without them.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(ln, maxConnections)) }()

	exit := ExitSIGTERM
	select {
	case err := <-served:
		return ExitFailure, fmt.Errorf("serving: %w", err)
	case sig := <-signals:
		if sig == syscall.SIGINT {
			exit = ExitSIGINT
		}
	case <-ctx.Done():
	}
	return exit, shutDown(context.WithoutCancel(ctx), srv, drain, signals)
}

// shutDown drains srv. Requests in flight when the time is up lose their
// connection; what they acknowledged before is durable by then.
func shutDown(ctx context.Context, srv *http.Server, drain time.Duration, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-stop:
		}
	}()
	err := srv.Shutdown(ctx)
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("draining: %w", err), srv.Close())
}
