package host

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"secureapi/scripts/stage/funcjson"
)

// maxRequestBody is the web server's limit.
const maxRequestBody = 100 << 20

// Headers that the host adds.
const (
	headerHostVersion  = "X-Azure-Functions-HostVersion"
	headerInvocationID = "X-Azure-Functions-InvocationId"
)

// timeoutGrace passes between functionTimeout and the end of the handler: the
// host first asks for cancellation, which a custom handler cannot hear.
const timeoutGrace = 2 * time.Second

var errFunctionTimeout = errors.New("functionTimeout exceeded")

const landingPage = "<!DOCTYPE html>\n<html><head><title>Your Azure Function App is up and running.</title></head>" +
	"<body><p>Your Function App is up and running (local stand-in).</p></body></html>\n"

func (h *Host) serveHTTP(w http.ResponseWriter, r *http.Request) {
	// The raw target decides: Go's own decoding differs from the host's.
	raw, rawQuery, _ := strings.Cut(r.RequestURI, "?")
	if !strings.HasPrefix(raw, "/") {
		raw, rawQuery = r.URL.EscapedPath(), r.URL.RawQuery
	}
	path, err := serverPath(raw)
	if err != nil {
		hostAnswer(w, http.StatusBadRequest)
		return
	}
	if h.serveAdmin(w, r, path) {
		return
	}
	f, ok := match(h.routes, r.Method, path)
	switch {
	case !ok && path == "/":
		w.Header().Set("Server", "Kestrel")
		w.Header().Set("Content-Type", "text/html")
		if _, err := w.Write([]byte(landingPage)); err != nil {
			h.log.printf(warning, "Host.Http", "writing the landing page: %v", err)
		}
	case !ok:
		hostAnswer(w, http.StatusNotFound)
	case f.Trigger().AuthLevel != "anonymous" && h.key(r) != keyMaster:
		hostAnswer(w, http.StatusUnauthorized)
	case h.mode == Forwarding:
		h.forward(w, r, f, forwardedTarget(path, rawQuery))
	default:
		h.proxy(w, r, f, proxiedPath(raw), rawQuery)
	}
}

// hostAnswer is what the host itself answers: no body, and its own Server.
func hostAnswer(w http.ResponseWriter, status int) {
	w.Header().Set("Server", "Kestrel")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

type keyKind int

const (
	keyNone keyKind = iota
	keyWrong
	keyMaster
)

// key classifies the key of a request.
func (h *Host) key(r *http.Request) keyKind {
	given := r.Header.Get("X-Functions-Key")
	if given == "" {
		given = r.URL.Query().Get("code")
	}
	switch {
	case given == "":
		return keyNone
	case subtle.ConstantTimeCompare([]byte(given), []byte(h.masterKey)) == 1:
		return keyMaster
	default:
		return keyWrong
	}
}

// call runs one invocation against the handler: it waits until the handler is
// up, bounds the call by functionTimeout, and on its excess ends the handler,
// and with it all that is in flight.
func (h *Host) call(ctx context.Context, f funcjson.Function, id string, invoke func(context.Context) error) error {
	if err := h.proc.await(ctx); err != nil {
		return err
	}
	start := h.proc.start()
	began := time.Now()
	callCtx, cancel := context.WithTimeoutCause(ctx, h.cfg.functionTimeout+timeoutGrace, errFunctionTimeout)
	defer cancel()
	err := invoke(callCtx)
	if err != nil && context.Cause(callCtx) == errFunctionTimeout { //nolint:errorlint // the very value
		err = errFunctionTimeout
		h.proc.kill(start)
	}
	outcome, lv := "Succeeded", information
	if err != nil {
		outcome, lv = "Failed", failure
	}
	h.log.printf(lv, "Function."+f.Name, "Executed '%s' (%s, Id=%s, Duration=%dms)%s",
		f.Name, outcome, id, time.Since(began).Milliseconds(), reason(err))
	return err
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

func newInvocationID() string { return uuid.NewString() }

// newHandlerTransport speaks to the handler only, whatever the address says,
// and adds no header of its own.
func newHandlerTransport(addr string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
		// Shorter than the handler's own, so that it never closes first.
		IdleConnTimeout: 30 * time.Second,
	}
}

// handlerURL addresses the handler with a target that goes out byte for byte.
func handlerURL(addr, path, rawQuery string) *url.URL {
	u := &url.URL{Scheme: "http", Host: addr, Opaque: path, RawQuery: rawQuery}
	if strings.HasPrefix(path, "//") {
		// As Opaque it would become an absolute target.
		u.Opaque, u.RawPath = "", path
		u.Path = unescape(path, false)
	}
	return u
}

// once sends a request at most once: a Go transport repeats a body-less request
// whose connection broke, and a call that crashed the handler would arrive
// again.
type once struct{ *http.Transport }

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	if bodyless(r.Method) && (r.Body == nil || r.Body == http.NoBody) {
		r = r.Clone(r.Context())
		r.Body, r.GetBody = emptyBody{}, nil
	}
	return o.Transport.RoundTrip(r)
}

// bodyless lists the methods for which no Content-Length: 0 is sent.
func bodyless(method string) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete}, method)
}

// emptyBody is a body that the transport cannot know to be empty.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }
