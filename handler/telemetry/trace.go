package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// The parts of a traceparent header (https://www.w3.org/TR/trace-context/#traceparent-header):
//
//	00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//	version  trace id (16 bytes)         parent id (8)    flags
const (
	versionLen = 2
	traceLen   = 32
	spanLen    = 16
	flagsLen   = 2
	parentLen  = versionLen + 1 + traceLen + 1 + spanLen + 1 + flagsLen
)

type traceKey struct{}

// trace is where a call belongs: the trace of the client, or a new one, and
// this process' own span in it.
type trace struct {
	id, parent, span string
}

// WithTrace puts the trace of a traceparent header into the context with a new
// span, or a new trace where the header is missing or malformed.
func WithTrace(ctx context.Context, header string) context.Context {
	t := trace{span: randomHex(spanLen)}
	var ok bool
	if t.id, t.parent, ok = parseParent(header); !ok {
		t.id = randomHex(traceLen)
	}
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceID is the context's trace id, "" where there is none.
func TraceID(ctx context.Context) string { return traceOf(ctx).id }

// SpanID is the id of this process' part of the trace, "" where there is none.
func SpanID(ctx context.Context) string { return traceOf(ctx).span }

// ParentID is the span of the caller, "" where the trace began here.
func ParentID(ctx context.Context) string { return traceOf(ctx).parent }

// TraceParent is the header that continues the trace elsewhere, "" where
// there is none.
func TraceParent(ctx context.Context) string {
	t := traceOf(ctx)
	if t.id == "" {
		return ""
	}
	return "00-" + t.id + "-" + t.span + "-01"
}

func traceOf(ctx context.Context) trace {
	t, ok := ctx.Value(traceKey{}).(trace)
	if !ok {
		return trace{}
	}
	return t
}

// parseParent takes version 00 exactly, and of later versions the parts that
// they must keep.
func parseParent(header string) (id, parent string, ok bool) {
	if len(header) < parentLen {
		return "", "", false
	}
	version, rest := header[:versionLen], header[versionLen:parentLen]
	id, parent = rest[1:1+traceLen], rest[2+traceLen:2+traceLen+spanLen]
	flags := rest[3+traceLen+spanLen:]
	separated := rest[0] == '-' && rest[1+traceLen] == '-' && rest[2+traceLen+spanLen] == '-'
	switch {
	case !separated, !isHex(version), !isHex(id), !isHex(parent), !isHex(flags), version == "ff":
		return "", "", false
	case version == "00" && len(header) != parentLen, len(header) > parentLen && header[parentLen] != '-':
		return "", "", false
	case strings.Trim(id, "0") == "", strings.Trim(parent, "0") == "":
		return "", "", false
	}
	return id, parent, true
}

func isHex(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// randomHex gives n hex digits, which are never all zero in practice.
func randomHex(n int) string {
	b := make([]byte, n/2)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return hex.EncodeToString(b)
}
