// Package azurite installs and runs Azurite, Microsoft's storage emulator, as
// the storage of the local stack.
//
// It comes from npm by the committed lockfile and is started by its script, with
// HTTPS and bearer tokens (--oauth basic), and serves all accounts of the stack
// under their production-style names (<account>.table.core.windows.net), which
// clients dial at its loopback ports.
//
// Trust boundary: Azurite checks a token's issuer, audience and times but not its
// signature, and knows no roles. It stands for storage that the design does not
// trust anyway. Account keys are made at every start and given to nobody; only
// for Core Tools, on request, the emulator's well-known account is added.
package azurite

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second
	// stopTimeout is how long it may take to flush its files.
	stopTimeout = 15 * time.Second
	// keepAlive is longer than any client keeps an idle connection, so that a
	// request never meets a connection that the server is closing.
	keepAlive = 300

	// EmulatorAccount and its key are the same in every emulator: documented,
	// public, and no secret.
	EmulatorAccount = "devstoreaccount1"
	emulatorKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Service is one of the three services of an account.
type Service string

// The services.
const (
	Blob  Service = "blob"
	Queue Service = "queue"
	Table Service = "table"
)

// Options configure a Server.
type Options struct {
	// PackageDir holds package-lock.json and node_modules. Required.
	PackageDir string
	// CertFile and KeyFile are the server's certificate. Required.
	CertFile, KeyFile string
	// Accounts are the storage accounts. Required.
	Accounts []string
	// Emulator adds the emulator's well-known account.
	Emulator bool
	// StateDir keeps the data on disk. "": in memory.
	StateDir string
	// Ports fixes ports; those left out are free ones.
	Ports map[Service]int
	// Log receives the output. nil: nowhere.
	Log io.Writer
}

// Server is a running Azurite.
type Server struct {
	accounts  []string
	addresses map[Service]string
	cmd       *exec.Cmd
	done      chan struct{}
	err       error
}

var listening = regexp.MustCompile(`^Azurite (Blob|Queue|Table) service is successfully listening at https://(127\.0\.0\.1:\d+)$`)

// Start installs Azurite if need be, starts it, and returns when all its
// services listen. It ends with Stop, not with ctx.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.PackageDir == "" || o.CertFile == "" || o.KeyFile == "" || len(o.Accounts) == 0 {
		return nil, errors.New("starting Azurite: PackageDir, CertFile, KeyFile and Accounts are required")
	}
	log := o.Log
	if log == nil {
		log = io.Discard
	}
	if err := Install(ctx, o.PackageDir, log); err != nil {
		return nil, err
	}
	interpreter, err := node(ctx, o.PackageDir)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), interpreter, arguments(o)...) // #nosec G204 -- the locked package's own program
	cmd.Dir = o.PackageDir
	if o.Emulator {
		o.Accounts = append(o.Accounts[:len(o.Accounts):len(o.Accounts)], EmulatorAccount)
	}
	cmd.Env = environment(
		"AZURITE_ACCOUNTS="+accounts(o.Accounts),
		// Azurite's 1,200 modules compile for seconds; the cache makes that the first start's alone.
		"NODE_COMPILE_CACHE="+filepath.Join(o.PackageDir, "node_modules", ".cache", "compile"),
	)
	detach(cmd)
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting Azurite: %w", err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Start()
	_ = writer.Close() //nolint:errcheck // the child has its own
	if err != nil {
		_ = reader.Close() //nolint:errcheck // never used
		return nil, fmt.Errorf("starting Azurite: %w", err)
	}
	s := &Server{accounts: o.Accounts, addresses: map[Service]string{}, cmd: cmd, done: make(chan struct{})}
	ready := make(chan struct{})
	go s.follow(reader, log, ready)
	if err := s.await(ctx, ready); err != nil {
		return nil, err
	}
	return s, nil
}

func arguments(o Options) []string {
	args := []string{
		"--require", filepath.Join(o.PackageDir, "azurite", "hostpath.cjs"),
		filepath.Join(o.PackageDir, "node_modules", script),
		"--silent", "--disableTelemetry", "--oauth", "basic", "--skipApiVersionCheck",
		"--cert", o.CertFile, "--key", o.KeyFile,
	}
	for _, service := range []Service{Blob, Queue, Table} {
		args = append(args, "--"+string(service)+"Port", strconv.Itoa(o.Ports[service]),
			"--"+string(service)+"KeepAliveTimeout", strconv.Itoa(keepAlive))
	}
	if o.StateDir == "" {
		return append(args, "--inMemoryPersistence")
	}
	return append(args, "--location", o.StateDir)
}

// accounts gives each account a key of this run.
func accounts(names []string) string {
	var list strings.Builder
	for _, name := range names {
		key := emulatorKey
		if name != EmulatorAccount {
			random := make([]byte, 64)
			_, _ = rand.Read(random) // never fails
			key = base64.StdEncoding.EncodeToString(random)
		}
		list.WriteString(name + ":" + key + ";")
	}
	return list.String()
}

// follow logs the output, notes the addresses, and ends with the process.
func (s *Server) follow(output *os.File, log io.Writer, ready chan<- struct{}) {
	scanner := bufio.NewScanner(output)
	for scanner.Scan() {
		_, _ = fmt.Fprintln(log, scanner.Text()) // a log that fails must not stop the storage
		if found := listening.FindStringSubmatch(scanner.Text()); found != nil {
			s.addresses[Service(strings.ToLower(found[1]))] = found[2]
			if len(s.addresses) == 3 {
				close(ready)
			}
		}
	}
	_, _ = io.Copy(io.Discard, output) //nolint:errcheck // only drained
	_ = output.Close()                 //nolint:errcheck // only read
	s.err = s.cmd.Wait()
	close(s.done)
}

func (s *Server) await(ctx context.Context, ready <-chan struct{}) error {
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case <-ready:
		return nil
	case <-s.done:
		return fmt.Errorf("starting Azurite: it ended, see its log: %w", errEnded(s.err))
	case <-timer.C:
		return errors.Join(errors.New("starting Azurite: it is not ready after "+startTimeout.String()), s.Stop())
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("starting Azurite: %w", ctx.Err()), s.Stop())
	}
}

// errEnded is how a process ended, which may be by itself and in order.
func errEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Address is where a service listens.
func (s *Server) Address(service Service) string { return s.addresses[service] }

// Hosts maps the accounts' names below suffix (core.windows.net) to addresses.
func (s *Server) Hosts(suffix string) map[string]string {
	hosts := map[string]string{}
	for _, account := range s.accounts {
		for service, address := range s.addresses {
			hosts[account+"."+string(service)+"."+suffix] = address
		}
	}
	return hosts
}

// PID is the process id, for tests that look at what runs.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Done is closed when the process has ended, whoever ended it.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop ends Azurite by SIGTERM, which lets it write what it has acknowledged; a
// kill would lose up to five seconds of that.
func (s *Server) Stop() error {
	select {
	case <-s.done:
		return nil
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping Azurite: %w", err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
		return nil
	case <-timer.C:
	}
	err := s.cmd.Process.Kill()
	<-s.done
	return errors.Join(errors.New("stopping Azurite: it did not end and was killed"), err)
}
