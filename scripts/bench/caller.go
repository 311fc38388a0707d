package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// sender carries one request to the handler and gives status and body.
type sender func(path, token, idempotencyKey, body string) (int, []byte, error)

const jsonType = "application/json"

func newRequest(ctx context.Context, address, path, token, idempotencyKey, body string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+path, bytes.NewBufferString(body))
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	r.Header.Set("Content-Type", jsonType)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if idempotencyKey != "" {
		r.Header.Set("Idempotency-Key", idempotencyKey)
	}
	return r, nil
}

// answer is an http.ResponseWriter that keeps what it is given.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// direct calls a handler without a socket: what it costs and nothing else.
func direct(ctx context.Context, h http.Handler) sender {
	return func(path, token, idempotencyKey, body string) (int, []byte, error) {
		r, err := newRequest(ctx, "http://handler", path, token, idempotencyKey, body)
		if err != nil {
			return 0, nil, err
		}
		r.RequestURI = path
		a := &answer{header: http.Header{}, status: http.StatusOK}
		h.ServeHTTP(a, r)
		return a.status, a.body.Bytes(), nil
	}
}

// serve puts a handler on a loopback port and gives a sender that keeps its
// connections, and what ends both.
func serve(ctx context.Context, h http.Handler, callers int) (sender, func() error, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	transport := &http.Transport{MaxIdleConnsPerHost: callers, DisableCompression: true}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	address := "http://" + listener.Addr().String()
	send := func(path, token, idempotencyKey, body string) (int, []byte, error) {
		r, err := newRequest(ctx, address, path, token, idempotencyKey, body)
		if err != nil {
			return 0, nil, err
		}
		response, err := client.Do(r)
		if err != nil {
			return 0, nil, fmt.Errorf("calling: %w", err)
		}
		b, err := io.ReadAll(response.Body)
		return response.StatusCode, b, errors.Join(err, response.Body.Close())
	}
	stop := func() error {
		transport.CloseIdleConnections()
		err := server.Close()
		if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}
	return send, stop, nil
}

// caller makes the calls that are measured. Safe for concurrent use.
type caller struct {
	api  *api
	send sender
	next atomic.Int64
}

// tokenize stores one e-mail address of the named subject, "" for a new one,
// and gives its token.
func (c *caller) tokenize(subject string, idempotent bool) (string, error) {
	return c.tokenizeAs(c.api.writer, subject, idempotent)
}

// tokenizeAs is tokenize with an access token of one's own.
func (c *caller) tokenizeAs(writer, subject string, idempotent bool) (string, error) {
	n := strconv.FormatInt(c.next.Add(1), 10)
	body := `{"class":"email","value":"person.` + n + `@example.com"}`
	if subject != "" {
		body = body[:len(body)-1] + `,"subject":"` + subject + `"}`
	}
	key := ""
	if idempotent {
		key = "order-2026-" + n
	}
	status, b, err := c.send("/api/v1/tokens", writer, key, body)
	if err != nil {
		return "", err
	}
	var result struct {
		Token string `json:"token"`
	}
	if status != http.StatusCreated {
		return "", fmt.Errorf("tokenize answers %d", status)
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return "", fmt.Errorf("reading an answer: %w", err)
	}
	return result.Token, nil
}

// reveal gives back one token's value.
func (c *caller) reveal(token string) error {
	body := `{"tokens":["` + token + `"],"purpose":"` + purpose + `","reason":"CASE-2026-004711"}`
	status, b, err := c.send("/api/v1/tokens/reveal", c.api.revealer, "", body)
	if err == nil && (status != http.StatusOK || !bytes.Contains(b, []byte("@example.com"))) {
		err = fmt.Errorf("reveal answers %d", status)
	}
	return err
}
