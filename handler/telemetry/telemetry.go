// Package telemetry is what the handler tells its operators: structured logs
// on standard output, and requests, dependencies, exceptions, events and
// metrics for Application Insights behind the Recorder.
//
// Nothing here may carry personal data (invariant I3): an item has fixed
// names, statuses, durations and ids that this system made; never a URL's
// query, a header, a body, a token or a value. The types have no room for
// more, and every Recorder sends only the redacted form of an item, so that a
// caller's slip costs a label and not a secret.
//
// Trust boundary: a trace context comes from the client. It correlates and
// decides nothing; the server makes its own span and request ids.
package telemetry

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Recorder takes what happened. Its methods never block and never fail: what
// cannot be sent is dropped and counted. It is safe for concurrent use.
type Recorder interface {
	Request(ctx context.Context, r Request)
	Dependency(ctx context.Context, d Dependency)
	Exception(ctx context.Context, e Exception)
	Event(ctx context.Context, name string)
	Metric(ctx context.Context, name string, value float64)
}

// Request is one HTTP request or invocation, told once at its end.
type Request struct {
	ID     string
	Method string
	Route  string // the route's template, never the path as sent
	Status int
	Reason string // the problem's code
	Tenant string
	Caller string
	// Client is where the request came from, as far as trusted proxies say;
	// invalid where nothing is known. It is the caller's, not a data subject's.
	Client   netip.Addr
	Started  time.Time
	Duration time.Duration
}

// Failed reports whether this system failed, as opposed to refusing.
func (r Request) Failed() bool { return r.Status >= 500 }

// Dependency is one call to a service this process depends on.
type Dependency struct {
	Service string // "Azure table", "Azure key vault", …
	Target  string // the service's host name
	Name    string // the operation, never a row, a blob or a query
	// Status is that of the last answer, 0 where none came.
	Status int
	// Tries is how often the request was sent.
	Tries    int
	Failed   bool
	Started  time.Time
	Duration time.Duration
}

// Exception is a failure that nobody foresaw. It has no text: an error's text
// goes to the log, where its writer answers for it, and a panic's nowhere.
type Exception struct {
	// Name says what failed: "panic", "job failed".
	Name string
	// Type is the Go type of the error or panic value.
	Type string
}

// TypeOf is the Go type of the error at the bottom of a chain, which tells a
// timeout from a refusal where the wrapping types are all alike. Of joined
// errors the first counts.
func TypeOf(err error) string {
	for {
		var next error
		switch wrapper := err.(type) { //nolint:errorlint // it walks the chain itself
		case interface{ Unwrap() error }:
			next = wrapper.Unwrap()
		case interface{ Unwrap() []error }:
			if all := wrapper.Unwrap(); len(all) > 0 {
				next = all[0]
			}
		}
		if next == nil {
			return fmt.Sprintf("%T", err)
		}
		err = next
	}
}

// Tee passes everything to each of several recorders.
type Tee []Recorder

// Request implements Recorder.
func (t Tee) Request(ctx context.Context, r Request) {
	for _, recorder := range t {
		recorder.Request(ctx, r)
	}
}

// Dependency implements Recorder.
func (t Tee) Dependency(ctx context.Context, d Dependency) {
	for _, recorder := range t {
		recorder.Dependency(ctx, d)
	}
}

// Exception implements Recorder.
func (t Tee) Exception(ctx context.Context, e Exception) {
	for _, recorder := range t {
		recorder.Exception(ctx, e)
	}
}

// Event implements Recorder.
func (t Tee) Event(ctx context.Context, name string) {
	for _, recorder := range t {
		recorder.Event(ctx, name)
	}
}

// Metric implements Recorder.
func (t Tee) Metric(ctx context.Context, name string, value float64) {
	for _, recorder := range t {
		recorder.Metric(ctx, name, value)
	}
}
