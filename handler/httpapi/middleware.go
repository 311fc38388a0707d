package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"secureapi/handler/authn"
	"secureapi/handler/authz"
	"secureapi/handler/telemetry"
)

const (
	principalKey = "principal"
	requestIDKey = "request id"
	reasonKey    = "reason"
	refusedKey   = "refused"
)

// observe gives the request an id and a trace context, and writes its one
// event when it has ended. The id is the server's own: a client's would let
// it write into the log.
func (s *server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		started := s.Clock()
		id := uuid.NewString()
		c.Set(requestIDKey, id)
		c.Response().Header().Set("X-Request-Id", id)
		ctx := telemetry.WithTrace(c.Request().Context(), c.Request().Header.Get("Traceparent"))
		c.SetRequest(c.Request().WithContext(ctx))
		if err := next(c); err != nil {
			c.Error(err)
		}
		event := telemetry.Request{
			ID: id, Method: c.Request().Method, Route: c.Path(), Status: c.Response().Status,
			Started: started, Duration: s.Clock().Sub(started),
		}
		event.Reason = text(c, reasonKey)
		event.Client = clientAddress(c.Request(), s.ProxyHops)
		p, known := c.Get(principalKey).(authz.Principal)
		if known {
			event.Tenant, event.Caller = p.TenantID, p.ID()
		}
		if !known && c.Get(refusedKey) != nil {
			s.tellRefused(ctx, event)
			return nil
		}
		s.Telemetry.Request(ctx, event)
		return nil
	}
}

// errPanic stands for a panic that has been told of.
var errPanic = errors.New("panic")

// recoverPanics turns a panic into a 500. The value of a panic may hold data:
// only its type and the stack are logged.
func (s *server) recoverPanics(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			ctx, kind := c.Request().Context(), fmt.Sprintf("%T", v)
			s.Logger.ErrorContext(ctx, "panic", "type", kind, "stack", string(debug.Stack()))
			s.Telemetry.Exception(ctx, telemetry.Exception{Name: "panic", Type: kind})
			err = errPanic
		}()
		return next(c)
	}
}

func secureHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		return next(c)
	}
}

// withDeadline bounds the work on a request, and the sending of its answer.
func (s *server) withDeadline(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		// Not every ResponseWriter of a test can; those of the server all can.
		err := http.NewResponseController(c.Response().Writer).SetWriteDeadline(s.Clock().Add(writeTimeout))
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			return fmt.Errorf("bounding the answer: %w", err)
		}
		ctx, cancel := context.WithTimeout(c.Request().Context(), deadline)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// authenticated puts the Principal into the request. A refusal is audited:
// counted by reason, and after a verified signature by itself at first.
func (s *server) authenticated(permission authz.Permission, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		p, err := s.Auth.Authenticate(ctx, c.Request().Header.Values("Authorization"))
		if refusal, ok := errors.AsType[*authn.Refusal](err); ok {
			s.auditRefusal(ctx, permission, refusal)
		}
		if err != nil {
			return err
		}
		c.Set(principalKey, p)
		return next(c)
	}
}

// auditRefusal waits for the log where the signature is verified, and therefore
// not for each: one old token, or one for another API, can be sent for ever. What
// is told has an allowance of its own, since whoever sends a stolen token must
// not use up that of its owner.
func (s *server) auditRefusal(ctx context.Context, permission authz.Permission, refusal *authn.Refusal) {
	if !refusal.Verified {
		s.Audit.CountRefusal(refusal.Reason)
		return
	}
	leave, over := s.refused.enter(refusal.Principal)
	if over != nil {
		s.Audit.CountRefusal(refusal.Reason)
		return
	}
	defer leave()
	s.Audit.Refuse(ctx, refusal.Principal, permission, refusal.Reason)
}

// caller is the Principal of an authenticated route.
func caller(c echo.Context) authz.Principal {
	p, ok := c.Get(principalKey).(authz.Principal)
	if !ok {
		return authz.Principal{} // may do nothing
	}
	return p
}

// text is a value that this package put into the request.
func text(c echo.Context, key string) string {
	s, ok := c.Get(key).(string)
	if !ok {
		return ""
	}
	return s
}
