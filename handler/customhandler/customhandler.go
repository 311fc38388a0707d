// Package customhandler speaks the Azure Functions custom-handler protocol: it
// serves the loopback port that the host gives, decodes what the host POSTs
// for a queue message or a timer, and writes the answers the host understands.
//
// Trust boundary: the listener is bound to 127.0.0.1, so callers are the host
// and whatever else runs on the machine. The protocol has no authentication,
// and in forwarding mode an outsider's request can be bent towards /<Function>.
// The decoders therefore refuse every shape that the host does not send, which
// raises the cost of a forgery but does not prevent it: an Invocation carries
// no authority, its Message must be sealed, and a timer may only do work that
// is due anyway. Request bodies and decoding errors are never logged: errors
// of this package name the step and hold no data.
package customhandler

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// Reasons for which a request is not an invocation. They are safe to log.
var (
	// ErrNotInvocation marks a request that the host would not have sent.
	ErrNotInvocation = errors.New("not an invocation by the host")
	// ErrBody marks a body that is too large, unreadable or not of the
	// documented form.
	ErrBody = errors.New("malformed invocation body")
)

// maxBody bounds an invocation. A queue message has at most 64 KiB; encoded
// twice, a control character takes seven bytes, and a message that is a JSON
// object appears once more in the metadata.
const maxBody = 1 << 20

// Header names of the host. A client can send them too, and in forwarding mode
// its values arrive in front of the host's: good for correlation, never for a
// decision.
const headerInvocationID = "X-Azure-Functions-Invocationid"

// guid is the only form in which the host writes an invocation id.
var guid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// InvocationID returns the host's id of the call for correlation, or "" when
// the header is absent, repeated, or joined with one that a client sent.
func InvocationID(r *http.Request) string {
	values := r.Header.Values(headerInvocationID)
	if len(values) != 1 || !guid.MatchString(values[0]) {
		return ""
	}
	return values[0]
}

// checkEnvelope refuses every request that differs from a real invocation in
// method, target, transfer coding or type.
//
// Real invocations are chunked; a request forwarded from outside carries a
// Content-Length in forwarding mode, where alone its path can be bent. That
// difference is observed, not documented: should a future host drop it, queue
// functions fail closed and their messages stay in the queue.
func checkEnvelope(r *http.Request, function string) error {
	if r.Method != http.MethodPost {
		return errors.Join(ErrNotInvocation, errors.New("checking the method"))
	}
	// The raw target, not the decoded path: nothing is normalised.
	if r.RequestURI != "/"+function {
		return errors.Join(ErrNotInvocation, errors.New("checking the target"))
	}
	if len(r.TransferEncoding) != 1 || r.TransferEncoding[0] != "chunked" || r.ContentLength >= 0 {
		return errors.Join(ErrNotInvocation, errors.New("checking the transfer coding"))
	}
	if types := r.Header.Values("Content-Type"); len(types) != 1 || !isJSON(types[0]) {
		return errors.Join(ErrNotInvocation, errors.New("checking the content type"))
	}
	return nil
}

// isJSON accepts the two spellings of the host's only content type.
func isJSON(contentType string) bool {
	t := strings.ToLower(strings.ReplaceAll(contentType, " ", ""))
	return t == "application/json;charset=utf-8" || t == "application/json"
}
