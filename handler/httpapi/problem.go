package httpapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authn"
	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

// problem is the answer to every error: RFC 9457, application/problem+json.
type problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Code      string       `json:"code"`
	RequestID string       `json:"requestId,omitzero"`
	Errors    []fieldError `json:"errors,omitzero"`
	// retryAfter is the seconds that a client is told to wait; 0 is none.
	retryAfter int
}

// fieldError names one refused field by its RFC 6901 pointer, never its value.
type fieldError struct {
	Pointer   string `json:"pointer,omitzero"`
	Header    string `json:"header,omitzero"`
	Parameter string `json:"parameter,omitzero"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
}

const problemType = "urn:secureapi:problem:"

func newProblem(status int, code, title string) *problem {
	return &problem{Type: problemType + code, Title: title, Status: status, Code: code}
}

// refusal is a request that this package itself refuses.
type refusal struct{ problem *problem }

// Error implements error.
func (r *refusal) Error() string { return r.problem.Code }

// retryAfter is what a client is told to wait when a dependency is down.
const retryAfter = 5

// answerError is the one error exit. What it does not know is a 500 with a
// fixed text; the cause goes to the log only.
func (s *server) answerError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := s.problemOf(err, c)
	c.Set(reasonKey, p.Code)
	p.RequestID = text(c, requestIDKey)
	// What this package itself refuses is no failure, and may come as a flood.
	_, refused := errors.AsType[*refusal](err)
	if refused || p.Status < http.StatusInternalServerError {
		c.Set(refusedKey, true)
	} else {
		s.Logger.ErrorContext(c.Request().Context(), "request failed", "code", p.Code, "error", err)
	}
	// A dependency that is down was foreseen, and tells of itself.
	if p.Status == http.StatusInternalServerError && !errors.Is(err, errPanic) {
		s.Telemetry.Exception(c.Request().Context(), telemetry.Exception{Name: p.Code, Type: telemetry.TypeOf(err)})
	}
	if p.Status == http.StatusServiceUnavailable && p.retryAfter == 0 {
		p.retryAfter = retryAfter
	}
	if p.retryAfter > 0 {
		c.Response().Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	body, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		body = []byte(`{"title":"internal error","status":500}`)
	}
	if err := c.Blob(p.Status, "application/problem+json", body); err != nil {
		s.Logger.WarnContext(c.Request().Context(), "answer not sent", "error", err)
	}
}

func (s *server) problemOf(err error, c echo.Context) *problem {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.problem
	}
	if p := s.accessProblem(err, c); p != nil {
		return p
	}
	if invalid, ok := errors.AsType[*tokenvault.InvalidError](err); ok {
		return invalidProblem(invalid, "")
	}
	if p := importProblem(err); p != nil {
		return p
	}
	if p := revocationProblem(err); p != nil {
		return p
	}
	switch {
	case errors.Is(err, operation.ErrOtherRequest):
		return newProblem(http.StatusUnprocessableEntity, "idempotency_key_reused", "The Idempotency-Key was used for another request.")
	case errors.Is(err, operation.ErrNotFound):
		return newProblem(http.StatusNotFound, "not_found", "There is no such resource.")
	case errors.Is(err, tokenvault.ErrErased):
		return newProblem(http.StatusConflict, "subject_erased", "The subject was erased and takes no new values.")
	case errors.Is(err, tokenvault.ErrIntegrity):
		return newProblem(http.StatusInternalServerError, "integrity_failure", "A stored record failed its integrity check.")
	case errors.Is(err, tokenvault.ErrBusy):
		return newProblem(http.StatusServiceUnavailable, "busy", "Too many changes of one subject at once. Try again.")
	case errors.Is(err, rowstore.ErrUnavailable), errors.Is(err, audit.ErrUnavailable), errors.Is(err, keyring.ErrStale):
		return newProblem(http.StatusServiceUnavailable, "unavailable", "A dependency does not answer. Try again.")
	}
	if httpErr, ok := errors.AsType[*echo.HTTPError](err); ok {
		return routerProblem(httpErr.Code)
	}
	return newProblem(http.StatusInternalServerError, "internal_error", "The request failed.")
}

// accessProblem answers who may not. All refused tokens look alike outside;
// the reason code is in the audit log.
func (s *server) accessProblem(err error, c echo.Context) *problem {
	if r, ok := errors.AsType[*authn.Refusal](err); ok {
		c.Response().Header().Set("WWW-Authenticate", r.Challenge())
		return newProblem(http.StatusUnauthorized, "unauthenticated", "A valid access token is required.")
	}
	if step, ok := errors.AsType[*authn.StepUpRequired](err); ok {
		if step.Challenge == "" {
			return newProblem(http.StatusForbidden, "step_up_required", "This takes a stronger sign-in than the caller can do.")
		}
		c.Response().Header().Set("WWW-Authenticate", step.Challenge)
		return newProblem(http.StatusUnauthorized, "step_up_required", "This takes a fresh, stronger sign-in.")
	}
	if errors.Is(err, authn.ErrUnavailable) {
		return newProblem(http.StatusServiceUnavailable, "unavailable", "The token cannot be checked now. Try again.")
	}
	if _, ok := errors.AsType[*authz.Denial](err); ok {
		return newProblem(http.StatusForbidden, "forbidden", "The caller may not do this.")
	}
	return nil
}

// importProblem answers what an import's state does not allow.
func importProblem(err error) *problem {
	switch {
	case errors.Is(err, operation.ErrState):
		return newProblem(http.StatusConflict, "operation_state", "The operation's state does not allow this.")
	case errors.Is(err, bulkimport.ErrPartExists):
		return newProblem(http.StatusConflict, "part_exists", "The part was uploaded with another content.")
	case errors.Is(err, bulkimport.ErrPartsMissing):
		return newProblem(http.StatusConflict, "parts_missing", "The parts that were uploaded are not those to be committed.")
	case errors.Is(err, bulkimport.ErrTooLarge):
		return newProblem(http.StatusConflict, "import_too_large", "The import has as many rows as it may have.")
	case errors.Is(err, bulkimport.ErrExpired):
		return newProblem(http.StatusGone, "import_expired", "The import's result has been destroyed.")
	case errors.Is(err, bulkimport.ErrNoChunk):
		return newProblem(http.StatusNotFound, "not_found", "There is no such resource.")
	default:
		return nil
	}
}

func invalidProblem(invalid *tokenvault.InvalidError, prefix string) *problem {
	p := newProblem(http.StatusBadRequest, "invalid_request", "The request has fields that cannot be accepted.")
	for _, f := range invalid.Fields {
		p.Errors = append(p.Errors, fieldError{Pointer: prefix + f.Pointer, Code: f.Code, Detail: f.Detail})
	}
	return p
}

func routerProblem(status int) *problem {
	switch status {
	case http.StatusMethodNotAllowed:
		return newProblem(status, "method_not_allowed", "The resource does not have this method.")
	case http.StatusRequestEntityTooLarge:
		return newProblem(status, "body_too_large", "The body is too large.")
	case http.StatusRequestTimeout:
		return newProblem(status, "body_timeout", "The body did not arrive in time.")
	case http.StatusLengthRequired:
		return newProblem(status, "length_required", "The request must say the body's length.")
	default:
		return newProblem(http.StatusNotFound, "not_found", "There is no such resource.")
	}
}
