// Package jobs is the transport of queue and timer functions: it decodes what
// the host posts and makes one domain call.
//
// Neither carries authority. Whoever forges a timer makes work that is due
// happen early, at most; whoever forges a message raises an alarm. Every job
// acts as authz.System, and is safe to run twice, at once or never.
//
//	ImportChunk        queue imports          rings for an import's chunks, or imports one
//	QuarantineImport   queue imports-poison   records a message that the host gave up on
//	RepairOperations   each minute            rings for imports that stand still, destroys old ones, measures the queues
//	SweepErasures      each minute            removes the rows of erased subjects, completes their receipts
//	SealAudit          each minute            verifies the log, signs and publishes a checkpoint
//	RotateKeys         daily                  adopts the newest Key Vault key version by CAS
package jobs

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/customhandler"
	"secureapi/handler/keyring"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

// Options are the parts of the jobs; all are required.
type Options struct {
	Imports  *bulkimport.Imports
	Erasures *tokenvault.Erasures
	Sealer   *audit.Sealer
	Audit    *audit.Log
	Keyring  *keyring.Keyring
	Logger   *slog.Logger
	// Telemetry is told of failures; the invocation itself is a request like
	// any other, told by the echo instance's middleware.
	Telemetry telemetry.Recorder
	// Backlogs tell how far the consumers of each queue are behind: the number
	// of messages, and the age of the first that is visible.
	Backlogs []func(context.Context) (messages int, age time.Duration, err error)
}

type jobs struct{ Options }

// Names of the functions, as in functions/.
const (
	importChunk      = "ImportChunk"
	quarantineImport = "QuarantineImport"
	repairOperations = "RepairOperations"
	sweepErasures    = "SweepErasures"
	sealAudit        = "SealAudit"
	rotateKeys       = "RotateKeys"

	timerBinding = "timer"
	queueBinding = "message"
)

// deadline ends a job before the host's functionTimeout (5 min) does, which
// would end the whole process.
const deadline = 4*time.Minute + 30*time.Second

// Names lists the functions that Register serves.
func Names() []string {
	return []string{importChunk, quarantineImport, repairOperations, sweepErasures, sealAudit, rotateKeys}
}

// Register adds the functions' routes.
func Register(e *echo.Echo, o Options) error {
	if o.Imports == nil || o.Erasures == nil || o.Sealer == nil || o.Audit == nil || o.Keyring == nil || o.Logger == nil ||
		o.Telemetry == nil || len(o.Backlogs) == 0 {
		return errors.New("jobs: an option is missing")
	}
	j := &jobs{o}
	timer := func(name string, do func(context.Context) error) {
		handler := customhandler.Timer(name, timerBinding, j.observe,
			func(ctx context.Context, _ customhandler.TimerInvocation) error { return bounded(ctx, do) })
		e.Add(http.MethodPost, "/"+name, echo.WrapHandler(handler))
	}
	queue := func(name string, do func(context.Context, customhandler.Invocation) error) {
		handler := customhandler.Queue(name, queueBinding, j.observe,
			func(ctx context.Context, in customhandler.Invocation) error {
				return bounded(ctx, func(ctx context.Context) error { return do(ctx, in) })
			})
		e.Add(http.MethodPost, "/"+name, echo.WrapHandler(handler))
	}
	queue(importChunk, func(ctx context.Context, in customhandler.Invocation) error {
		return o.Imports.RunMessage(ctx, in.Message, in.DequeueCount)
	})
	queue(quarantineImport, func(ctx context.Context, in customhandler.Invocation) error {
		return o.Imports.Quarantine(ctx, in.Message)
	})
	timer(repairOperations, j.repair)
	timer(sweepErasures, o.Erasures.Sweep)
	timer(sealAudit, j.seal)
	timer(rotateKeys, j.rotate)
	return nil
}

// bounded gives a job its deadline.
func bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	return do(ctx)
}

// observe logs what the host is not told.
func (j *jobs) observe(ctx context.Context, function string, err error) {
	if err != nil {
		j.Logger.ErrorContext(ctx, "job failed", "function", function, "error", err)
		j.Telemetry.Exception(ctx, telemetry.Exception{Name: "job failed", Type: telemetry.TypeOf(err)})
	}
}

// repair helps what stands still, and tells how much waits.
func (j *jobs) repair(ctx context.Context) error {
	problems := []error{j.Imports.Repair(ctx)}
	for _, backlog := range j.Backlogs {
		messages, age, err := backlog(ctx)
		problems = append(problems, err)
		if err == nil {
			j.Telemetry.Metric(ctx, telemetry.MetricQueueMessages, float64(messages))
			j.Telemetry.Metric(ctx, telemetry.MetricQueueAge, age.Seconds())
		}
	}
	return errors.Join(problems...)
}

// seal writes the next checkpoint. A log that does not verify is alarmed, and
// sealing does not go past it.
func (j *jobs) seal(ctx context.Context) error {
	_, err := j.Sealer.Seal(ctx)
	if errors.Is(err, audit.ErrRace) {
		return nil
	}
	reason := ""
	if broken, ok := errors.AsType[*audit.Broken](err); ok {
		reason = "audit_log_broken"
		j.Logger.ErrorContext(ctx, "audit log is broken", "stream", broken.Stream, "seq", broken.Seq, "what", broken.What)
	}
	if fork, ok := errors.AsType[*audit.Fork](err); ok {
		reason = "audit_fork"
		j.Logger.ErrorContext(ctx, "audit log is forked", "size", fork.Size, "what", fork.What)
	}
	if reason != "" {
		j.Telemetry.Event(ctx, telemetry.EventAuditBroken)
		p := authz.System(sealAudit, "", "", authz.AuditSeal)
		return errors.Join(err, j.Audit.Alarm(ctx, audit.Entry{
			Action: string(authz.AuditSeal), Actor: audit.ActorOf(p), ReasonCode: reason,
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
