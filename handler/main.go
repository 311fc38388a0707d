// Command handler is the custom handler of the Functions app: a PII vault
// behind Entra ID, app roles, Key Vault and an audit log.
//
// main is the composition root and nothing else: it reads the settings, makes
// the clients, puts the parts together and serves until the host ends it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authn"
	"secureapi/handler/azure"
	"secureapi/handler/azure/blobs"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/azure/queues"
	"secureapi/handler/azure/tables"
	"secureapi/handler/bulkimport"
	"secureapi/handler/clock"
	"secureapi/handler/config"
	"secureapi/handler/customhandler"
	"secureapi/handler/httpapi"
	"secureapi/handler/jobs"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

const (
	// exitConfig: settings are missing or wrong. The host restarts twice and
	// then stops, which an operator sees.
	exitConfig = 2
	// drain is how long requests in flight may take to end.
	drain = 20 * time.Second
	// flush is how long the audit log may take to write what waits.
	flush = 10 * time.Second
	// clientTimeout bounds a call of the plain HTTP clients.
	clientTimeout = 10 * time.Second
)

func main() {
	os.Exit(run(context.Background(), os.Environ(), os.Stdout, os.Stderr))
}

// run returns the exit code, never 0: the host would not start the handler again.
func run(ctx context.Context, environ []string, stdout, stderr io.Writer) int {
	environment := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	c, err := config.Load(environment)
	if _, connectionErr := connection(c); err != nil || connectionErr != nil {
		return refuse(stderr, errors.Join(err, connectionErr))
	}
	port, err := customhandler.Port(c.Port)
	if err != nil {
		return refuse(stderr, err)
	}
	logger := telemetry.NewLogger(stdout, level(c.LogLevel))
	a, err := assemble(ctx, c, func(name string) string { return environment[name] }, logger)
	if err != nil {
		return refuse(stderr, err)
	}
	return a.serve(ctx, port)
}

// refuse tells every problem of the settings on standard error.
func refuse(stderr io.Writer, err error) int {
	if _, writeErr := fmt.Fprintf(stderr, "settings:\n%v\n", err); writeErr != nil {
		return customhandler.ExitFailure
	}
	return exitConfig
}

func level(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// app is the assembled handler.
type app struct {
	echo      *echo.Echo
	keyring   *keyring.Keyring
	signer    keyring.Signer
	jwks      *authn.JWKS
	revoked   *revocation.List
	cacheHits func() (share float64, ok bool)
	tenants   []string
	audit     *audit.Log
	transport *azure.Transport
	recorder  *recorder
	logger    *slog.Logger
	alarms    sync.WaitGroup // of those that are being written
}

// serve runs the background refreshes and the server until the host ends it,
// then writes what the audit log and telemetry still hold.
func (a *app) serve(ctx context.Context, port uint16) int {
	background, stop := context.WithCancel(ctx)
	defer stop()
	go a.keyring.Run(background)
	go a.jwks.Run(background, a.tenants)
	go a.revoked.Run(background)
	go a.measure(background, measureEvery)
	a.recorder.Event(ctx, telemetry.EventStarted)
	code, err := customhandler.Serve(ctx, port, a.echo, drain, clock.System)
	if err != nil {
		a.logger.ErrorContext(ctx, "serving ended", "error", err)
	}
	stop()
	a.recorder.Event(ctx, telemetry.EventStopping)
	a.close(context.WithoutCancel(ctx))
	return code
}

// close writes what waits, the audit log first: its calls are telemetry, too.
func (a *app) close(ctx context.Context) {
	flushing, cancel := context.WithTimeout(ctx, flush)
	defer cancel()
	a.alarms.Wait() // each is bounded
	if err := a.audit.Close(flushing); err != nil {
		a.logger.ErrorContext(ctx, "audit log not flushed", "error", err)
	}
	a.recorder.close(ctx)
	a.transport.Close()
}

// stores are the tables, one store each, and what imports need besides.
type stores struct {
	records, keyring, operations, revocations, audit, erasures *tables.Store

	imports, importsPoison *queues.Queue
	importsBlobs           *blobs.Container
	checkpoints            *blobs.Container
}

// maxCheckpoint bounds a signed checkpoint: some 250 bytes, and cosignatures.
const maxCheckpoint = 64 << 10

// checkpointsOrigin is the name of the log for ever: where its signed
// checkpoints are published.
func checkpointsOrigin(c config.Config) string {
	return strings.TrimPrefix(c.Endpoint(c.AuditAccount, "blob"), "https://") + "/" + audit.Container
}

// maxBlob bounds a blob of the imports container: a sealed chunk or result.
const maxBlob = 16 << 20

func newStores(c config.Config, identity azcore.TokenCredential, t *azure.Transport, observe azure.Observer) (s stores, err error) {
	open := func(account string) *tables.Service {
		service, serviceErr := tables.NewService(c.Endpoint(account, "table"), identity, t.ClientOptions(azure.Tables, observe))
		err = errors.Join(err, serviceErr)
		return service
	}
	data, log := open(c.DataAccount), open(c.AuditAccount)
	if err != nil {
		return s, err
	}
	table := func(service *tables.Service, name string) *tables.Store {
		store, tableErr := service.Table(name)
		err = errors.Join(err, tableErr)
		return store
	}
	s = stores{
		records: table(data, tokenvault.Table), keyring: table(data, keyring.Table),
		operations: table(data, operation.Table), revocations: table(data, revocation.Table), audit: table(log, "audit"),
		erasures: table(log, tokenvault.ErasuresTable),
	}
	queue := func(name string) *queues.Queue {
		q, queueErr := queues.NewQueue(c.Endpoint(c.DataAccount, "queue"), name, identity, t.ClientOptions(azure.Queues, observe))
		err = errors.Join(err, queueErr)
		return q
	}
	s.imports, s.importsPoison = queue(bulkimport.Queue), queue(bulkimport.Queue+"-poison")
	var blobErr error
	s.importsBlobs, blobErr = blobs.NewContainer(
		c.Endpoint(c.DataAccount, "blob"), bulkimport.Container, maxBlob, identity, t.ClientOptions(azure.Blobs, observe))
	var checkpointsErr error
	s.checkpoints, checkpointsErr = blobs.NewContainer(
		c.Endpoint(c.AuditAccount, "blob"), audit.Container, maxCheckpoint, identity, t.ClientOptions(azure.Blobs, observe))
	return s, errors.Join(err, blobErr, checkpointsErr)
}

// keyringOptions are the parts of the keyring: its table and the two vault keys.
func keyringOptions(
	c config.Config, store *tables.Store, identity azcore.TokenCredential, t *azure.Transport, observe azure.Observer, logger *slog.Logger,
) (keyring.Options, error) {
	vault, err := keyvault.New(c.KeyVaultURL, identity, t.ClientOptions(azure.KeyVault, observe))
	if err != nil {
		return keyring.Options{}, err
	}
	wrapper, err := vault.Wrapper(c.KeyWrapName)
	if err != nil {
		return keyring.Options{}, err
	}
	signer, err := vault.Signer(c.KeySignName)
	if err != nil {
		return keyring.Options{}, err
	}
	return keyring.Options{
		Store: store, Wrapper: wrapper, Signer: signer, SignName: c.KeySignName, Clock: clock.System, Logger: logger,
	}, nil
}

// assemble makes every part. It contacts nothing: a dependency that is down
// is health/ready's to tell, not a reason to end.
func assemble(ctx context.Context, c config.Config, getenv func(string) string, logger *slog.Logger) (*app, error) {
	configured, err := endpoints(c)
	if err != nil {
		return nil, err
	}
	transport, err := azure.NewTransport(c.LocalStackFile, getenv, clock.System, configured...)
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(c, transport, logger)
	if err != nil {
		return nil, err
	}
	recorder, err := newRecorder(c, transport, identity, logger) //nolint:contextcheck // it outlives every request; close ends it
	if err != nil {
		return nil, err
	}
	observe := azure.Record(recorder)
	s, err := newStores(c, identity, transport, observe)
	if err != nil {
		return nil, err
	}
	ringOptions, err := keyringOptions(c, s.keyring, identity, transport, observe, logger)
	if err != nil {
		return nil, err
	}
	a := &app{echo: echo.New(), tenants: c.TenantIDs, transport: transport, recorder: recorder, logger: logger}
	ringOptions.Alarm = func(ctx context.Context, _ error) { a.keyringRefused(ctx) }
	ring, err := keyring.New(ringOptions)
	if err != nil {
		return nil, err
	}
	auditOptions := audit.Options{
		Store: s.audit, Clock: clock.System, Instance: c.Instance, Logger: logger,
		MACKey: ring.AuditMAC, Telemetry: a.recorder,
	}
	log, err := audit.New(auditOptions) //nolint:contextcheck // its committer outlives every request; Close ends it
	if err != nil {
		return nil, err
	}
	a.keyring, a.audit, a.signer = ring, log, ringOptions.Signer
	a.jwks = authn.NewJWKS(c.AuthorityHost, transport.Client(clientTimeout), clock.System, logger)
	//nolint:contextcheck // handlers take the context of their request
	if err := a.routes(c, s, auditOptions); err != nil {
		return nil, errors.Join(err, log.Close(ctx))
	}
	return a, nil
}

// authenticator makes what every request passes, and the list that it asks.
func (a *app) authenticator(c config.Config, s stores) (*authn.Authenticator, error) {
	list, err := revocation.New(revocation.Options{
		Store: s.revocations, Keys: a.keyring, Audit: a.audit, Tenants: c.TenantIDs, TokenLife: authn.AcceptedFor,
		Clock: clock.System, Logger: a.logger,
	})
	if err != nil {
		return nil, err
	}
	a.revoked = list
	return authn.New(acceptedTokens(c), a.jwks, list, clock.System)
}

// routes puts the domain behind the transports.
func (a *app) routes(c config.Config, s stores, auditOptions audit.Options) error {
	auth, err := a.authenticator(c, s)
	if err != nil {
		return err
	}
	vault, err := tokenvault.New(tokenvault.Options{
		Store: s.records, Erased: s.erasures, Keys: a.keyring, Audit: a.audit, StepUp: auth, Purposes: c.RevealPurposes,
		Plans: operation.NewPlans[[]tokenvault.PlannedToken]("tokenize", s.operations, a.keyring, clock.System),
		Clock: clock.System, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	a.cacheHits = vault.CacheHits
	erasures, err := tokenvault.NewErasures(vault, tokenvault.ErasureOptions{
		Operations: s.operations, BackupRetention: c.BackupRetention,
	})
	if err != nil {
		return err
	}
	imports, err := bulkimport.New(bulkimport.Options{
		Store: s.operations, Keys: a.keyring, Blobs: s.importsBlobs, Queue: s.imports, Vault: vault, Audit: a.audit,
		Clock: clock.System, Logger: a.logger, Telemetry: a.recorder, RepairAfter: c.ImportRepairAfter,
	})
	if err != nil {
		return err
	}
	events, err := audit.NewReader(auditOptions)
	if err != nil {
		return err
	}
	sealer, err := audit.NewSealer(auditOptions, audit.Publication{
		Signer: a.signer, Blobs: s.checkpoints, Origin: checkpointsOrigin(c),
	})
	if err != nil {
		return err
	}
	err = httpapi.Register(a.echo, httpapi.Options{
		Auth: auth, Vault: vault, Erasures: erasures, Imports: imports, Audit: a.audit, Events: events, Keyring: a.keyring, Revocations: a.revoked,
		Ready: a.ready, Clock: clock.System, Logger: a.logger, Telemetry: a.recorder, ProxyHops: c.TrustedProxyHops,
		Limits: httpapi.Limits{Concurrent: c.MaxConcurrentRequests, PerMinute: c.RateLimitPerMinute, Burst: c.RateLimitBurst},
	})
	if err != nil {
		return err
	}
	return jobs.Register(a.echo, jobs.Options{
		Imports: imports, Erasures: erasures, Sealer: sealer, Audit: a.audit, Keyring: a.keyring, Logger: a.logger,
		Telemetry: a.recorder, Backlogs: backlogs(clock.System, s.imports, s.importsPoison),
	})
}

// ready: the keyring may write, which takes the table store and, at first,
// Key Vault and the managed identity.
func (a *app) ready(ctx context.Context) error {
	_, err := a.keyring.ForWrite(ctx)
	return err
}
