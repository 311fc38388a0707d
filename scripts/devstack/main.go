// Command devstack runs the local stack until Ctrl-C: storage, Entra ID, Key
// Vault, managed identity and telemetry, the Functions host stand-in, and the
// handler staged in dist/.
//
// It prints what to call and how to get a token. Logs are in .local/logs/, what
// tests and tools need in .local/stack.json. It is for a developer's machine:
// everything listens on loopback, and whoever can read .local is everyone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
)

const defaultPort = 7071

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "devstack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("devstack", flag.ContinueOnError)
	port, err := envPort()
	if err != nil {
		return err
	}
	flags.IntVar(&port, "port", port, "port of the API (or PORT=)")
	noHost := flags.Bool("no-host", false, "start the backing services only, and 10000-10002 for Core Tools")
	dir := flags.String("dir", ".local", "folder of state, logs and addresses")
	dist := flags.String("dist", "dist", "the staged package")
	if err := flags.Parse(args); err != nil {
		return err
	}
	options := stack.Options{
		Dir: *dir, Forwarder: *noHost, Bootstrap: provision.Keyring,
		Progress: func(step string) { _, _ = fmt.Fprintln(out, "…", step) }, // a terminal
	}
	if !*noHost {
		if err := checkPort(ctx, port); err != nil {
			return err
		}
		options.Host = &stack.Host{Dir: *dist, Port: port, Env: hostOverrides()}
	}
	s, err := stack.Start(ctx, options)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted while starting")
		}
		return err
	}
	explain(out, s, *dir)
	return errors.Join(s.Wait(ctx), s.Stop())
}

func envPort() (int, error) {
	text := os.Getenv("PORT")
	if text == "" {
		return defaultPort, nil
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return 0, errors.New("PORT is not a port number")
	}
	return port, nil
}

// hostOverrides passes on overrides of host.json, as the host would read them.
func hostOverrides() map[string]string {
	env := map[string]string{}
	for _, kv := range os.Environ() {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, "AzureFunctionsJobHost__") {
			env[name] = value
		}
	}
	return env
}

// checkPort fails before anything is started when the API's port is taken.
func checkPort(ctx context.Context, port int) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listening on port %d: %w", port, err)
	}
	return fmt.Errorf("port %d is taken by %s; choose another one with PORT=, as in: make run PORT=%d", port, owner(port), port+1)
}
