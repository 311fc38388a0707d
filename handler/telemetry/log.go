package telemetry

import (
	"context"
	"io"
	"log/slog"
)

// severityKey is where a line says how grave it is: the Functions host files
// all of standard output under Information.
const severityKey = "severity"

// NewLogger returns the logger of the process: JSON lines with their severity
// inside, each with the trace and span id of its context.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(traceHandler{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: rename})})
}

func rename(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.LevelKey:
		a.Key = severityKey
	case slog.TimeKey:
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}

type traceHandler struct{ slog.Handler }

// Handle adds the trace.
func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	if t := traceOf(ctx); t.id != "" {
		r.AddAttrs(slog.String("traceId", t.id), slog.String("spanId", t.span))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the trace on derived loggers.
func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the trace on derived loggers.
func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}

// Log is the Recorder that writes to a logger.
type Log struct{ Logger *slog.Logger }

var _ Recorder = Log{}

// Request implements Recorder.
func (l Log) Request(ctx context.Context, r Request) {
	r = r.Redacted()
	client := ""
	if r.Client.IsValid() {
		client = r.Client.String()
	}
	l.Logger.InfoContext(ctx, "request", "requestId", r.ID, "method", r.Method, "route", r.Route, "status", r.Status,
		"reason", r.Reason, "tenant", r.Tenant, "caller", r.Caller, "client", client, "durationMs", r.Duration.Milliseconds())
}

// Dependency implements Recorder. A failed call is told at any level, the
// others only to a debugging operator: they are many.
func (l Log) Dependency(ctx context.Context, d Dependency) {
	d = d.Redacted()
	level := slog.LevelDebug
	if d.Failed {
		level = slog.LevelWarn
	}
	l.Logger.Log(ctx, level, "dependency", "service", d.Service, "target", d.Target, "name", d.Name,
		"status", d.Status, "tries", d.Tries, "durationMs", d.Duration.Milliseconds())
}

// Exception implements Recorder.
func (l Log) Exception(ctx context.Context, e Exception) {
	e = e.Redacted()
	l.Logger.ErrorContext(ctx, "exception", "name", e.Name, "type", e.Type)
}

// Event implements Recorder.
func (l Log) Event(ctx context.Context, name string) {
	l.Logger.InfoContext(ctx, "event", "name", RedactName(name))
}

// Metric implements Recorder.
func (l Log) Metric(ctx context.Context, name string, value float64) {
	if ValidMetric(value) {
		l.Logger.DebugContext(ctx, "metric", "name", RedactName(name), "value", value)
	}
}
