package keyring

import (
	"crypto/sha256"
	"fmt"
	"log/slog"

	"secureapi/handler/envelope"
)

// Keys is an immutable snapshot of the opened keyring. Safe for concurrent
// use. It is for the call at hand: whoever keeps it goes round the limits of
// ForWrite and ForRead.
type Keys struct {
	generations []*opened // ascending; the last is current
	wrapping    map[envelope.KeyID]envelope.Key
	standing    *standing
}

// String, GoString, Format, LogValue and MarshalText keep the keys out of
// every output.
func (Keys) String() string               { return "[keys]" }
func (Keys) GoString() string             { return "[keys]" }
func (Keys) LogValue() slog.Value         { return slog.StringValue("[keys]") }
func (Keys) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte("[keys]")) }
func (Keys) MarshalText() ([]byte, error) { return []byte("[keys]"), nil }

func (k *Keys) current() *opened { return k.generations[len(k.generations)-1] }

// Generation is the one that new subject keys are sealed under.
func (k *Keys) Generation() uint32 { return k.current().row.document.Generation }

// RowSeal is the key of sealed rows.
func (k *Keys) RowSeal() envelope.Key { return k.standing.rowSeal }

// Message is the key of queue messages.
func (k *Keys) Message() envelope.Key { return k.standing.message }

// Cursor is the key of page cursors.
func (k *Keys) Cursor() envelope.Key { return k.standing.cursor }

// AuditMAC is the key that audit entries are MACed with.
func (k *Keys) AuditMAC() []byte { return k.standing.auditMAC.Material() }

// SubjectHash is the keyed hash that stands for a data subject in row keys:
// 64 lower-case hex digits. Row keys rest on it, so it is frozen.
func (k *Keys) SubjectHash(tenant, subject string) string {
	return k.standing.locator.hex("subject", tenant, subject)
}

// TokenHash is the keyed hash that stands for a token in row keys, frozen too.
func (k *Keys) TokenHash(tenant, token string) string {
	return k.standing.locator.hex("token", tenant, token)
}

// pseudonymSize is 128 bits in hex: enough that no two things share one.
const pseudonymSize = 32

// Pseudonym is a keyed hash for what has no subject key of its own.
func (k *Keys) Pseudonym(parts ...string) string {
	return k.standing.pseudonym.hex("pseudonym", parts...)[:pseudonymSize]
}

// Digest is a keyed hash of parts, for comparing requests without keeping them.
func (k *Keys) Digest(label string, parts ...[]byte) [sha256.Size]byte {
	return k.standing.locator.sum("digest/"+label, parts...)
}

// NewSubjectKey makes a random key for a data subject and seals it under the
// current generation, bound to tenant and subject.
func (k *Keys) NewSubjectKey(tenant, subjectHash string) (envelope.Key, []byte, error) {
	key := envelope.NewKey()
	material := key.Material()
	defer clear(material)
	plaintext := append(append(make([]byte, 0, envelope.KeyIDSize+len(material)), key.ID[:]...), material...)
	defer clear(plaintext)
	wrapped, err := envelope.Seal(k.current().wrapping, subjectContext(tenant, subjectHash), plaintext)
	if err != nil {
		return envelope.Key{}, nil, fmt.Errorf("sealing subject key: %w", err)
	}
	return key, wrapped, nil
}

// OpenSubjectKey opens what NewSubjectKey sealed, under any generation held.
// ErrUnknownKey where the generation is not; any other error means that the
// bytes are not this subject's key.
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
		return envelope.Key{}, fmt.Errorf("subject key: %w", envelope.ErrMalformed)
	}
	key, err := envelope.KeyFrom(envelope.KeyID(plaintext[:envelope.KeyIDSize]), plaintext[envelope.KeyIDSize:])
	if err != nil {
		return envelope.Key{}, fmt.Errorf("subject key: %w: %w", envelope.ErrMalformed, err)
	}
	return key, nil
}

// subjectContext names no row: tenant and subject hash are the place, whatever
// table the head comes to stand in.
func subjectContext(tenant, subjectHash string) envelope.Context {
	return envelope.Context{Label: "subject key", Tenant: tenant, Subject: subjectHash}
}

// madeFrom reports whether the copy was opened from exactly these rows.
func (k *Keys) madeFrom(rows []*generationRow) bool {
	if k == nil || len(k.generations) != len(rows) {
		return false
	}
	for i, row := range rows {
		if !k.generations[i].row.same(row) {
			return false
		}
	}
	return true
}
