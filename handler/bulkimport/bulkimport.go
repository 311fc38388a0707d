// Package bulkimport tokenizes files of many records: a caller creates an
// import, uploads CSV parts, commits them, and a queue function does the work
// chunk by chunk.
//
// Every exported method of Imports takes the caller, checks the permission,
// audits and only then acts, like the domain below it; Jobs act as
// authz.System and only continue what the sealed operation row records as
// authorised (invariants I1 and I6). A queue message is a doorbell: forged, it
// raises an alarm; late or repeated, it finds the work done.
//
// Where things are. The operation row holds the columns, the state and a
// random key that belongs to this import alone. Parts of a file are cut into
// chunks; a chunk's rows stand in a blob sealed under the operation's key and
// bound to its place, its state in a sealed row beside the operation. Tokens
// are drawn from the operation's key as well, so that a chunk run twice writes
// the same rows. Seven days after its end blobs and key are destroyed.
//
// Trust boundary: file content, queue messages, blobs and rows are outside
// data. Values are in memory, in sealed blobs and in sealed records only;
// errors name columns, rows and codes, never content.
package bulkimport

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/dataclass"
	"secureapi/handler/envelope"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

// Names of the operation's kind, its queue and its container.
const (
	Kind      = "import"
	Queue     = "imports"
	Container = "imports"

	purgeKind = "import-purge"
	chunkKind = "chunk"
	partKind  = "part"
)

// Limits of one import.
const (
	MaxColumns   = 20
	MaxParts     = 1000
	MaxChunks    = 1000
	MaxPartBytes = 8 << 20
	MaxPartRows  = 100_000
	// Life is how long chunks and results are kept after the end.
	Life = 7 * 24 * time.Hour
)

// The errors of this package. Those of operation, tokenvault, audit, keyring
// and rowstore pass through.
var (
	// ErrPartExists: the number was used for another content.
	ErrPartExists = errors.New("part exists with another content")
	// ErrPartsMissing: what was uploaded is not what is to be committed.
	ErrPartsMissing = errors.New("parts are not those to be committed")
	// ErrTooLarge: the import has as many chunks as it may have.
	ErrTooLarge = errors.New("import is too large")
	// ErrExpired: chunks and results were destroyed.
	ErrExpired = errors.New("import has expired")
	// ErrNoChunk: the result has no such page.
	ErrNoChunk = errors.New("no such chunk")
)

// Column is one column of the file that holds values.
type Column struct {
	Name   string            `json:"name"`
	Class  dataclass.Class   `json:"class"`
	Format tokenvault.Format `json:"format,omitzero"`
	// Optional columns may have empty cells, which give no token.
	Optional bool `json:"optional,omitzero"`
}

// detail is the import's part of the operation row.
type detail struct {
	Columns       []Column `json:"columns"`
	SubjectColumn string   `json:"subjectColumn,omitzero"`
	KeyID         []byte   `json:"keyId"`
	Key           []byte   `json:"key"` // nil once destroyed
	Parts         int      `json:"parts"`
	Chunks        int      `json:"chunks"`
	Rows          int      `json:"rows"`
	// Committed is the number of parts that the commit named.
	Committed int `json:"committed,omitzero"`
	// Result stands when the operation has completed.
	Result Progress `json:"result,omitzero"`
	// NextRing and Rings pace the repair of an operation that stands still.
	NextRing time.Time `json:"nextRing,omitzero"`
	Rings    int       `json:"rings,omitzero"`
}

type op = operation.Operation[detail]

// key is the operation's own; ErrExpired once it is destroyed.
func keyOf(o *op) (envelope.Key, error) {
	if len(o.Detail.Key) == 0 || len(o.Detail.KeyID) != envelope.KeyIDSize {
		return envelope.Key{}, ErrExpired
	}
	return envelope.KeyFrom(envelope.KeyID(o.Detail.KeyID), o.Detail.Key)
}

// part is the row of an uploaded part.
type part struct {
	// Digest is the keyed hash of the part's bytes: a repeat is told from
	// another content without keeping either.
	Digest []byte `json:"digest"`
	Rows   int    `json:"rows"`
	Chunks int    `json:"chunks"`
}

// chunkState is how far a chunk is.
type chunkState string

const (
	pending chunkState = "pending"
	done    chunkState = "done"
	failed  chunkState = "failed"
)

// chunk is the row of one chunk.
type chunk struct {
	State chunkState `json:"state"`
	Part  int        `json:"part"`
	First int        `json:"first"` // number of its first row in the part, from 1
	Rows  int        `json:"rows"`
	// Blob is the name of the sealed rows; the result's is derived from it.
	Blob     string    `json:"blob"`
	Imported int       `json:"imported,omitzero"`
	Rejected int       `json:"rejected,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
}

// Progress counts rows and chunks. Failed rows are those of failed chunks.
type Progress struct {
	Total         int       `json:"total"`
	Imported      int       `json:"imported"`
	Rejected      int       `json:"rejected"`
	Failed        int       `json:"failed"`
	Chunks        int       `json:"chunks"`
	ChunksPending int       `json:"chunksPending"`
	ChunksFailed  int       `json:"chunksFailed"`
	LastChunk     time.Time `json:"lastChunk,omitzero"`
}

// Bell rings for operations; *operation.Bell seals and opens.
type Bell interface {
	Seal(ctx context.Context, d operation.Doorbell) (string, error)
	Open(ctx context.Context, text string) (operation.Doorbell, error)
}

// MessageQueue is what this package needs of the queue.
type MessageQueue interface {
	// Send queues a text of printable ASCII that becomes visible after delay.
	Send(ctx context.Context, text string, delay time.Duration) error
}

// Blobs is what this package needs of the container; errors are rowstore's.
type Blobs interface {
	// Put creates or overwrites.
	Put(ctx context.Context, name string, data []byte) error
	// Create fails with rowstore.ErrExists where the blob exists.
	Create(ctx context.Context, name string, data []byte) error
	// Get fails with rowstore.ErrNotFound where there is none.
	Get(ctx context.Context, name string) ([]byte, error)
	// Delete is idempotent.
	Delete(ctx context.Context, name string) error
}

// Keys gives the current keys; *keyring.Keyring does.
type Keys interface {
	ForRead(ctx context.Context) (*keyring.Keys, error)
	ForWrite(ctx context.Context) (*keyring.Keys, error)
}

// Options are the parts of Imports and Jobs; all are required.
type Options struct {
	Store  operation.Store
	Keys   Keys
	Blobs  Blobs
	Queue  MessageQueue
	Vault  *tokenvault.Vault
	Audit  *audit.Log
	Clock  clock.Clock
	Logger *slog.Logger
	// Telemetry is told of messages that are given up.
	Telemetry telemetry.Recorder
	// RepairAfter is how long a running import may stand still before its
	// work is rung for again; the pause doubles each time.
	RepairAfter time.Duration
}

// Imports serves callers. Safe for concurrent use; any number of processes
// may work on the same storage.
type Imports struct {
	*Options
	ops    *operation.Operations[detail]
	parts  *operation.Parts[part]
	chunks *operation.Parts[chunk]
	plans  *operation.Plans[created]
	due    *operation.DueList
	bell   Bell
}

// New returns Imports.
func New(o Options) (*Imports, error) {
	if o.Store == nil || o.Keys == nil || o.Blobs == nil || o.Queue == nil || o.Vault == nil || o.Audit == nil ||
		o.Clock == nil || o.Logger == nil || o.Telemetry == nil || o.RepairAfter <= 0 {
		return nil, errors.New("bulkimport: an option is missing")
	}
	return &Imports{
		Options: &o,
		ops:     operation.New[detail](Kind, o.Store, o.Keys, o.Clock),
		parts:   operation.NewParts[part](partKind, o.Store, o.Keys),
		chunks:  operation.NewParts[chunk](chunkKind, o.Store, o.Keys),
		plans:   operation.NewPlans[created](Kind, o.Store, o.Keys, o.Clock),
		due:     operation.NewDueList(o.Store, o.Keys, o.Clock),
		bell:    operation.NewBell(Queue, o.Keys),
	}, nil
}

// Status is an import as its callers see it.
type Status struct {
	ID        string
	State     operation.State
	CreatedAt time.Time
	UpdatedAt time.Time
	Parts     int
	Progress  Progress
}

// status counts the chunks of an import that has not ended.
func (s *Imports) status(ctx context.Context, o *op) (Status, error) {
	st := Status{
		ID: o.ID, State: o.State, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt, Parts: o.Detail.Parts,
		Progress: o.Detail.Result,
	}
	if o.State == operation.Completed {
		return st, nil
	}
	chunks, err := s.chunks.All(ctx, o.Tenant, o.ID)
	if err != nil {
		return Status{}, s.tampered(ctx, o.Tenant, o.ID, err)
	}
	st.Progress = progressOf(chunks)
	return st, nil
}

func progressOf(chunks []*operation.Part[chunk]) Progress {
	p := Progress{Chunks: len(chunks)}
	for _, c := range chunks {
		p.Total += c.Detail.Rows
		p.Imported += c.Detail.Imported
		p.Rejected += c.Detail.Rejected
		switch c.Detail.State {
		case done:
		case failed:
			p.ChunksFailed++
			p.Failed += c.Detail.Rows
		default:
			p.ChunksPending++
		}
		if c.Detail.Ended.After(p.LastChunk) {
			p.LastChunk = c.Detail.Ended
		}
	}
	return p
}

// own reads an import for a caller who must have created it.
func (s *Imports) own(ctx context.Context, p authz.Principal, id string) (*op, error) {
	if err := s.Audit.Check(ctx, p, authz.ImportsManage); err != nil {
		return nil, err
	}
	o, err := s.read(ctx, p.TenantID, id)
	if err != nil {
		return nil, err
	}
	if !o.OwnedBy(p) {
		s.Audit.Refuse(ctx, p, authz.ImportsManage, reasonNotOwner)
		return nil, operation.ErrNotFound
	}
	return o, nil
}

// reasonNotOwner: the import is somebody else's of the same tenant. The caller
// learns no more than that there is none.
const reasonNotOwner = "not_owner"

// anyOrOwn reads an import for its creator, or for whoever has permission.
func (s *Imports) anyOrOwn(ctx context.Context, p authz.Principal, id string, permission authz.Permission) (*op, error) {
	if authz.Check(p, permission) == nil {
		return s.read(ctx, p.TenantID, id)
	}
	return s.own(ctx, p, id)
}

func (s *Imports) read(ctx context.Context, tenant, id string) (*op, error) {
	o, err := s.ops.Get(ctx, tenant, id)
	if err != nil {
		return nil, s.tampered(ctx, tenant, id, err)
	}
	return o, nil
}
