package tokenvault

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/rowseal"
)

// ErasureKind is the kind of an erasure's operation.
const ErasureKind = "erasure"

// MinRetention is the shortest BackupRetention: the files of imports hold
// values for as long after the import's end.
const MinRetention = 7 * 24 * time.Hour

// erasureDetail is the erasure's part of the operation row. The subject stands
// in it as its keyed hash only.
type erasureDetail struct {
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	// Inaccessible is set once the head is changed: from then no process has
	// the key, cached or not. It is never too early.
	Inaccessible time.Time `json:"inaccessible,omitzero"`
	// Irrecoverable is when the last backup that holds the key is to be gone.
	Irrecoverable time.Time `json:"irrecoverable,omitzero"`
	// Swept is when a sweep last found rows, or began to wait.
	Swept time.Time `json:"swept,omitzero"`
}

type erasureOp = operation.Operation[erasureDetail]

// ErasureOptions are what erasures need beside the Vault; all are required.
type ErasureOptions struct {
	Operations operation.Store
	// BackupRetention is how long a backup of heads and keyring is kept.
	BackupRetention time.Duration
}

// Erasures erases data subjects. An erasure takes effect by one
// compare-and-swap of the subject's head, which drops the wrapped key; what the
// key sealed is noise from then on. Sweep then removes the rows.
type Erasures struct {
	*Vault
	ops       *operation.Operations[erasureDetail]
	due       *operation.DueList
	retention time.Duration
}

// NewErasures returns the erasures of a vault's subjects.
func NewErasures(v *Vault, o ErasureOptions) (*Erasures, error) {
	if v == nil || o.Operations == nil {
		return nil, errors.New("tokenvault: an option of erasures is missing")
	}
	if o.BackupRetention < MinRetention {
		return nil, errors.New("tokenvault: the retention of backups is shorter than that of imports")
	}
	return &Erasures{
		Vault: v, retention: o.BackupRetention,
		ops: operation.New[erasureDetail](ErasureKind, o.Operations, v.Keys, v.Clock),
		due: operation.NewDueList(o.Operations, v.Keys, v.Clock),
	}, nil
}

// Erasure is an erasure as its callers see it: the same whether the vault knew
// the subject or not.
type Erasure struct {
	ID        string
	State     operation.State
	CreatedAt time.Time
	UpdatedAt time.Time
	Reason    string
	// AuditEntry is the id of the log's entries about it.
	AuditEntry string
	// InaccessibleAt is zero until the head is changed.
	InaccessibleAt  time.Time
	IrrecoverableAt time.Time
}

// Erase erases a subject; reason is a case reference. It returns when the
// erasure is recorded, usually with the key gone already; the rest is Sweep's.
// Again for the same subject it gives the same erasure. A subject that the
// vault does not know is erased like any other: it takes no values afterwards,
// also not from an import that is under way.
func (e *Erasures) Erase(ctx context.Context, p authz.Principal, subject, reason string) (Erasure, error) {
	if err := e.Audit.Check(ctx, p, authz.SubjectsErase); err != nil {
		return Erasure{}, err
	}
	if err := checkErase(subject, reason); err != nil {
		return Erasure{}, err
	}
	keys, err := e.Keys.ForWrite(ctx)
	if err != nil {
		return Erasure{}, err
	}
	hash := keys.SubjectHash(p.TenantID, subject)
	id := erasureID(keys, p.TenantID, hash)
	ticket, err := e.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.SubjectsErase), Actor: audit.ActorOf(p), Operation: id, Reason: reason,
		Objects: []audit.Object{{Pseudonym: ErasurePseudonym(keys, p.TenantID, hash)}},
	})
	if err != nil {
		return Erasure{}, err
	}
	o, err := e.record(ctx, &erasureOp{
		ID: id, Tenant: p.TenantID, State: operation.Running, CreatedBy: p.ID(), Client: p.ClientID,
		Authorised: ticket.ID(), Detail: erasureDetail{Subject: hash, Reason: reason},
	})
	if err != nil {
		ticket.Failed(reasonOf(err))
		return Erasure{}, e.tampered(ctx, p, authz.SubjectsErase, err)
	}
	if o.Authorised != ticket.ID() {
		ticket.Completed(nil) // the erasure that is there is the outcome
	}
	if err := e.close(ctx, keys, o); err != nil {
		// It is recorded and due: Sweep goes on.
		e.Logger.WarnContext(ctx, "erasure not closed at once", "operation", id, "error", err)
	}
	return statusOf(o), nil
}

// record writes the operation, or reads the one that is there. It is on the
// due list before, so that no crash leaves an erasure that nobody continues.
func (e *Erasures) record(ctx context.Context, o *erasureOp) (*erasureOp, error) {
	there, err := e.ops.Get(ctx, o.Tenant, o.ID)
	if err == nil {
		return there, e.due.Add(ctx, ErasureKind, o.Tenant, o.ID)
	}
	if !errors.Is(err, operation.ErrNotFound) {
		return nil, err
	}
	if err := e.due.Announce(ctx, ErasureKind, o.Tenant, o.ID); err != nil {
		return nil, err
	}
	if err := e.ops.Create(ctx, o); err != nil {
		return nil, err
	}
	return e.ops.Get(ctx, o.Tenant, o.ID)
}

// Get tells how far an erasure is, to privacy officers and operators of its
// tenant. It is not an entry of its own in the audit log; a denial is.
func (e *Erasures) Get(ctx context.Context, p authz.Principal, id string) (Erasure, error) {
	if authz.Check(p, authz.OperationsReadAny) != nil {
		if err := e.Audit.Check(ctx, p, authz.SubjectsErase); err != nil {
			return Erasure{}, err
		}
	}
	o, err := e.ops.Get(ctx, p.TenantID, id)
	if err != nil {
		return Erasure{}, e.tampered(ctx, p, authz.SubjectsErase, err)
	}
	return statusOf(o), nil
}

func statusOf(o *erasureOp) Erasure {
	return Erasure{
		ID: o.ID, State: o.State, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt, Reason: o.Detail.Reason,
		AuditEntry: o.Authorised, InaccessibleAt: o.Detail.Inaccessible, IrrecoverableAt: o.Detail.Irrecoverable,
	}
}

// close makes the subject's values inaccessible, and notes since when. Each
// step may have been done before.
func (e *Erasures) close(ctx context.Context, keys *keyring.Keys, o *erasureOp) error {
	if !o.Detail.Inaccessible.IsZero() {
		return nil
	}
	r := registration{State: erasing, Operation: o.ID, Authorised: o.Authorised, Since: e.Clock().UTC()}
	if err := e.register(ctx, keys, o.Tenant, o.Detail.Subject, r); err != nil {
		return err
	}
	if err := e.eraseHead(ctx, keys, o); err != nil {
		return err
	}
	// Taken when the head is changed for certain. A process that read it just
	// before has the key for subjectLife.
	inaccessible := e.Clock().UTC().Add(subjectLife)
	r.State = erased
	if err := e.register(ctx, keys, o.Tenant, o.Detail.Subject, r); err != nil {
		return err
	}
	o.Detail.Inaccessible, o.Detail.Irrecoverable = inaccessible, inaccessible.Add(e.retention)
	err := e.ops.Update(ctx, o)
	if !errors.Is(err, operation.ErrChanged) {
		return err
	}
	// Another call or the job was first: its time is as good.
	now, err := e.ops.Get(ctx, o.Tenant, o.ID)
	if err != nil {
		return err
	}
	if now.Detail.Inaccessible.IsZero() {
		return operation.ErrChanged
	}
	*o = *now
	return nil
}

// ErasurePseudonym names an erased subject in the audit log. It does not derive
// from the subject's key, which is gone, and stands in no other entry: it leads
// from the log to the register and to nothing else.
func ErasurePseudonym(keys *keyring.Keys, tenant, subjectHash string) string {
	return keys.Pseudonym("erased subject", tenant, subjectHash)
}

// erasureID derives the operation's id from the subject, so that erasures of
// one subject are one. The version says whose id it is: IsErasure.
func erasureID(keys *keyring.Keys, tenant, subjectHash string) string {
	sum := keys.Digest("erasure", []byte(tenant), []byte(subjectHash))
	id := uuid.UUID(sum[:len(uuid.UUID{}):sha256.Size])
	id[6] = id[6]&0x0f | erasureVersion<<4
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// erasureVersion is RFC 9562's for ids of the application's own making.
const erasureVersion = 8

// IsErasure reports whether an operation id is an erasure's: those of other
// operations are random, of version 4.
func IsErasure(id string) bool {
	parsed, err := uuid.Parse(id)
	return err == nil && parsed.Version() == erasureVersion
}

func checkErase(subject, reason string) error {
	var invalid InvalidError
	if !validSubject(subject) {
		invalid.Fields = append(invalid.Fields, &FieldError{
			Pointer: "/subject", Code: "subject_invalid", Detail: "must be 1 to 128 of A-Z a-z 0-9 . _ : -",
		})
	}
	if refused := checkReason(reason); refused != nil {
		invalid.Fields = append(invalid.Fields, refused)
	}
	if len(invalid.Fields) > 0 {
		return &invalid
	}
	return nil
}

// tamperedRow alarms in the job's name and lets the erasure go on: damage must
// not keep a subject from being erased.
func (e *Erasures) tamperedRow(ctx context.Context, o *erasureOp, what string) {
	p := authz.System(eraseJob, o.Tenant, o.ID, authz.ErasuresRun)
	err := e.alarm(ctx, p, authz.ErasuresRun, fmt.Errorf("%w: %s", rowseal.ErrTampered, what))
	e.Logger.ErrorContext(ctx, "row of an erased subject is not this system's", "operation", o.ID, "error", err)
}
