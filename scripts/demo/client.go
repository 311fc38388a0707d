package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/stack"
)

// maxAnswer is above the largest answer of the API, a page of results.
const maxAnswer = 16 << 20

const (
	defaultPatience = 2 * time.Minute
	pause           = 100 * time.Millisecond
)

// demo is the story and what its scenes hand on to each other.
type demo struct {
	info    stack.Info
	client  *http.Client
	show    *screen
	started time.Time
	// patience is how long a queue or a timer function may take.
	patience time.Duration

	// customer is the first record: its values by column, and its tokens.
	customer, tokens map[string]string
	rejected         map[int]string
	// stored is a row as it was found in the table.
	stored entity
}

func newDemo(info stack.Info, show *screen) (*demo, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(info.RootsPEM)) {
		return nil, errors.New("reading the stack's description: no certificate authority")
	}
	// The entries of this run begin here; the log's times are cut to milliseconds.
	return &demo{
		info: info, client: ca.Client(roots, info.Hosts), show: show,
		started: time.Now().UTC().Truncate(time.Second), patience: defaultPatience,
	}, nil
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem is what the demo reads of an RFC 9457 problem.
type problem struct {
	Code  string `json:"code"`
	Title string `json:"title"`
}

// csvBody is sent as a file; every other body as JSON.
type csvBody []byte

// call asks the API as a persona, "" without a token.
func (d *demo) call(ctx context.Context, as, method, path string, body any) (answer, error) {
	r, err := d.request(ctx, method, d.info.API+"/api/v1/"+path, body)
	if err != nil {
		return answer{}, err
	}
	if as != "" {
		token, err := d.token(ctx, as)
		if err != nil {
			return answer{}, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return d.do(r)
}

// ask is call that takes one status only, and reads the answer into v.
func (d *demo) ask(ctx context.Context, as, method, path string, body any, status int, v any) (answer, error) {
	a, err := d.call(ctx, as, method, path, body)
	if err != nil {
		return answer{}, err
	}
	return a, a.expect(status, method+" "+path, v)
}

func (a answer) expect(status int, what string, v any) error {
	if a.status != status {
		return fmt.Errorf("%s: expected %d, got %d %q", what, status, a.status, a.problem().Code)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("%s: reading the answer: %w", what, err)
	}
	return nil
}

// problem is empty where the answer is none.
func (a answer) problem() problem {
	var p problem
	if json.Unmarshal(a.body, &p) != nil {
		return problem{}
	}
	return p
}

func (d *demo) request(ctx context.Context, method, url string, body any) (*http.Request, error) {
	var content []byte
	kind := ""
	switch b := body.(type) {
	case nil:
	case csvBody:
		content, kind = b, "text/csv; charset=utf-8"
	default:
		var err error
		if content, err = json.Marshal(b); err != nil {
			return nil, fmt.Errorf("encoding a request: %w", err)
		}
		kind = "application/json"
	}
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return r, nil
}

func (d *demo) do(r *http.Request) (answer, error) {
	resp, err := d.client.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("asking: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("reading an answer: %w", err)
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// local asks a service of the stack, not the API, and reads its JSON.
func (d *demo) local(ctx context.Context, method, url string, body any, status int, v any, headers ...string) error {
	r, err := d.request(ctx, method, url, body)
	if err != nil {
		return err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	a, err := d.do(r)
	if err != nil {
		return err
	}
	return a.expect(status, method+" "+r.URL.Path, v)
}

// token signs a persona in, through a client that can answer a claims challenge.
func (d *demo) token(ctx context.Context, persona string) (string, error) {
	var got struct {
		AccessToken string `json:"access_token"`
	}
	err := d.local(ctx, http.MethodPost, d.info.TokenURL, map[string]any{"persona": persona, "capable": true}, http.StatusOK, &got)
	return got.AccessToken, err
}

// until asks again and again until done says so: queues and timers work beside.
func (d *demo) until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(pause):
		}
	}
}
