package httpapi

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	// maxHeader and maxFields are a little more than the Functions host's own
	// web server takes (32 KiB, 100 fields) and the host adds. The connection's
	// limit behind them is answered by the HTTP server, with less to say.
	maxHeader = 40 << 10
	maxFields = 128
)

// guardMessage refuses what the host does not send and the HTTP server lets
// through, because two parties could read it differently.
//
// Nothing may follow a chunked message on its connection: the server drops a
// Content-Length beside it unseen, and whoever believed that length instead
// would take the rest for another request (RFC 9112, section 6.1).
func guardMessage(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		switch {
		case r.ProtoMajor != 1 || r.ProtoMinor != 1:
			// Of HTTP/1.0 the server ignores Transfer-Encoding; "PRI * HTTP/2.0" is
			// no request at all.
			return closing(c, newProblem(http.StatusHTTPVersionNotSupported, "http_version", "The service speaks HTTP/1.1."))
		case headerTooLarge(r.Header):
			return closing(c, newProblem(http.StatusRequestHeaderFieldsTooLarge, "header_too_large", "The header is too large."))
		}
		if len(r.TransferEncoding) > 0 {
			c.Response().Header().Set("Connection", "close")
		}
		return next(c)
	}
}

// closing refuses the request and ends its connection.
func closing(c echo.Context, p *problem) error {
	c.Response().Header().Set("Connection", "close")
	return &refusal{p}
}

func headerTooLarge(h http.Header) bool {
	size, fields := 0, 0
	for name, values := range h {
		for _, value := range values {
			size += len(name) + len(value)
			fields++
		}
	}
	return size > maxHeader || fields > maxFields
}

// knownLength refuses a body of unknown length: of a route as of a request
// without a meaning for one. In forwarding mode the host answers 500 to it.
func knownLength(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if len(c.Request().TransferEncoding) > 0 {
			return closing(c, routerProblem(http.StatusLengthRequired))
		}
		return next(c)
	}
}

// guardPath answers 404 to every target that is not written in the one
// canonical way: the host decodes and folds paths in forwarding mode, and an
// outsider must not reach a function's path through an encoded one. It is also
// all that refuses the forms with an authority ("GET http://host/path",
// CONNECT), whose path the router would take.
func guardPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !canonicalPath(c.Request().RequestURI) {
			return echo.ErrNotFound
		}
		// echo would answer OPTIONS by itself. No route has it: a browser's
		// preflight is the platform's to answer (docs/adr/0007).
		if c.Request().Method == http.MethodOptions {
			if allowed := text(c, echo.ContextKeyHeaderAllow); allowed != "" {
				c.Response().Header().Set(echo.HeaderAllow, allowed)
			}
			return echo.ErrMethodNotAllowed
		}
		return next(c)
	}
}

func canonicalPath(uri string) bool {
	path, _, _ := strings.Cut(uri, "?")
	if path == "/" {
		return true
	}
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//") {
		return false
	}
	for i := range len(path) {
		b := path[i]
		if b != '/' && b != '-' && (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') {
			return false
		}
	}
	return true
}
