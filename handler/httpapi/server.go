// Package httpapi is the HTTP transport: routes, middleware, strict decoding
// and RFC 9457 problems. It decides nothing about access to data: it
// authenticates the caller, hands the Principal to one domain call, and turns
// the outcome into an answer. The domain authorises and audits itself.
//
// Trust boundary: everything in a request is outside data, the headers that
// the Functions host or an outsider adds included. X-MS-CLIENT-PRINCIPAL,
// X-Azure-Functions-*, X-Forwarded-* and function keys grant nothing here.
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/handler/revocation"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

// Authenticator turns the values of the Authorization header into a caller.
type Authenticator interface {
	Authenticate(ctx context.Context, header []string) (authz.Principal, error)
}

// Options are the parts of the API; all are required.
type Options struct {
	Auth     Authenticator
	Vault    *tokenvault.Vault
	Erasures *tokenvault.Erasures
	Imports  *bulkimport.Imports
	Audit    *audit.Log
	Events   *audit.Reader
	Keyring  *keyring.Keyring
	// Revocations is the list that Auth asks.
	Revocations *revocation.List
	Ready       func(context.Context) error
	Clock       clock.Clock
	Logger      *slog.Logger
	Telemetry   telemetry.Recorder
	Limits      Limits
	// ProxyHops is how many proxies in front are known to add their peer's
	// address to X-Forwarded-For; 0 takes the socket's.
	ProxyHops int
}

// deadline bounds one request; the Functions front end gives up at 230 s.
const deadline = 60 * time.Second

// writeTimeout bounds the sending of an answer as well, so that a caller who
// does not read holds no place for long.
const writeTimeout = deadline + 30*time.Second

type server struct {
	Options

	callers *callers
	// refused are the refusals of each caller that are told by themselves: as
	// many as he might make requests.
	refused *callers
	unasked unasked
}

// Register adds the API's routes to the echo instance that the composition
// root shares with the custom-handler functions.
func Register(e *echo.Echo, o Options) error {
	if o.Auth == nil || o.Vault == nil || o.Erasures == nil || o.Imports == nil || o.Audit == nil || o.Events == nil || o.Keyring == nil ||
		o.Revocations == nil || o.Ready == nil || o.Clock == nil || o.Logger == nil || o.Telemetry == nil {
		return errors.New("httpapi: an option is missing")
	}
	if err := o.Limits.check(); err != nil {
		return err
	}
	s := &server{
		Options: o, callers: newCallers(o.Limits, o.Clock), refused: newCallers(o.Limits, o.Clock), unasked: newUnasked(o.Clock),
	}
	e.HTTPErrorHandler = s.answerError
	e.Use(s.observe, secureHeaders, s.recoverPanics, guardMessage, guardPath)
	e.GET("/", alive) // the host asks this until it gets any answer
	places, large := make(gate, o.Limits.Concurrent), make(gate, o.Limits.share(largeShare))
	for _, r := range s.routes() {
		handle := r.handle
		if r.large {
			handle = large.through(handle)
		}
		if !r.anonymous {
			handle = s.authenticated(r.permission, s.limitCaller(r.permission, handle))
			handle = places.through(handle)
		}
		e.Add(r.method, strings.ReplaceAll(r.path, idPattern, ":id"), knownLength(s.withDeadline(handle)))
	}
	return nil
}

// idPattern is the one path parameter, as function.json writes it.
const idPattern = "{id:guid}"

// route is one row of the route table. A test holds it against functions/.
type route struct {
	method     string
	path       string
	permission authz.Permission
	anonymous  bool
	large      bool // takes a body of up to 8 MiB
	handle     echo.HandlerFunc
}

func (s *server) routes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/v1/tokens", permission: authz.TokensCreate, handle: s.tokenizeValue},
		{method: http.MethodPost, path: "/api/v1/tokens/batch", permission: authz.TokensCreate, handle: s.tokenizeBatch},
		{method: http.MethodPost, path: "/api/v1/tokens/inspect", permission: authz.TokensInspect, handle: s.inspectTokens},
		{method: http.MethodPost, path: "/api/v1/tokens/reveal", permission: authz.TokensReveal, handle: s.revealTokens},
		{method: http.MethodPost, path: "/api/v1/subjects/erase", permission: authz.SubjectsErase, handle: s.eraseSubject},
		{method: http.MethodPost, path: "/api/v1/imports", permission: authz.ImportsManage, handle: s.createImport},
		{method: http.MethodPut, path: "/api/v1/imports/{id:guid}/parts", permission: authz.ImportsManage, large: true, handle: s.putImportPart},
		{method: http.MethodPost, path: "/api/v1/imports/{id:guid}/commit", permission: authz.ImportsManage, handle: s.commitImport},
		{method: http.MethodPost, path: "/api/v1/imports/{id:guid}/pause", permission: authz.ImportsControl, handle: s.pauseImport},
		{method: http.MethodPost, path: "/api/v1/imports/{id:guid}/resume", permission: authz.ImportsControl, handle: s.resumeImport},
		{method: http.MethodPost, path: "/api/v1/imports/{id:guid}/cancel", permission: authz.ImportsControl, handle: s.cancelImport},
		{method: http.MethodGet, path: "/api/v1/imports/{id:guid}/result", permission: authz.ImportsManage, handle: s.getImportResult},
		{method: http.MethodGet, path: "/api/v1/operations/{id:guid}", permission: authz.OperationsReadAny, handle: s.getOperation},
		{method: http.MethodGet, path: "/api/v1/keys", permission: authz.KeysRead, handle: s.listKeys},
		{method: http.MethodPost, path: "/api/v1/keys/adopt", permission: authz.KeysAdopt, handle: s.adoptKeyVersion},
		{method: http.MethodPost, path: "/api/v1/revocations", permission: authz.RevocationsCreate, handle: s.createRevocation},
		{method: http.MethodGet, path: "/api/v1/revocations", permission: authz.RevocationsRead, handle: s.listRevocations},
		{method: http.MethodGet, path: "/api/v1/audit/events", permission: authz.AuditRead, handle: s.listAuditEvents},
		{method: http.MethodGet, path: "/api/v1/audit/checkpoint", permission: authz.AuditRead, handle: s.getAuditCheckpoint},
		{method: http.MethodGet, path: "/api/v1/audit/proofs/{id:guid}", permission: authz.AuditRead, handle: s.proveAuditEntry},
		{method: http.MethodGet, path: "/api/v1/health/live", anonymous: true, handle: alive},
		{method: http.MethodGet, path: "/api/v1/health/ready", anonymous: true, handle: s.ready},
	}
}

// Routes lists "METHOD /path" of every route, for tests and documents.
func Routes() []string {
	var s server
	var list []string
	for _, r := range s.routes() {
		list = append(list, r.method+" "+r.path)
	}
	return list
}

// alive answers without looking at anything: the process serves.
func alive(c echo.Context) error { return c.NoContent(http.StatusOK) }

// ready answers whether the process can do its work now.
func (s *server) ready(c echo.Context) error {
	if err := s.Ready(c.Request().Context()); err != nil {
		s.Logger.WarnContext(c.Request().Context(), "not ready", "error", err)
		return c.NoContent(http.StatusServiceUnavailable)
	}
	return c.NoContent(http.StatusOK)
}
