// Package vault is the local stand-in for Azure Key Vault's keys.
//
// It speaks the part of the REST API that the handler uses: get a key, list its
// versions, wrapkey and unwrapkey (RSA-OAEP-256, RSA-3072), sign (ES256). It
// answers with the service's own challenge and error bodies, so that the client
// library runs with everything that it verifies switched on.
//
// Trust boundary: every call under /keys proves itself by a token of the local
// issuer for https://vault.azure.net, really verified, and of the one identity
// that the vault serves. Endpoints under /local have no counterpart in Azure:
// they add and disable versions, inject faults and count calls, and are a reason
// to listen on loopback only. The keys rest unprotected in a file of mode 0600:
// what they protect is development data.
package vault

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"secureapi/scripts/devstack/fault"
)

// Resource is the audience of the vault's tokens.
const Resource = "https://vault.azure.net"

// Options configure a Server.
type Options struct {
	// Host is the vault's name, <vault>.vault.azure.net. Required.
	Host string
	// Authority is the address of the issuer's tenant, for the challenge. Required.
	Authority string
	// Authorize decides over a bearer token. Required: there is no open vault.
	Authorize func(token string) error
	// StateFile keeps the keys between runs. "": they live as long as the Server.
	StateFile string
	// Clock is the time of creation of keys. nil: now.
	Clock func() time.Time
}

// Server is the vault. It is an http.Handler.
type Server struct {
	host, challenge string
	authorize       func(token string) error
	stateFile       string
	now             func() time.Time
	local           *http.ServeMux

	// Faults makes the operations of the vault misbehave; they are called
	// get, versions, wrapkey, unwrapkey and sign.
	Faults fault.Switch

	mu     sync.Mutex
	keys   map[string][]*version // oldest first
	counts map[string]int
}

// New makes the vault with the keys of its state file, or with new ones.
func New(o Options) (*Server, error) {
	if o.Host == "" || o.Authority == "" || o.Authorize == nil {
		return nil, errors.New("making the vault: Host, Authority and Authorize are required")
	}
	s := &Server{
		host:      o.Host,
		challenge: `Bearer authorization="` + o.Authority + `", resource="` + Resource + `"`,
		authorize: o.Authorize, stateFile: o.StateFile, now: o.Clock, counts: map[string]int{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.local = s.localEndpoints()
	return s, nil
}

// Counts returns how often each operation was called since the start, refused
// and failed calls included; "unauthorized" counts those without a valid token.
func (s *Server) Counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

func (s *Server) count(operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[operation]++
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/local/") {
		s.local.ServeHTTP(w, r)
		return
	}
	token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !isBearer || s.authorize(token) != nil {
		s.count("unauthorized")
		w.Header().Set("WWW-Authenticate", s.challenge)
		if token == "" {
			fail(w, http.StatusUnauthorized, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
			return
		}
		fail(w, http.StatusUnauthorized, "Unauthorized", "AKV10032: Invalid issuer, audience or signature.")
		return
	}
	s.serveKeys(w, r)
}
