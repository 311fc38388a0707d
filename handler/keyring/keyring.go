// Package keyring holds the keys that everything else is sealed under, and
// is the one bridge to Key Vault.
//
//	Key Vault "kek" (RSA-3072)
//	  └ wraps a root key, one per generation ─┬ subject-wrapping key ─ seals subject keys
//	                                          └ standing secrets: locator, index, row-seal,
//	                                            message, pseudonym, cursor, audit MAC
//	Key Vault "sign" (EC P-256) ─ signs each generation's row
//
// A generation's row stands in table "keyring". Storage is not trusted:
// RSA-OAEP carries no additional data and anyone can wrap with a public key,
// hence the signature. A row that the vault's signing key did not sign, or that
// goes back behind what this process has seen, is refused as a whole keyring
// (ErrForged), and the last good copy serves only until it is WriteLife old.
// Not prevented: a process that has seen nothing yet takes an older keyring of
// this system's for the newest.
//
// Key Vault is asked per generation and process, never per request. Nothing
// here makes a keyring implicitly: Bootstrap is a step of the deployment.
package keyring

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"secureapi/handler/clock"
	"secureapi/handler/rowstore"
)

// Table is the name of the table, part of every seal.
const Table = "keyring"

const (
	// RefreshEvery is about how often a process looks for a changed keyring.
	RefreshEvery = 20 * time.Second
	// WriteLife (H) is the age beyond which a process must not seal with its
	// copy. Who retires a generation waits twice this long before trusting a
	// scan, so a caller must be done with the Keys of ForWrite within H too:
	// request deadlines are below it.
	WriteLife = 60 * time.Second
	// ReadLife is the age beyond which a process must not open anything with
	// its copy. Reading goes on through a short outage of the table, because an
	// old copy opens nothing that it could not open when it was new; it ends
	// because a process that is cut off must not serve a revoked keyring for
	// ever. A forged keyring is no outage: then WriteLife holds for reads too.
	ReadLife = 15 * time.Minute
	// loadTimeout bounds one load, which may unwrap and fetch a public key.
	loadTimeout = 20 * time.Second
)

// The errors of this package.
var (
	// ErrMissing: there is no keyring. Bootstrap makes one; nothing else does.
	ErrMissing = errors.New("keyring is not bootstrapped")
	// ErrForged: the stored keyring is not what this system signed, or goes
	// back. It is worth an alarm whatever the caller was doing.
	ErrForged = errors.New("keyring is forged or rolled back")
	// ErrStale: this process' copy is too old and could not be refreshed. It
	// wraps the reason.
	ErrStale = errors.New("keyring copy is too old")
	// ErrUnknownKey: sealed under a generation that this copy does not hold. It
	// is no proof of tampering: another process may have a newer keyring. Load,
	// and try once more.
	ErrUnknownKey = errors.New("no such key in the keyring")
)

// KeyRef names a key version in Key Vault.
type KeyRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// KeyWrapper wraps root keys with RSA-OAEP-256. Wrap uses the newest enabled
// version, the one that Newest names, and says which; an Unwrap under a
// disabled or missing version fails. Safe for concurrent use.
type KeyWrapper interface {
	Wrap(ctx context.Context, plaintext []byte) (KeyRef, []byte, error)
	Unwrap(ctx context.Context, ref KeyRef, wrapped []byte) ([]byte, error)
	Newest(ctx context.Context) (KeyRef, error)
}

// Signer signs a SHA-256 digest with ES256 (raw r||s, RFC 7518 section 3.4)
// and gives the public key of a version of that same vault key, and of no
// other key. The version comes from storage. Safe for concurrent use.
type Signer interface {
	Sign(ctx context.Context, digest []byte) (KeyRef, []byte, error)
	PublicKey(ctx context.Context, ref KeyRef) (*ecdsa.PublicKey, error)
}

// Store is what this package needs of table storage; rowstore has the contract.
type Store interface {
	List(ctx context.Context, partition string, r rowstore.Range) (rows []rowstore.Row, next string, err error)
	Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) (versions []string, err error)
}

// DefaultSignName is the vault key that signs where Options name no other.
const DefaultSignName = "sign"

// Options are the parts of a Keyring. All but SignName and Alarm are required.
type Options struct {
	Store   Store
	Wrapper KeyWrapper
	Signer  Signer
	// SignName is the name of the vault key that Signer uses (KEY_SIGN_NAME),
	// DefaultSignName where it is empty. A row that a key of any other name
	// signed is forged, whatever Signer says.
	SignName string
	Clock    clock.Clock
	Logger   *slog.Logger
	// Alarm is told, once each time it begins, that the stored keyring is
	// refused. It is called by the goroutine that found out, and may use the
	// Keyring.
	Alarm func(ctx context.Context, err error)
}

func (o Options) check() error {
	var missing []error
	for _, part := range []struct {
		name string
		has  bool
	}{
		{"Store", o.Store != nil},
		{"Wrapper", o.Wrapper != nil},
		{"Signer", o.Signer != nil},
		{"Clock", o.Clock != nil},
		{"Logger", o.Logger != nil},
	} {
		if !part.has {
			missing = append(missing, fmt.Errorf("keyring: option %s is missing", part.name))
		}
	}
	return errors.Join(missing...)
}

// Keyring is this process' copy of the keys. Safe for concurrent use.
type Keyring struct {
	options Options
	shared  singleflight.Group
	// held is the last good copy; nil before the first.
	held    atomic.Pointer[held]
	alarmed atomic.Bool

	// turn lets one goroutine at a time read the table and change what follows.
	turn   chan struct{}
	seen   map[uint32]mark
	public map[KeyRef]*ecdsa.PublicKey
}

// New returns a Keyring that holds nothing yet: ForWrite, ForRead and Run load
// it. It never makes a keyring.
func New(o Options) (*Keyring, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.SignName == "" {
		o.SignName = DefaultSignName
	}
	return &Keyring{
		options: o, turn: make(chan struct{}, 1),
		seen: map[uint32]mark{}, public: map[KeyRef]*ecdsa.PublicKey{},
	}, nil
}

// String, Format and LogValue keep fmt from walking through the keys, and
// through what other goroutines change.
func (*Keyring) String() string             { return "[keyring]" }
func (*Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[keyring]")) }
func (*Keyring) LogValue() slog.Value       { return slog.StringValue("[keyring]") }

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

// Status lists the generations of this process' copy, oldest first.
func (k *Keyring) Status(ctx context.Context) ([]GenerationStatus, error) {
	keys, err := k.ForRead(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]GenerationStatus, 0, len(keys.generations))
	for _, g := range keys.generations {
		d := g.row.document
		list = append(list, GenerationStatus{
			Generation: d.Generation, State: d.State, WrappedBy: d.WrappedBy, SignedBy: g.row.signature.By,
			Counter: d.Counter, Created: d.Created, Updated: d.Updated,
		})
	}
	return list, nil
}
