package stack

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"slices"
	"time"

	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/identity"
	"secureapi/scripts/devstack/ingest"
)

const (
	readHeaderTimeout = 10 * time.Second
	stopTimeout       = 5 * time.Second
)

// serveAll puts the services on free loopback ports.
func (s *Stack) serveAll(ctx context.Context) (err error) {
	s.header = rand.Text()
	s.hosts = map[string]string{}
	s.Ingest, err = ingest.New(ingest.Options{Authorize: s.authorize(ingest.Resource), File: s.dir("logs/telemetry.ndjson")})
	if err != nil {
		return err
	}
	s.onStop(s.Ingest.Close)
	managed, err := s.makeIdentity()
	if err != nil {
		return err
	}
	secure := s.authority.ServerTLS()
	for _, service := range []struct {
		name, host string
		handler    http.Handler
	}{{"entra", authHost, s.Entra}, {"vault", vaultHost, s.Vault}, {"ingest", ingestHost, s.Ingest}} {
		if s.hosts[service.host], err = s.serve(ctx, service.name, service.handler, secure); err != nil {
			return err
		}
	}
	pages, err := s.serve(ctx, "signin", s.Entra.Pages(), nil)
	if err != nil {
		return err
	}
	s.Entra.ServePagesAt("http://" + pages)
	address, err := s.serve(ctx, "identity", managed, nil)
	s.identityURL = "http://" + address + identity.Path
	return err
}

// serve serves one service, over TLS if secure is given, and logs its requests:
// method, path and status, never a body or a header.
func (s *Stack) serve(ctx context.Context, name string, handler http.Handler, secure *tls.Config) (address string, err error) {
	log, err := s.log(name)
	if err != nil {
		return "", err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listening for %s: %w", name, err)
	}
	address = listener.Addr().String()
	server := &http.Server{
		Handler: logged(handler, log), ReadHeaderTimeout: readHeaderTimeout,
		TLSConfig: secure.Clone(), ErrorLog: stdlog.New(log, "", stdlog.LstdFlags),
	}
	go func() {
		var err error
		if secure != nil {
			err = server.ServeTLS(listener, "", "")
		} else {
			err = server.Serve(listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serving %s: %w", name, err))
		}
	}()
	s.onStop(func() error {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := server.Shutdown(stopping); err != nil {
			return server.Close() // a call that hangs by an injected fault
		}
		return nil
	})
	return address, nil
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func logged(next http.Handler, log io.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		started := time.Now()
		next.ServeHTTP(seen, r)
		_, _ = fmt.Fprintf(log, "%s %s %s %d %s\n", started.UTC().Format(time.RFC3339Nano), // only a log
			r.Method, r.URL.EscapedPath(), seen.status, time.Since(started).Round(time.Microsecond))
	})
}

func (s *Stack) onStop(closer func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, closer)
}

// Stop ends everything, the last started first. It may be called again.
func (s *Stack) Stop() error {
	s.mu.Lock()
	closers := s.closers
	s.closers = nil
	s.mu.Unlock()
	var problems []error
	for _, closer := range slices.Backward(closers) {
		problems = append(problems, closer())
	}
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	return errors.Join(problems...)
}

// HTTPClient reaches every service by its real name, trusts the local CA alone
// and refuses any other host but loopback.
func (s *Stack) HTTPClient() *http.Client { return s.client }

// Token returns an access token for the API: of a persona, or of an app by its
// name, which is an application's own token.
func (s *Stack) Token(_ context.Context, name string) (string, error) {
	if app, ok := s.Entra.App(name); ok {
		return s.Entra.Sign(app.Tenant, s.Entra.AppClaims(app, "2"))
	}
	return s.Entra.PersonaToken(name, entra.Grant{})
}
