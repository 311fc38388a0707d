package revocation

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/dataclass"
	"secureapi/handler/rowstore"
)

// Request asks to revoke one token, or the tokens of one subject.
type Request struct {
	TokenID  string
	ObjectID string
	// IssuedBefore, with ObjectID, bounds the tokens; zero is now.
	IssuedBefore time.Time
}

// Status is a tenant's list as its operators see it.
type Status struct {
	Version     uint64  `json:"version"`
	Revocations []Entry `json:"revocations"`
}

var (
	tokenID  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	objectID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

const (
	// maxTries bounds a write that others' writes, or lost answers, get in front of.
	maxTries = 20
	// firstPause grows with each try, and keeps two writers from running into one
	// another again and again.
	firstPause = 5 * time.Millisecond
)

// Revoke takes tokens of the caller's tenant back, for good. When it returns
// they are refused by this process, and by every other within the bounds of
// this package. What is revoked already is answered as it stands.
func (l *List) Revoke(ctx context.Context, p authz.Principal, r Request) (Entry, error) {
	if err := l.Audit.Check(ctx, p, authz.RevocationsCreate); err != nil {
		return Entry{}, err
	}
	t, err := l.of(p.TenantID)
	if err != nil {
		return Entry{}, err
	}
	e, err := l.entry(p, r)
	if err != nil {
		return Entry{}, err
	}
	ticket, err := l.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.RevocationsCreate), Actor: audit.ActorOf(p), Objects: []audit.Object{e.object()},
	})
	if err != nil {
		return Entry{}, err
	}
	stands, err := l.put(ctx, t, e)
	if err != nil {
		ticket.Failed(failure(err))
		return Entry{}, l.report(ctx, t, err)
	}
	ticket.Completed(nil)
	return stands, nil
}

// Status reads the list of the caller's tenant.
func (l *List) Status(ctx context.Context, p authz.Principal) (Status, error) {
	if err := l.Audit.Check(ctx, p, authz.RevocationsRead); err != nil {
		return Status{}, err
	}
	t, err := l.of(p.TenantID)
	if err != nil {
		return Status{}, err
	}
	ticket, err := l.Audit.Authorise(ctx, audit.Entry{Action: string(authz.RevocationsRead), Actor: audit.ActorOf(p)})
	if err != nil {
		return Status{}, err
	}
	if err := l.load(ctx, t); err != nil {
		ticket.Failed(failure(err))
		return Status{}, err
	}
	h := t.held.Load()
	status := Status{Version: h.Version, Revocations: h.due(l.Clock())}
	ticket.Completed(func(e *audit.Entry) { e.Count = len(status.Revocations) })
	return status, nil
}

// entry makes the entry that r asks for. Issue times are whole seconds: a token
// of the running second may be older than the request, and is taken back too.
func (l *List) entry(p authz.Principal, r Request) (Entry, error) {
	now := l.Clock().UTC()
	e := Entry{
		TokenID: r.TokenID, ObjectID: r.ObjectID, RevokedAt: now, RevokedBy: p.ID(), ExpiresAt: now.Add(l.TokenLife),
	}
	_, personal := dataclass.Detects(r.TokenID)
	switch {
	case (r.TokenID == "") == (r.ObjectID == ""):
		return Entry{}, &InvalidError{"", "target_ambiguous", "must have either tokenId or objectId"}
	case r.TokenID != "" && (!tokenID.MatchString(r.TokenID) || personal):
		return Entry{}, &InvalidError{"/tokenId", "token_id_invalid", "must be the uti claim of a token"}
	case r.TokenID != "" && !r.IssuedBefore.IsZero():
		return Entry{}, &InvalidError{"/issuedBefore", "time_unexpected", "goes with objectId only"}
	case r.TokenID != "":
		return e, nil
	case !objectID.MatchString(r.ObjectID):
		return Entry{}, &InvalidError{"/objectId", "object_id_invalid", "must be an oid claim, a GUID in lower case"}
	}
	before := r.IssuedBefore.UTC()
	switch {
	case r.IssuedBefore.IsZero():
		before = now.Truncate(time.Second).Add(time.Second)
	case before.After(now):
		return Entry{}, &InvalidError{"/issuedBefore", "time_range", "must not be in the future"}
	default:
		before = before.Add(time.Second - time.Nanosecond).Truncate(time.Second)
	}
	if e.IssuedBefore, e.ExpiresAt = before, before.Add(l.TokenLife); !now.Before(e.ExpiresAt) {
		return Entry{}, &InvalidError{"/issuedBefore", "time_range", "must be later: no token that old is accepted anyway"}
	}
	return e, nil
}

// object names what is revoked as other entries do: ids of tokens and of
// principals stand in every entry's actor.
func (e Entry) object() audit.Object {
	if e.TokenID != "" {
		return audit.Object{Class: "access-token", Pseudonym: e.TokenID}
	}
	return audit.Object{Class: "principal", Pseudonym: e.ObjectID}
}

// put writes e into the list and into this process' copy. A write that failed
// may have been applied: what stands in the row then tells.
func (l *List) put(ctx context.Context, t *tenant, e Entry) (Entry, error) {
	if err := t.enter(ctx); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", rowstore.ErrUnavailable, err)
	}
	defer t.leave()
	var failed error
	for n := range maxTries {
		if !clock.Sleep(ctx, clock.Jitter(time.Duration(n)*firstPause)) {
			break
		}
		started := l.Clock()
		s, err := l.refresh(ctx, t)
		if err != nil {
			return Entry{}, err
		}
		next, stands, err := s.with(e, started)
		if err != nil || next.Version == s.Version {
			return stands, err
		}
		if failed = l.write(ctx, s, next); failed == nil {
			t.held.Store(hold(next, started))
			return stands, nil
		}
		if !again(failed) {
			return Entry{}, failed
		}
	}
	return Entry{}, fmt.Errorf("%w: %w", rowstore.ErrUnavailable, errors.Join(failed, context.Cause(ctx)))
}

// again reports whether a failed write is worth reading the row once more.
func again(err error) bool {
	for _, kind := range []error{rowstore.ErrChanged, rowstore.ErrExists, rowstore.ErrNotFound, rowstore.ErrUnavailable} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// failure is the reason code of an audit entry.
func failure(err error) string {
	switch {
	case errors.Is(err, ErrFull):
		return "list_full"
	case errors.Is(err, ErrForged):
		return "integrity_failure"
	default:
		return "dependency_unavailable"
	}
}
