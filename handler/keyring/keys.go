package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/go-json-experiment/json"

	"secureapi/handler/envelope"
)

// secret is one standing secret: random material with a random id.
type secret struct {
	ID       []byte `json:"id"`
	Material []byte `json:"material"`
}

// secrets are the standing secrets. Their values survive every rotation: each
// generation seals the same ones under its own root.
type secrets struct {
	Locator   secret `json:"locator"`
	Index     secret `json:"index"`
	RowSeal   secret `json:"rowSeal"`
	Message   secret `json:"message"`
	Pseudonym secret `json:"pseudonym"`
	Cursor    secret `json:"cursor"`
	AuditMAC  secret `json:"auditMac"`
}

// Keys is an immutable snapshot of the opened keyring. Safe for concurrent use.
type Keys struct {
	rows      []*generationRow
	current   uint32
	wrapping  map[envelope.KeyID]envelope.Key // subject-wrapping key of each generation
	sealing   envelope.Key                    // the current generation's
	standing  secrets
	rowSeal   envelope.Key
	message   envelope.Key
	cursor    envelope.Key
	pseudonym *macs
	auditMAC  []byte
	locator   *macs
}

// open verifies and unwraps every generation.
func (k *Keyring) open(ctx context.Context, rows []*generationRow) (*Keys, error) {
	keys := &Keys{rows: rows, wrapping: map[envelope.KeyID]envelope.Key{}}
	for i, row := range rows {
		if err := k.verify(ctx, row); err != nil {
			return nil, err
		}
		root, err := k.Wrapper.Unwrap(ctx, row.document.WrappedBy, row.document.Root)
		if err != nil {
			return nil, fmt.Errorf("unwrapping root of generation %d: %w", row.document.Generation, err)
		}
		standing, wrapping, err := openGeneration(row.document, root)
		clear(root)
		if err != nil {
			return nil, fmt.Errorf("%w: generation %d: %w", ErrForged, row.document.Generation, err)
		}
		if i > 0 && !keys.standing.equal(standing) {
			return nil, fmt.Errorf("%w: generation %d has other standing secrets", ErrForged, row.document.Generation)
		}
		keys.standing, keys.sealing, keys.current = standing, wrapping, row.document.Generation
		keys.wrapping[wrapping.ID] = wrapping
	}
	return keys, keys.spread()
}

// spread makes the working keys of the standing secrets.
func (k *Keys) spread() error {
	var err error
	use := func(s secret) envelope.Key {
		if len(s.ID) != envelope.KeyIDSize {
			err = errors.New("standing secret without an id")
			return envelope.Key{}
		}
		key, keyErr := envelope.KeyFrom(envelope.KeyID(s.ID), s.Material)
		if keyErr != nil {
			err = fmt.Errorf("standing secret: %w", keyErr)
		}
		return key
	}
	k.rowSeal, k.message, k.cursor = use(k.standing.RowSeal), use(k.standing.Message), use(k.standing.Cursor)
	locator, pseudonym, audit := use(k.standing.Locator), use(k.standing.Pseudonym), use(k.standing.AuditMAC)
	use(k.standing.Index)
	if err != nil {
		return err
	}
	k.locator = newMACs(locator.Derive("locator", sha256.Size))
	k.pseudonym = newMACs(pseudonym.Derive("pseudonym", sha256.Size))
	k.auditMAC = audit.Derive("audit MAC", sha256.Size)
	return nil
}

const (
	secretsLabel = "keyring secrets"
	subjectLabel = "subject key"
)

// openGeneration gives the standing secrets and the subject-wrapping key.
func openGeneration(d generation, root []byte) (secrets, envelope.Key, error) {
	var standing secrets
	rootKey, wrapping, err := rootKeys(d, root)
	if err != nil {
		return standing, envelope.Key{}, err
	}
	plaintext, err := envelope.Open(rootKey, secretsContext(d.Generation), d.Secrets)
	if err != nil {
		return standing, envelope.Key{}, fmt.Errorf("opening standing secrets: %w", err)
	}
	defer clear(plaintext)
	if err := json.Unmarshal(plaintext, &standing, json.RejectUnknownMembers(true)); err != nil {
		return standing, envelope.Key{}, errors.New("standing secrets unreadable")
	}
	return standing, wrapping, nil
}

// rootKeys derives a generation's two working keys from its root.
func rootKeys(d generation, root []byte) (rootKey, wrapping envelope.Key, err error) {
	if len(d.WrappingID) != envelope.KeyIDSize {
		return rootKey, wrapping, errors.New("generation without a wrapping key id")
	}
	id := envelope.KeyID(d.WrappingID)
	base, err := envelope.KeyFrom(id, root)
	if err != nil {
		return rootKey, wrapping, fmt.Errorf("root key: %w", err)
	}
	if rootKey, err = envelope.KeyFrom(id, base.Derive("standing secrets", sha256.Size)); err != nil {
		return rootKey, wrapping, fmt.Errorf("secrets key: %w", err)
	}
	if wrapping, err = envelope.KeyFrom(id, base.Derive("subject wrapping", sha256.Size)); err != nil {
		return rootKey, wrapping, fmt.Errorf("subject-wrapping key: %w", err)
	}
	return rootKey, wrapping, nil
}

func secretsContext(generation uint32) envelope.Context {
	return envelope.Context{Label: secretsLabel, Table: Table, Partition: partition, Row: rowKey(generation)}
}

func (s secrets) equal(o secrets) bool {
	a, b := s.all(), o.all()
	same := true
	for i := range a {
		same = hmac.Equal(a[i].ID, b[i].ID) && hmac.Equal(a[i].Material, b[i].Material) && same
	}
	return same
}

func (s secrets) all() []secret {
	return []secret{s.Locator, s.Index, s.RowSeal, s.Message, s.Pseudonym, s.Cursor, s.AuditMAC}
}

// Generation is the one that new subjects are sealed under.
func (k *Keys) Generation() uint32 { return k.current }

// RowSeal, Message and Cursor are the keys of sealed rows, queue messages and
// page cursors.
func (k *Keys) RowSeal() envelope.Key { return k.rowSeal }

// Message is the key of queue messages.
func (k *Keys) Message() envelope.Key { return k.message }

// Cursor is the key of page cursors.
func (k *Keys) Cursor() envelope.Key { return k.cursor }

// AuditMAC is the key that audit entries are MACed with. Not to be changed.
func (k *Keys) AuditMAC() []byte { return k.auditMAC }

// SubjectHash is the keyed hash that stands for a data subject in row keys:
// 64 lower-case hex digits.
func (k *Keys) SubjectHash(tenant, subject string) string {
	return k.locator.hex("subject", tenant, subject)
}

// TokenHash is the keyed hash that stands for a token in row keys.
func (k *Keys) TokenHash(tenant, token string) string { return k.locator.hex("token", tenant, token) }

// Pseudonym is a keyed hash for what has no subject key of its own.
func (k *Keys) Pseudonym(parts ...string) string {
	return k.pseudonym.hex("pseudonym", parts...)[:32]
}

// Digest is a keyed hash of parts, for comparing requests without keeping them.
func (k *Keys) Digest(label string, parts ...[]byte) [sha256.Size]byte {
	return k.locator.sum("digest/"+label, parts...)
}

// NewSubjectKey makes a random key for a data subject and seals it under the
// current generation, bound to tenant and subject.
func (k *Keys) NewSubjectKey(tenant, subjectHash string) (envelope.Key, []byte, error) {
	key := envelope.NewKey()
	plaintext := append(key.ID[:], key.Material()...)
	defer clear(plaintext)
	wrapped, err := envelope.Seal(k.sealing, subjectContext(tenant, subjectHash), plaintext)
	if err != nil {
		return envelope.Key{}, nil, fmt.Errorf("sealing subject key: %w", err)
	}
	return key, wrapped, nil
}

// OpenSubjectKey opens what NewSubjectKey sealed, under any generation.
func (k *Keys) OpenSubjectKey(tenant, subjectHash string, wrapped []byte) (envelope.Key, error) {
	id, err := envelope.ID(wrapped)
	if err != nil {
		return envelope.Key{}, fmt.Errorf("wrapped subject key: %w", err)
	}
	wrapping, ok := k.wrapping[id]
	if !ok {
		return envelope.Key{}, ErrUnknownKey
	}
	plaintext, err := envelope.Open(wrapping, subjectContext(tenant, subjectHash), wrapped)
	if err != nil {
		return envelope.Key{}, fmt.Errorf("opening subject key: %w", err)
	}
	defer clear(plaintext)
	if len(plaintext) < envelope.KeyIDSize {
		return envelope.Key{}, envelope.ErrMalformed
	}
	return envelope.KeyFrom(envelope.KeyID(plaintext[:envelope.KeyIDSize]), plaintext[envelope.KeyIDSize:])
}

func subjectContext(tenant, subjectHash string) envelope.Context {
	return envelope.Context{Label: subjectLabel, Tenant: tenant, Subject: subjectHash}
}

// macs computes HMAC-SHA256 under one key, reusing keyed states: tokenizing
// hashes about sixteen drawn tokens per value.
type macs struct{ pool sync.Pool }

func newMACs(key []byte) *macs {
	return &macs{pool: sync.Pool{New: func() any { return &macState{hash: hmac.New(sha256.New, key)} }}}
}

type macState struct {
	hash hash.Hash
	buf  []byte
}

// sum hashes the label and the parts, each behind its length.
func (m *macs) sum(label string, parts ...[]byte) [sha256.Size]byte {
	s, _ := m.pool.Get().(*macState)
	defer m.pool.Put(s)
	s.hash.Reset()
	s.buf = appendField(s.buf[:0], label)
	for _, part := range parts {
		s.buf = appendField(s.buf, part)
	}
	return s.finish()
}

func (m *macs) hex(label string, parts ...string) string {
	s, _ := m.pool.Get().(*macState)
	defer m.pool.Put(s)
	s.hash.Reset()
	s.buf = appendField(s.buf[:0], label)
	for _, part := range parts {
		s.buf = appendField(s.buf, part)
	}
	sum := s.finish()
	return hex.EncodeToString(sum[:])
}

func (s *macState) finish() (sum [sha256.Size]byte) {
	s.hash.Write(s.buf)
	s.hash.Sum(sum[:0])
	clear(s.buf)
	return sum
}

func appendField[T string | []byte](b []byte, field T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field))) //nolint:gosec // G115: bounded far below 4 GiB by the callers' limits
	return append(b, field...)
}
