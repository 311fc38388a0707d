// Package tokenvault is the domain: it takes values in and gives tokens out,
// and gives values back to those who may have them.
//
// Every exported method takes the caller, checks the permission, writes the
// audit entry and only then acts (invariants I1 and I2), so that no transport
// can forget either. The order is: authenticate (before this package),
// authorise, read what is needed to name the objects, audit, decrypt or
// write, answer.
//
// Table "records", one partition per tenant and shard of the subject's hash:
//
//	s|<subject hash>                 head: the subject's wrapped key and state
//	m|<subject hash>|<token hash>    member: what an erasure must visit
//	t|<token hash>                   token: the value's envelope, or a tombstone
//
// A token is drawn until its hash falls into its subject's shard; so one
// transaction writes head, member and token, and an erasure, which is a
// compare-and-swap of the head, closes the race with every late writer.
// Only keyed hashes of subjects and tokens are keys. Values are sealed under
// their subject's own key, bound to their place, class and counter.
package tokenvault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/dataclass"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
)

// Table is the name of the table, part of every seal.
const Table = "records"

// Limits of one call.
const (
	MaxBatch   = 100
	MaxInspect = 100
	MaxReveal  = 20
)

// The errors of this package. Those of keyring, audit and operation pass
// through; rowstore.ErrUnavailable means "try again".
var (
	// ErrIntegrity: a row is not what this system wrote. Alarmed.
	ErrIntegrity = errors.New("stored record failed its integrity check")
	// ErrBusy: too many writers of one subject at once; nothing was stored.
	ErrBusy = errors.New("subject is busy")
)

// FieldError is one refused field. Pointer is an RFC 6901 pointer relative to
// the request; Detail never holds the value.
type FieldError struct {
	Pointer string
	Code    string
	Detail  string
}

// Error implements error.
func (e *FieldError) Error() string { return e.Pointer + ": " + e.Detail }

// InvalidError is a request with refused fields.
type InvalidError struct{ Fields []*FieldError }

// Error implements error.
func (e *InvalidError) Error() string {
	texts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		texts[i] = f.Error()
	}
	return strings.Join(texts, "; ")
}

// Store is what this package needs of table storage; rowstore has the contract.
type Store interface {
	Get(ctx context.Context, partition, key string) (rowstore.Row, error)
	List(ctx context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// Keys gives the current keys; *keyring.Keyring does.
type Keys interface {
	ForRead(ctx context.Context) (*keyring.Keys, error)
	ForWrite(ctx context.Context) (*keyring.Keys, error)
	// Load compares them with the stored keyring now.
	Load(ctx context.Context) error
}

// StepUp decides whether a user's authentication is strong and fresh enough
// for restricted classes. The error it returns is passed to the caller.
type StepUp interface {
	RequireStepUp(p authz.Principal) error
}

// Options are the parts of a Vault; all are required.
type Options struct {
	Store Store
	// Erased is the register of erased subjects, ErasuresTable.
	Erased   Store
	Keys     Keys
	Audit    *audit.Log
	Plans    *operation.Plans[[]PlannedToken]
	StepUp   StepUp
	Purposes []string
	Clock    clock.Clock
	Logger   *slog.Logger
}

// Vault is the domain. Safe for concurrent use; any number of processes may
// run one on the same storage.
type Vault struct {
	Options
	subjects *subjects
}

// New returns a Vault.
func New(o Options) (*Vault, error) {
	if o.Store == nil || o.Erased == nil || o.Keys == nil || o.Audit == nil || o.Plans == nil || o.StepUp == nil ||
		o.Clock == nil || o.Logger == nil || len(o.Purposes) == 0 {
		return nil, errors.New("tokenvault: an option is missing")
	}
	cache, err := newSubjects(o.Clock)
	if err != nil {
		return nil, err
	}
	return &Vault{Options: o, subjects: cache}, nil
}

// CacheHits is the share of reads of subjects' keys that this process' cache
// answered since the last call; false where there were none.
func (v *Vault) CacheHits() (share float64, ok bool) { return v.subjects.share() }

// alarm records that storage holds something this system did not write.
func (v *Vault) alarm(ctx context.Context, p authz.Principal, permission authz.Permission, cause error) error {
	entry := audit.Entry{
		Action: string(permission), Actor: audit.ActorOf(p), ReasonCode: "integrity_failure",
		Operation: p.Operation(),
	}
	if err := v.Audit.Alarm(ctx, entry); err != nil {
		v.Logger.ErrorContext(ctx, "alarm entry not stored", "action", permission, "error", err)
	}
	return fmt.Errorf("%w: %w", ErrIntegrity, cause)
}

func objectOf(s *subject, tokenHash string, class dataclass.Class) audit.Object {
	return audit.Object{
		Pseudonym: s.pseudonym(tokenHash), Class: string(class), KeyID: s.keyID(),
	}
}
