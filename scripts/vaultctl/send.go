package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"secureapi/scripts/vaultctl/signin"
)

const dialTimeout = 5 * time.Second

var (
	errBase      = errors.New("-url is not https://<host>, or http:// at a loopback address, and nothing after it")
	errPath      = errors.New("the path is not /<path> on the API's own host")
	errElsewhere = errors.New("the token goes to the API's own address only")
	errLoopback  = errors.New("address is not loopback")
	errLarge     = errors.New("the answer is too large")
)

// apiBase reads the API's address: https, or http where nothing leaves the
// machine. A path, a query or user information has no place in it.
func apiBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() != strings.TrimSuffix(text, "/") {
		return nil, errBase
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopbackName(u.Hostname())) {
		return nil, errBase
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func loopbackName(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// address puts a path behind the base. What a browser would take for another
// host, "//host", is no path.
func address(base, path string) (string, error) {
	b, err := apiBase(base)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\#") {
		return "", errPath
	}
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "", errPath
	}
	u.Scheme, u.Host = b.Scheme, b.Host
	return u.String(), nil
}

// send sends the call with the token. The token is put in last, after the
// request's address was compared with the API's.
func (s *session) send(ctx context.Context, o outgoing, token signin.Token) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, o.method, o.target, bytes.NewReader(o.body))
	if err != nil {
		return answer{}, errPath
	}
	if o.contentType != "" {
		req.Header.Set("Content-Type", o.contentType)
	}
	if o.key != "" {
		req.Header.Set("Idempotency-Key", o.key)
	}
	req.Header.Set("User-Agent", "vaultctl")
	base, err := apiBase(s.settings.URL)
	if err != nil {
		return answer{}, err
	}
	if req.URL.Scheme != base.Scheme || req.URL.Host != base.Host {
		return answer{}, errElsewhere
	}
	req.Header.Set("Authorization", "Bearer "+token.Access)
	resp, err := s.apiClient(base).Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("calling the API: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return answer{}, errLarge
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// apiClient follows no redirect, asks no proxy, and verifies TLS. Without TLS it
// connects to loopback addresses only, whatever the name resolves to.
func (s *session) apiClient(base *url.URL) *http.Client {
	if base.Scheme == "https" {
		return s.transport.Client(callTimeout)
	}
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		if to, err := netip.ParseAddrPort(resolved); err != nil || !to.Addr().IsLoopback() {
			return errLoopback
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		// The answer is shown as it is.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       callTimeout,
	}
}
