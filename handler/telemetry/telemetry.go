// Package telemetry is what the handler tells its operators: structured logs
// on standard output, and requests, dependencies and events for Application
// Insights behind the Recorder.
//
// Nothing here may carry personal data: an event has fixed names, statuses,
// durations and ids that this system made; never a URL's query, a body, a
// token or a value (invariant I3).
package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"regexp"
	"time"
)

// Recorder takes what happened. Its methods never block and never fail: what
// cannot be sent is dropped and counted.
type Recorder interface {
	Request(ctx context.Context, r Request)
	Dependency(ctx context.Context, d Dependency)
	Event(ctx context.Context, name string)
}

// Request is one HTTP request or invocation, told once at its end.
type Request struct {
	ID       string
	Method   string
	Route    string // the route's template, never the path as sent
	Status   int
	Reason   string // the problem's code
	Tenant   string
	Caller   string
	Started  time.Time
	Duration time.Duration
}

// Dependency is one call to a service this process depends on.
type Dependency struct {
	Service  string // "tables", "queues", "blobs", "keyvault", "entra"
	Name     string
	Status   int
	Started  time.Time
	Duration time.Duration
}

// NewLogger returns the logger of the process: JSON lines with their severity
// inside, each with the trace id of its context.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(traceHandler{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})})
}

type traceHandler struct{ slog.Handler }

// Handle adds the trace id.
func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := TraceID(ctx); id != "" {
		r.AddAttrs(slog.String("traceId", id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the trace id on derived loggers.
func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the trace id on derived loggers.
func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}

// Log is the Recorder that writes to a logger.
type Log struct{ Logger *slog.Logger }

// Request implements Recorder.
func (l Log) Request(ctx context.Context, r Request) {
	l.Logger.InfoContext(ctx, "request", "requestId", r.ID, "method", r.Method, "route", r.Route, "status", r.Status,
		"reason", r.Reason, "tenant", r.Tenant, "caller", r.Caller, "durationMs", r.Duration.Milliseconds())
}

// Dependency implements Recorder.
func (l Log) Dependency(ctx context.Context, d Dependency) {
	l.Logger.DebugContext(ctx, "dependency", "service", d.Service, "name", d.Name, "status", d.Status,
		"durationMs", d.Duration.Milliseconds())
}

// Event implements Recorder.
func (l Log) Event(ctx context.Context, name string) {
	l.Logger.InfoContext(ctx, "event", "name", name)
}

type traceKey struct{}

// traceParent is version 00 of W3C Trace Context, not all zeros.
var traceParent = regexp.MustCompile(`^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$`)

const zeroTrace = "00000000000000000000000000000000"

// WithTrace puts the trace id of a traceparent header into the context, or a
// new one where the header is missing or malformed. A client's trace id is
// only a correlation id: nothing is decided on it.
func WithTrace(ctx context.Context, header string) context.Context {
	if m := traceParent.FindStringSubmatch(header); len(m) == 2 && m[1] != zeroTrace {
		return context.WithValue(ctx, traceKey{}, m[1])
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: it ends the process instead
	return context.WithValue(ctx, traceKey{}, hex.EncodeToString(id[:]))
}

// TraceID is the context's trace id, "" where there is none.
func TraceID(ctx context.Context) string {
	id, ok := ctx.Value(traceKey{}).(string)
	if !ok {
		return ""
	}
	return id
}
