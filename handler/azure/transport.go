// Package azure is the only way out of the process: it builds every HTTP
// client that the handler uses, for Entra ID, Key Vault, storage, telemetry
// and the managed-identity endpoint. The sub-packages adapt one service each.
//
// Trust boundary: a service is believed as far as TLS proves its name, and no
// further. All connections are TLS 1.2 or newer and verified; a redirect is
// never followed, because a bearer token would travel with it; responses are
// bounded. The services of the configuration may be in a private network; any
// other name leads to a public address or nowhere, and no name leads to the
// instance itself or to the platform's metadata (address.go). The
// managed-identity endpoint, which speaks plain HTTP on such an address, has a
// client of its own that can dial nothing else.
//
// One seam leads to the local stack (local.go): names are dialled at loopback
// addresses and a local CA is trusted. It is refused inside Azure.
package azure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/clock"
)

const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	idleTimeout      = 60 * time.Second
	keepAlive        = 30 * time.Second
	// pingAfter is the silence after which an HTTP/2 connection is probed, so
	// that one which died unnoticed costs seconds and not minutes.
	pingAfter = 15 * time.Second
	// callersPerHost is the concurrency for which connections stay open.
	callersPerHost = 64
	maxConnsHost   = 2 * callersPerHost
	maxHeaderBytes = 64 << 10

	// clientLimit bounds a response of Client: key sets, discovery documents
	// and tokens are a few kilobytes.
	clientLimit = 1 << 20

	// tryTimeout bounds one try of an SDK call, its response body included;
	// the caller's context bounds all tries together.
	tryTimeout = 10 * time.Second
	maxRetries = 3
	retryDelay = 100 * time.Millisecond
	maxDelay   = 2 * time.Second

	// imdsAddress serves managed identities where the platform names no
	// endpoint (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
	imdsAddress = "169.254.169.254:80"
)

var (
	errRedirect = errors.New("redirects are not followed")
	errPlain    = errors.New("plain HTTP is not spoken")
	errAddress  = errors.New("address is not allowed")
	errHost     = errors.New("host is not part of the local stack")
)

// Transport builds the handler's HTTP clients over shared connections.
type Transport struct {
	secure   *http.Transport
	identity *http.Transport
	// identityHost is the one host (with port) that identity may ask.
	identityHost string
	local        bool
	now          clock.Clock
}

// NewTransport reads what it needs from the environment: the identity
// endpoint, and, to refuse localStackFile, whether this is Azure. An empty
// localStackFile means production. The endpoints (https://host) are those that
// the configuration names: they alone may have a private address.
func NewTransport(localStackFile string, env func(string) string, now clock.Clock, endpoints ...string) (*Transport, error) {
	t := &Transport{now: now}
	guard, err := newGuard(endpoints)
	if err != nil {
		return nil, fmt.Errorf("endpoints: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: cipherSuites()}
	dial := guard.dial
	if localStackFile != "" {
		stack, err := loadStack(localStackFile, env)
		if err != nil {
			return nil, fmt.Errorf("local stack file: %w", err)
		}
		t.local = true
		config.RootCAs = stack.roots
		dial = stack.dial
	}
	t.secure = newHTTPTransport(config, dial)
	if err := t.allowIdentity(env("IDENTITY_ENDPOINT")); err != nil {
		return nil, fmt.Errorf("identity endpoint: %w", err)
	}
	return t, nil
}

// Local reports whether names lead to the local stack.
func (t *Transport) Local() bool { return t.local }

// Client asks any host over TLS. The timeout covers a whole call.
func (t *Transport) Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     limited{next: httpsOnly{t.secure}, limit: clientLimit},
		CheckRedirect: refuseRedirect, Timeout: timeout,
	}
}

// IdentityClient asks the managed-identity endpoint and nothing else.
func (t *Transport) IdentityClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     limited{next: oneHost{t.identity, t.identityHost}, limit: clientLimit},
		CheckRedirect: refuseRedirect, Timeout: timeout,
	}
}

// ClientOptions configures the SDK client of one kind of service. observe is
// told of every call; nil observes nothing. The SDK's own telemetry header and
// logging of bodies stay off.
func (t *Transport) ClientOptions(kind Kind, observe Observer) azcore.ClientOptions {
	o := azcore.ClientOptions{
		Retry: policy.RetryOptions{
			MaxRetries: maxRetries, TryTimeout: tryTimeout, RetryDelay: retryDelay, MaxRetryDelay: maxDelay,
		},
		Telemetry: policy.TelemetryOptions{Disabled: true},
		Transport: &http.Client{
			Transport:     limited{next: httpsOnly{t.secure}, limit: kind.responseLimit()},
			CheckRedirect: refuseRedirect,
		},
	}
	if observe != nil {
		o.PerCallPolicies = []policy.Policy{callPolicy{kind, observe, t.now}}
		o.PerRetryPolicies = []policy.Policy{tryPolicy{}}
	}
	return o
}

// Close closes idle connections; it is the last step of a drain.
func (t *Transport) Close() {
	t.secure.CloseIdleConnections()
	t.identity.CloseIdleConnections()
}

// cipherSuites are those of TLS 1.2: authenticated encryption and a key that
// nobody can recover later. They are named so that GODEBUG cannot bring back what
// Go has left behind, nor keep CBC. TLS 1.3 has no others. Key exchange is left to
// Go, which prefers a hybrid with ML-KEM.
func cipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newHTTPTransport asks no proxy: HTTPS_PROXY in an environment must not be
// able to move where tokens go. Compression is off so that the limit on a
// response counts what is held in memory.
func newHTTPTransport(config *tls.Config, dial dialFunc) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  tryTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: handshakeTimeout},
		DisableCompression:     true,
		MaxIdleConns:           4 * callersPerHost,
		MaxIdleConnsPerHost:    callersPerHost,
		MaxConnsPerHost:        maxConnsHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ExpectContinueTimeout:  time.Second,
	}
}

// allowIdentity prepares the identity client for the platform's endpoint, or
// for the instance metadata service where the platform names none.
func (t *Transport) allowIdentity(endpoint string) error {
	t.identityHost = imdsAddress[:len(imdsAddress)-len(":80")]
	address := imdsAddress
	if endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
			return errors.New("not an http URL")
		}
		t.identityHost, address = u.Host, u.Host
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), "80")
		}
	}
	local := t.local
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	dialer.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return errAddress
		}
		if local && !to.Addr().Unmap().IsLoopback() {
			return fmt.Errorf("identity endpoint: %w", errAddress)
		}
		return nil
	}
	t.identity = newHTTPTransport(nil, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	})
	return nil
}

func refuseRedirect(*http.Request, []*http.Request) error { return errRedirect }
