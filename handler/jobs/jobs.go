// Package jobs is the transport of timer functions: it decodes what the host
// posts and makes one domain call.
//
// A timer carries no authority: whoever forges one makes work that is due
// happen early, at most. Every job acts as authz.System with the grants named
// here, and is safe to run twice, at once or never.
//
//	SealAudit    each minute   verifies the log, writes a checkpoint by CAS
//	RotateKeys   daily         adopts the newest Key Vault key version by CAS
package jobs

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/customhandler"
	"secureapi/handler/keyring"
)

// Options are the parts of the jobs; all are required.
type Options struct {
	Sealer  *audit.Sealer
	Audit   *audit.Log
	Keyring *keyring.Keyring
	Logger  *slog.Logger
}

type jobs struct{ Options }

// Names of the functions, as in functions/.
const (
	sealAudit  = "SealAudit"
	rotateKeys = "RotateKeys"
	binding    = "timer"
)

// Names lists the functions that Register serves.
func Names() []string { return []string{sealAudit, rotateKeys} }

// Register adds the functions' routes.
func Register(e *echo.Echo, o Options) error {
	if o.Sealer == nil || o.Audit == nil || o.Keyring == nil || o.Logger == nil {
		return errors.New("jobs: an option is missing")
	}
	j := &jobs{o}
	timer := func(name string, do func(context.Context) error) {
		handler := customhandler.Timer(name, binding, j.observe,
			func(ctx context.Context, _ customhandler.TimerInvocation) error { return do(ctx) })
		e.Add(http.MethodPost, "/"+name, echo.WrapHandler(handler))
	}
	timer(sealAudit, j.seal)
	timer(rotateKeys, j.rotate)
	return nil
}

// observe logs what the host is not told.
func (j *jobs) observe(ctx context.Context, function string, err error) {
	if err != nil {
		j.Logger.ErrorContext(ctx, "job failed", "function", function, "error", err)
	}
}

// seal writes the next checkpoint. A log that does not verify is alarmed, and
// sealing does not go past it.
func (j *jobs) seal(ctx context.Context) error {
	_, err := j.Sealer.Seal(ctx)
	if errors.Is(err, audit.ErrRace) {
		return nil
	}
	if broken, ok := errors.AsType[*audit.Broken](err); ok {
		j.Logger.ErrorContext(ctx, "audit log is broken", "stream", broken.Stream, "seq", broken.Seq, "what", broken.What)
		p := authz.System(sealAudit, "", "", authz.AuditSeal)
		return errors.Join(err, j.Audit.Alarm(ctx, audit.Entry{
			Action: string(authz.AuditSeal), Actor: audit.ActorOf(p), ReasonCode: "audit_log_broken",
		}))
	}
	return err
}

// rotate adopts the newest version of the vault's key.
func (j *jobs) rotate(ctx context.Context) error {
	p := authz.System(rotateKeys, "", "", authz.KeysRotate)
	if err := authz.Check(p, authz.KeysRotate); err != nil {
		return err
	}
	ticket, err := j.Audit.Authorise(ctx, audit.Entry{Action: string(authz.KeysRotate), Actor: audit.ActorOf(p)})
	if err != nil {
		return err
	}
	if _, err := j.Keyring.Adopt(ctx); err != nil {
		ticket.Failed("dependency_unavailable")
		return err
	}
	ticket.Completed(nil)
	return nil
}
