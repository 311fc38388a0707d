// Package stack runs the whole local stack: everything that the app meets in
// Azure, as real servers on real sockets under a certificate authority of this
// run, and with Options.Host the app itself.
//
// Everything listens on loopback. What tests, the demo and tools need stands in
// stack.json, what the handler needs to find its services in transport.json, both
// of mode 0600: whoever reads them can act as anyone in this stack.
//
// Trust boundary: nothing here protects anything. It exists so that the code that
// does, the handler, runs unchanged: it knows token credentials, verified TLS and
// the real names, and no local mode beyond where a name is dialled.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"secureapi/scripts/devstack/azurite"
	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/identity"
	"secureapi/scripts/devstack/ingest"
	"secureapi/scripts/devstack/vault"
)

// The names of the services, as they would be in Azure.
const (
	Suffix       = "core.windows.net"
	HostAccount  = "devhost"
	DataAccount  = "devdata"
	AuditAccount = "devaudit"
	authHost     = "login.microsoftonline.com"
	vaultHost    = "devvault.vault.azure.net"
	ingestHost   = "dc.local.in.applicationinsights.azure.com"
)

// Options configure a Stack.
type Options struct {
	// Dir holds the state, the logs and the two files. Required.
	Dir string
	// Root is the project's folder. "": found upwards from the working directory.
	Root string
	// InMemory keeps no data: storage and keys begin empty and end with the run.
	InMemory bool
	// Forwarder serves the emulator's ports 10000-10002 for Core Tools, and makes
	// the emulator's account the data account, the one that they can read.
	Forwarder bool
	// Bootstrap makes what the app needs before its first start: the keyring.
	// nil: nothing.
	Bootstrap func(ctx context.Context, s *Stack) error
	// Host starts the Functions host stand-in on a staged package. nil: no host.
	Host *Host
	// Progress is told each step. nil: nobody.
	Progress func(step string)
}

// Host says how the app is run.
type Host struct {
	// Dir is the staged package. Required.
	Dir string
	// Port is the public port. 0: a free one.
	Port int
	// Mode is the way in which requests reach the handler.
	Mode host.Mode
	// Env is added to the handler's settings: overrides of host.json, and settings.
	Env map[string]string
}

// Stack is a running local stack.
type Stack struct {
	// Entra, Vault and Ingest are the services themselves, for tests.
	Entra   *entra.Server
	Vault   *vault.Server
	Ingest  *ingest.Server
	Azurite *azurite.Server
	// Host is the stand-in, nil without Options.Host.
	Host *host.Host

	options     Options
	authority   *ca.CA
	hosts       map[string]string
	client      *http.Client
	identityURL string
	header      string
	dataAccount string
	mu          sync.Mutex
	closers     []func() error // in order of starting
	failed      chan error
}

// Start starts everything and returns when it can be used. It ends with Stop, or
// when ctx ends; Wait returns then.
func Start(ctx context.Context, o Options) (s *Stack, err error) {
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("starting the stack: %w", err)
	}
	if o.Root == "" {
		if o.Root, err = azurite.FindRoot(); err != nil {
			return nil, err
		}
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	s = &Stack{options: o, dataAccount: DataAccount, failed: make(chan error, 1)}
	if o.Forwarder {
		s.dataAccount = azurite.EmulatorAccount
	}
	steps := []func(context.Context) error{
		s.makeFolders, s.startServices, s.makeStorage, s.forward, s.bootstrap, s.startHost, s.writeFiles,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	return s, nil
}

func (s *Stack) dir(name string) string { return filepath.Join(s.options.Dir, name) }

func (s *Stack) makeFolders(context.Context) error {
	for _, name := range []string{"logs", "azurite", "timers"} {
		if err := os.MkdirAll(s.dir(name), 0o700); err != nil {
			return fmt.Errorf("making the stack's folders: %w", err)
		}
	}
	// A reader that finds the files finds those of this run.
	for _, name := range []string{infoFile, transportFile, handlerEnvFile, toolEnvFile} {
		if err := os.Remove(s.dir(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the last run's files: %w", err)
		}
	}
	return nil
}

// startServices runs Azurite's start, the slowest, beside the making of keys.
func (s *Stack) startServices(ctx context.Context) (err error) {
	names := []string{authHost, vaultHost, ingestHost}
	for _, account := range s.accounts() {
		for _, service := range []azurite.Service{azurite.Blob, azurite.Queue, azurite.Table} {
			names = append(names, account+"."+string(service)+"."+Suffix)
		}
	}
	if s.authority, err = ca.New(names...); err != nil {
		return err
	}
	s.options.Progress("starting storage, Entra ID, Key Vault, managed identity and telemetry")
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startAzurite(ctx) })
	group.Go(func() (err error) { s.Entra, err = entra.New(entra.Options{}); return err })
	group.Go(func() error { return s.makeVault() })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.serveAll(ctx); err != nil {
		return err
	}
	maps.Copy(s.hosts, s.Azurite.Hosts(Suffix))
	s.client = ca.Client(s.authority.Pool(), s.hosts)
	return s.writeTransport()
}

func (s *Stack) accounts() []string {
	all := []string{HostAccount, DataAccount, AuditAccount}
	if s.options.Forwarder {
		all = append(all, azurite.EmulatorAccount)
	}
	return all
}

func (s *Stack) startAzurite(ctx context.Context) error {
	log, err := s.log("azurite")
	if err != nil {
		return err
	}
	cert, key, err := s.authority.WriteServer(s.options.Dir)
	if err != nil {
		return err
	}
	o := azurite.Options{
		PackageDir: filepath.Join(s.options.Root, "scripts", "devstack"),
		CertFile:   cert, KeyFile: key, Log: log, Emulator: s.options.Forwarder,
		Accounts: []string{HostAccount, DataAccount, AuditAccount},
	}
	if !s.options.InMemory {
		o.StateDir = s.dir("azurite")
	}
	s.Azurite, err = azurite.Start(ctx, o)
	if err != nil {
		return fmt.Errorf("%w (log: %s)", err, filepath.Join(s.options.Dir, "logs", "azurite.log"))
	}
	s.onStop(s.Azurite.Stop)
	return nil
}

func (s *Stack) makeVault() (err error) {
	o := vault.Options{
		Host: vaultHost, Authority: entra.Authority + "/" + entra.HomeTenant,
		Authorize: s.authorize(vault.Resource),
	}
	if !s.options.InMemory {
		o.StateFile = s.dir("vault.json")
	}
	s.Vault, err = vault.New(o)
	return err
}

// authorize lets the handler's identity in, and no other: the stand-in for its
// role assignments.
func (s *Stack) authorize(resource string) func(token string) error {
	return func(token string) error {
		bearer, err := s.Entra.VerifyResource(token, resource)
		if err != nil {
			return err
		}
		if bearer.Tenant != entra.HomeTenant || bearer.ClientID != entra.HandlerClientID {
			return errors.New("the caller has no role assignment")
		}
		return nil
	}
}

func (s *Stack) issueIdentity(resource string) (token string, expires time.Time, err error) {
	app, ok := s.Entra.App(entra.HandlerName)
	if !ok || !entra.IsResource(resource) {
		return "", time.Time{}, errors.New("no such resource")
	}
	// A managed identity's tokens carry the strength of a certificate.
	return s.Entra.ResourceToken(app, resource, "2")
}

func (s *Stack) makeIdentity() (http.Handler, error) {
	return identity.New(identity.Options{
		Header: s.header, ClientID: entra.HandlerClientID, Issue: s.issueIdentity,
	})
}

func (s *Stack) bootstrap(ctx context.Context) error {
	if s.options.Bootstrap == nil {
		return nil
	}
	s.options.Progress("making the keyring, if there is none")
	return s.options.Bootstrap(ctx, s)
}

// log opens a process' or service's log, which ends with the stack.
func (s *Stack) log(name string) (io.Writer, error) {
	file, err := os.OpenFile(filepath.Join(s.dir("logs"), name+".log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- the stack's own folder
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	s.onStop(file.Close)
	return file, nil
}

// Failed receives the first failure of a part that ended by itself.
func (s *Stack) Failed() <-chan error { return s.failed }

func (s *Stack) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// Wait returns when ctx ends, or with the failure of a part of the stack.
func (s *Stack) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	case <-s.Azurite.Done():
		return errors.New("storage (Azurite) ended by itself; see logs/azurite.log")
	}
}
