// Package keyring holds the keys that everything else is sealed under, and
// the one bridge to Key Vault.
//
//	Key Vault "kek" (RSA-3072)
//	  └ wraps a root key, one per generation ─┬ subject-wrapping key ─ seals subject keys
//	                                          └ standing secrets: locator, index, row-seal,
//	                                            message, pseudonym, cursor, audit MAC
//	Key Vault "sign" (EC P-256) ─ signs each generation's row
//
// A generation's row stands in table "keyring". RSA-OAEP carries no additional
// data and anyone can wrap with a public key, hence the signature: a row that
// is not signed by the vault's signing key, or whose generation or counter is
// lower than this process has seen, is refused and the last good copy serves
// until it is too old. Key Vault is asked per generation and process, never
// per request. Nothing here makes a keyring implicitly: Bootstrap is a step
// of the deployment.
package keyring

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"secureapi/handler/clock"
	"secureapi/handler/rowstore"
)

// Table is the name of the table, part of every seal.
const Table = "keyring"

const (
	partition = "keyring"
	// RefreshEvery is how often a process looks for a changed keyring.
	RefreshEvery = 20 * time.Second
	// WriteLife (H) is the age beyond which a process must not write with its
	// copy: a finish line waits twice this long before it trusts a scan.
	WriteLife = 60 * time.Second
	// ReadLife is the age beyond which a process must not read either: it
	// bounds how long a cut-off process goes on, and outlives a short outage.
	ReadLife = 15 * time.Minute
	// vaultTimeout bounds one load, which may unwrap and fetch a public key.
	vaultTimeout = 20 * time.Second
)

// The errors of this package.
var (
	// ErrMissing: there is no keyring. Bootstrap makes one; nothing else does.
	ErrMissing = errors.New("keyring is not bootstrapped")
	// ErrForged: a keyring row is not one that this system signed, or goes back.
	ErrForged = errors.New("keyring row is forged or rolled back")
	// ErrStale: this process' copy is too old and could not be refreshed.
	ErrStale = errors.New("keyring copy is too old")
	// ErrUnknownKey: sealed under a generation that this keyring does not hold.
	ErrUnknownKey = errors.New("no such key in the keyring")
)

// KeyRef names a key version in Key Vault.
type KeyRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// KeyWrapper wraps root keys. Wrap uses the newest enabled version and says
// which; an unwrap of a disabled or missing version fails.
type KeyWrapper interface {
	Wrap(ctx context.Context, plaintext []byte) (KeyRef, []byte, error)
	Unwrap(ctx context.Context, ref KeyRef, wrapped []byte) ([]byte, error)
	Newest(ctx context.Context) (KeyRef, error)
}

// Signer signs a SHA-256 digest with ES256 (raw r||s) and gives the public
// key of a version of that same vault key, and of no other key.
type Signer interface {
	Sign(ctx context.Context, digest []byte) (KeyRef, []byte, error)
	PublicKey(ctx context.Context, ref KeyRef) (*ecdsa.PublicKey, error)
}

// Store is what this package needs of table storage; rowstore has the contract.
type Store interface {
	List(ctx context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// Options are the parts of a Keyring; all are required.
type Options struct {
	Store   Store
	Wrapper KeyWrapper
	Signer  Signer
	Clock   clock.Clock
	Logger  *slog.Logger
}

func (o Options) check() error {
	if o.Store == nil || o.Wrapper == nil || o.Signer == nil || o.Clock == nil || o.Logger == nil {
		return errors.New("keyring: an option is missing")
	}
	return nil
}

// Keyring is this process' copy of the keys. Safe for concurrent use.
type Keyring struct {
	Options
	load singleflight.Group

	mu      sync.RWMutex
	copy    *Keys
	checked time.Time         // when the copy was last held against the table
	seen    map[uint32]uint64 // generation -> highest counter seen
	newest  uint32            // highest generation seen
	public  map[KeyRef]*ecdsa.PublicKey
}

// New returns a Keyring that holds nothing yet.
func New(o Options) (*Keyring, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Keyring{Options: o, seen: map[uint32]uint64{}, public: map[KeyRef]*ecdsa.PublicKey{}}, nil
}

// ForWrite gives the keys for sealing. ErrStale where the copy is older than
// WriteLife and cannot be refreshed now.
func (k *Keyring) ForWrite(ctx context.Context) (*Keys, error) { return k.get(ctx, WriteLife) }

// ForRead gives the keys for opening, at most ReadLife old.
func (k *Keyring) ForRead(ctx context.Context) (*Keys, error) { return k.get(ctx, ReadLife) }

func (k *Keyring) get(ctx context.Context, life time.Duration) (*Keys, error) {
	if keys := k.fresh(life); keys != nil {
		return keys, nil
	}
	if err := k.Load(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	}
	if keys := k.fresh(life); keys != nil {
		return keys, nil
	}
	return nil, ErrStale
}

func (k *Keyring) fresh(life time.Duration) *Keys {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.copy == nil {
		return nil
	}
	// A clock that steps back must not make an old copy young.
	if age := k.Clock().Sub(k.checked); age < 0 || age >= life {
		return nil
	}
	return k.copy
}

// Run keeps the copy fresh until ctx ends. A failure is logged; ForWrite and
// ForRead tell whether the copy may still serve.
func (k *Keyring) Run(ctx context.Context) {
	ticker := time.NewTicker(RefreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := k.Load(ctx); err != nil && ctx.Err() == nil {
				k.Logger.ErrorContext(ctx, "keyring refresh failed", "error", err)
			}
		}
	}
}

// Load holds the copy against the table: one transaction, and Key Vault only
// for what is new. Concurrent calls share one load.
func (k *Keyring) Load(ctx context.Context) error {
	result := k.load.DoChan("load", func() (any, error) {
		// The load outlives the caller that happened to start it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), vaultTimeout)
		defer cancel()
		return nil, k.refresh(ctx)
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("loading keyring: %w", ctx.Err())
	}
}

func (k *Keyring) refresh(ctx context.Context) error {
	started := k.Clock()
	rows, err := readRows(ctx, k.Store)
	if err != nil {
		return err
	}
	if err := k.checkOrder(rows); err != nil {
		return err
	}
	k.mu.RLock()
	previous := k.copy
	k.mu.RUnlock()
	if previous == nil || !previous.madeFrom(rows) {
		if previous, err = k.open(ctx, rows); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.copy, k.checked = previous, started
	for _, row := range rows {
		k.seen[row.document.Generation] = max(k.seen[row.document.Generation], row.document.Counter)
		k.newest = max(k.newest, row.document.Generation)
	}
	return nil
}

// checkOrder refuses what goes back behind what this process has seen.
func (k *Keyring) checkOrder(rows []*generationRow) error {
	if err := checkSequence(rows); err != nil {
		return err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	last := rows[len(rows)-1].document
	if last.Generation < k.newest {
		return fmt.Errorf("%w: the newest generation is gone", ErrForged)
	}
	for _, row := range rows {
		if row.document.Counter < k.seen[row.document.Generation] {
			return fmt.Errorf("%w: generation %d has a lower counter than before", ErrForged, row.document.Generation)
		}
	}
	return nil
}

// GenerationStatus is what an operator may know of a generation.
type GenerationStatus struct {
	Generation uint32    `json:"generation"`
	State      string    `json:"state"`
	WrappedBy  KeyRef    `json:"wrappedBy"`
	SignedBy   KeyRef    `json:"signedBy"`
	Counter    uint64    `json:"counter"`
	Created    time.Time `json:"created"`
	Updated    time.Time `json:"updated"`
}

// Status lists the generations of this process' copy.
func (k *Keyring) Status(ctx context.Context) ([]GenerationStatus, error) {
	keys, err := k.ForRead(ctx)
	if err != nil {
		return nil, err
	}
	var list []GenerationStatus
	for _, row := range keys.rows {
		d := row.document
		list = append(list, GenerationStatus{
			Generation: d.Generation, State: d.State, WrappedBy: d.WrappedBy, SignedBy: row.signature.By,
			Counter: d.Counter, Created: d.Created, Updated: d.Updated,
		})
	}
	return list, nil
}
