package tokenvault

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"secureapi/handler/clock"
	"secureapi/handler/envelope"
	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

const (
	// subjectLife bounds how long a process uses a subject key it once read.
	// An erasure waits this long before it calls the values inaccessible.
	subjectLife = 60 * time.Second
	// subjectCacheSize bounds memory: about 400 bytes an entry.
	subjectCacheSize = 16384
)

// ErrErased: the subject takes no new tokens and gives none back.
var ErrErased = errors.New("subject is erased")

// subject is a data subject whose key is at hand.
type subject struct {
	tenant  string
	hash    string
	key     envelope.Key
	version string // of the head row; "" while the subject is not stored yet
	sealed  []byte // the head's body while the subject is not stored yet
	read    time.Time
}

// pseudonym names an object in the audit log. It derives from the subject's
// key, so that erasing the subject unlinks the log from the person.
func (s *subject) pseudonym(tokenHash string) string {
	return hex.EncodeToString(s.key.Derive("audit pseudonym", 16, tokenHash))
}

func (s *subject) keyID() string { return hex.EncodeToString(s.key.ID[:]) }

func (s *subject) stored() bool { return s.version != "" }

type subjectID struct{ tenant, hash string }

// subjects caches the subjects of this process, bounded in number and age.
// It is only a cache: what decides is the head row, by compare-and-swap on
// write and by the erasure's wait on read.
type subjects struct {
	cache *lru.Cache[subjectID, *subject]
	now   clock.Clock

	hits, misses atomic.Uint64 // since the last share
}

func newSubjects(now clock.Clock) (*subjects, error) {
	cache, err := lru.New[subjectID, *subject](subjectCacheSize)
	if err != nil {
		return nil, fmt.Errorf("subject cache: %w", err)
	}
	return &subjects{cache: cache, now: now}, nil
}

func (c *subjects) get(tenant, hash string) *subject {
	id := subjectID{tenant, hash}
	s, ok := c.cache.Get(id)
	if !ok {
		c.misses.Add(1)
		return nil
	}
	if c.aged(s) {
		c.cache.Remove(id)
		c.misses.Add(1)
		return nil
	}
	c.hits.Add(1)
	return s
}

// share is the part of the reads since the last call that found their subject;
// false where there were none.
func (c *subjects) share() (float64, bool) {
	hits, misses := c.hits.Swap(0), c.misses.Swap(0)
	if hits+misses == 0 {
		return 0, false
	}
	return float64(hits) / float64(hits+misses), true
}

func (c *subjects) aged(s *subject) bool {
	age := clock.Age(c.now(), s.read)
	return age < 0 || age >= subjectLife
}

func (c *subjects) put(s *subject) { c.cache.Add(subjectID{s.tenant, s.hash}, s) }

func (c *subjects) drop(tenant, hash string) { c.cache.Remove(subjectID{tenant, hash}) }

// freshSubject makes a subject that is not stored yet.
func (v *Vault) freshSubject(keys *keyring.Keys, tenant, hash string) (*subject, error) {
	key, wrapped, err := keys.NewSubjectKey(tenant, hash)
	if err != nil {
		return nil, fmt.Errorf("making subject key: %w", err)
	}
	now := v.Clock().UTC()
	sealed, err := rowseal.Seal(keys.RowSeal(), headPlace(tenant, hash),
		headDocument{State: stateActive, Epoch: 1, Key: wrapped, Created: now})
	if err != nil {
		return nil, err
	}
	return &subject{tenant: tenant, hash: hash, key: key, sealed: sealed, read: now}, nil
}

// knownSubject gives a stored subject from cache or table, or
// rowstore.ErrNotFound.
func (v *Vault) knownSubject(ctx context.Context, keys *keyring.Keys, tenant, hash string) (*subject, error) {
	if s := v.subjects.get(tenant, hash); s != nil {
		return s, nil
	}
	return v.readSubject(ctx, keys, tenant, hash)
}

// readSubject reads the head row and, where it is active, the register of
// erasures. ErrErased and rowseal.ErrTampered are final.
func (v *Vault) readSubject(ctx context.Context, keys *keyring.Keys, tenant, hash string) (*subject, error) {
	v.subjects.drop(tenant, hash)
	read := v.Clock()
	row, err := v.Store.Get(ctx, partitionOf(tenant, hash), headKey(hash))
	if err != nil {
		return nil, fmt.Errorf("reading subject head: %w", err)
	}
	var head headDocument
	if err := rowseal.Open(keys.RowSeal(), headPlace(tenant, hash), row.Body, &head); err != nil {
		return nil, err
	}
	if head.State != stateActive {
		return nil, ErrErased
	}
	if err := v.refuseErased(ctx, keys, tenant, hash); err != nil {
		return nil, err
	}
	key, err := v.openSubjectKey(ctx, keys, tenant, hash, head.Key)
	if err != nil {
		return nil, err
	}
	s := &subject{tenant: tenant, hash: hash, key: key, version: row.Version, read: read}
	v.subjects.put(s)
	return s, nil
}

// openSubjectKey unwraps a subject's key. Another process may have wrapped it
// under a generation younger than this copy of the keyring: only where the
// keyring as it stands does not know the generation either is it tampering.
func (v *Vault) openSubjectKey(
	ctx context.Context, keys *keyring.Keys, tenant, hash string, wrapped []byte,
) (envelope.Key, error) {
	key, err := keys.OpenSubjectKey(tenant, hash, wrapped)
	if errors.Is(err, keyring.ErrUnknownKey) {
		if err := v.Keys.Load(ctx); err != nil {
			return envelope.Key{}, fmt.Errorf("looking for a newer keyring: %w", err)
		}
		if keys, err = v.Keys.ForRead(ctx); err != nil {
			return envelope.Key{}, err
		}
		key, err = keys.OpenSubjectKey(tenant, hash, wrapped)
	}
	if err != nil {
		return envelope.Key{}, fmt.Errorf("%w: unwrapping subject key: %w", rowseal.ErrTampered, err)
	}
	return key, nil
}

// headMutation is the part of a transaction that fences erasure: the head is
// inserted, or touched on the condition that it is the version that was read.
func (s *subject) headMutation(write string) rowstore.Mutation {
	row := rowstore.Row{Partition: partitionOf(s.tenant, s.hash), Key: headKey(s.hash)}
	if !s.stored() {
		row.Body = s.sealed
		return rowstore.Mutation{Action: rowstore.Insert, Row: row}
	}
	row.Version = s.version
	row.Attributes = map[string]string{attrTouched: write}
	return rowstore.Mutation{Action: rowstore.Merge, Row: row}
}
