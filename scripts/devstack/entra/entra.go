// Package entra is the local stand-in for Microsoft Entra ID.
//
// It serves discovery, key sets and the token endpoint of two tenants under
// https://login.microsoftonline.com, with keys made at start, and issues tokens
// shaped as in production: v2.0 tokens for the API (of people and applications)
// and v1.0 tokens for Azure resources, which the local Key Vault verifies and
// the storage emulator reads. Applications prove themselves with a secret, a
// certificate or a federated assertion, and each is really checked. People sign
// in through a public client, by authorization code with PKCE or by device code,
// on a page that lists the personas: choosing one stands for the password.
//
// Trust boundary: what it signs is believed by whatever trusts the local CA, and
// by nothing else. POST /local/token and the sign-in page give out any persona's
// token without a password: the server must only ever listen on loopback.
package entra

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"secureapi/scripts/devstack/fault"
)

// Options configure a Server.
type Options struct {
	// Clock is the time at which tokens are issued and checked. nil: now.
	Clock func() time.Time
}

// Server is the issuer. It is an http.Handler.
type Server struct {
	// Faults makes the issuer's endpoints misbehave; they are called discovery,
	// keys and token.
	Faults fault.Switch

	now  func() time.Time
	ring *keyRing
	apps []App
	mux  *http.ServeMux
	// grants has a lock of its own.
	grants *grants

	mu          sync.Mutex
	certificate Certificate // registered with every application
	federations []Federation
	used        map[string]bool // assertions by jti
	pages       string          // where Pages is served
}

// New makes the issuer, its keys and the secrets of the applications.
func New(o Options) (*Server, error) {
	s := &Server{now: o.Clock, apps: apps(), used: map[string]bool{}, grants: newGrants()}
	if s.now == nil {
		s.now = time.Now
	}
	for i := range s.apps {
		s.apps[i].Secret = rand.Text() + rand.Text()
	}
	var group errgroup.Group
	group.Go(func() (err error) {
		s.ring, err = newKeyRing(HomeTenant, OtherTenant)
		return err
	})
	group.Go(func() (err error) {
		s.certificate, err = newCertificate()
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.faulty("discovery", s.serveDiscovery))
	s.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.faulty("keys", s.serveKeys))
	s.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.faulty("token", s.serveToken))
	s.mux.Handle("/local/fault", &s.Faults)
	s.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/devicecode", s.serveDeviceCode)
	s.routePages(s.mux)
	s.mux.HandleFunc("POST /local/token", s.serveLocalToken)
	s.mux.HandleFunc("POST /local/rotate", s.serveRotate)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// faulty lets the fault in force meet an endpoint.
func (s *Server) faulty(operation string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if status := s.Faults.Apply(r, operation); status != 0 {
			fail(w, status, "temporarily_unavailable", "AADSTS90033: A transient error has occurred. Please try again.")
			return
		}
		next(w, r)
	}
}
