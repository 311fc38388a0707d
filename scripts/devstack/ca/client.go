package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// ErrUnknownHost: a name that the local stack does not serve. It is never
// looked up elsewhere, so that nothing local can reach a real service.
var ErrUnknownHost = errors.New("host is not part of the local stack")

const (
	dialTimeout = 5 * time.Second
	idlePerHost = 64
)

// Client dials the names in hosts at the given addresses, trusts roots alone,
// and refuses every other name but loopback.
func Client(roots *x509.CertPool, hosts map[string]string) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               nil,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			MaxIdleConnsPerHost: idlePerHost,
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				name, _, err := net.SplitHostPort(address)
				if err != nil {
					return nil, fmt.Errorf("dialling: %w", err)
				}
				if target, ok := hosts[name]; ok {
					return dialer.DialContext(ctx, network, target)
				}
				if ip := net.ParseIP(name); ip != nil && ip.IsLoopback() {
					return dialer.DialContext(ctx, network, address)
				}
				return nil, fmt.Errorf("%w: %q", ErrUnknownHost, name)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
