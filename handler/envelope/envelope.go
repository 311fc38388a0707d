// Package envelope is the wire format of everything that the vault keeps
// sealed: values, rows, messages and chunks. It holds no state and does no I/O.
//
// A sealed envelope, all lengths in bytes:
//
//	 0       4   5   6          22        54            86              n
//	┌────────┬───┬───┬──────────┬─────────┬─────────────┬───────────────┐
//	│ magic  │ver│alg│ key id   │ salt    │ commitment  │ nonce|ct|tag  │
//	│ "SAPI" │ 1 │ 1 │ 16       │ 32      │ 32          │ 12 + n + 16   │
//	└────────┴───┴───┴──────────┴─────────┴─────────────┴───────────────┘
//
// Version 1, algorithm 1: AES-256-GCM with a random nonce, under a record key
// that is used for this one seal. HKDF-SHA256 (RFC 5869) takes the long-lived
// key, the random salt, and as info the length-prefixed label, format, tenant,
// table and class; it gives 64 bytes, record key and commitment. The
// commitment makes a ciphertext open under one key only (AES-GCM alone does
// not commit to its key), and tells "wrong key" from "altered" without oracle.
//
// The additional data binds the ciphertext to its place: the 86 header bytes
// and every field of Context, each length-prefixed, so that a row swapped,
// repointed or given another counter does not open. The format is frozen:
// what version 1 sealed opens for ever (testdata/golden.json).
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
)

const (
	magic            = "SAPI"
	version     byte = 1
	aes256GCM   byte = 1
	format           = "secureapi/envelope/v1"
	saltSize         = 32
	keySize          = 32
	commitSize       = 32
	offVersion       = len(magic)
	offAlg           = offVersion + 1
	offKeyID         = offAlg + 1
	offSalt          = offKeyID + KeyIDSize
	offCommit        = offSalt + saltSize
	headerSize       = offCommit + commitSize
	gcmOverhead      = 12 + 16

	// KeyIDSize is the length of a key id.
	KeyIDSize = 16
	// Overhead is what sealing adds to a plaintext.
	Overhead = headerSize + gcmOverhead
	// MaxPlaintext is the largest plaintext that Seal takes: an upload part
	// of 8 MiB with room for its framing.
	MaxPlaintext = 12 << 20
)

// The errors of Open. None says anything about the plaintext.
var (
	// ErrMalformed: not an envelope of a known version.
	ErrMalformed = errors.New("malformed envelope")
	// ErrKey: sealed under another key than the one given.
	ErrKey = errors.New("envelope is sealed under another key")
	// ErrForged: the key is right but content, header or place is not.
	ErrForged = errors.New("envelope does not belong here or was altered")
	// ErrTooLarge: the plaintext is over MaxPlaintext.
	ErrTooLarge = errors.New("plaintext too large to seal")
)

// KeyID names a key. It is random, so that it says nothing about when or for
// whom the key was made.
type KeyID [KeyIDSize]byte

// Key is a long-lived key from which record keys are derived. Its material
// never leaves this package but through Material, and never prints.
type Key struct {
	ID       KeyID
	material *material
}

// material stands behind two pointers, because fmt calls no method on a Key in
// an unexported field of another struct: it prints by reflection, and a verb
// that does not fit makes it follow one pointer.
type material struct{ bytes *[keySize]byte }

func newMaterial() *material { return &material{new([keySize]byte)} }

// NewKey makes a random key with a random id.
func NewKey() Key {
	k := Key{material: newMaterial()}
	// crypto/rand.Read never fails: it ends the process instead.
	_, _ = rand.Read(k.ID[:])
	_, _ = rand.Read(k.material.bytes[:])
	return k
}

// KeyFrom gives material (32 bytes) an id. The caller wipes its own copy. All
// zeros are refused: they are a buffer that nobody filled, not a secret.
func KeyFrom(id KeyID, material []byte) (Key, error) {
	if len(material) != keySize {
		return Key{}, fmt.Errorf("key material of %d bytes, want %d", len(material), keySize)
	}
	var zero [keySize]byte
	if subtle.ConstantTimeCompare(material, zero[:]) == 1 {
		return Key{}, errors.New("key material is all zeros")
	}
	k := Key{ID: id, material: newMaterial()}
	copy(k.material.bytes[:], material)
	return k, nil
}

// Material is a copy of the secret itself, for wrapping under another key. The
// caller wipes it after that. The zero key has none.
func (k Key) Material() []byte {
	if k.IsZero() {
		return nil
	}
	return append([]byte(nil), k.material.bytes[:]...)
}

// Derive gives n bytes bound to the label and the parts, for uses other than
// sealing (keyed hashes, pseudonyms). Different labels never give related
// bytes. Deriving from the zero key panics: what it gave would be no secret.
//
// It is HKDF-SHA256 with the key id as salt; info is "derive/" + label and the
// parts, length-prefixed. No Context has a Label that begins with "derive/".
func (k Key) Derive(label string, n int, parts ...string) []byte {
	if k.IsZero() {
		panic("envelope: derive from the zero key")
	}
	info := appendField(nil, "derive/"+label)
	for _, part := range parts {
		info = appendField(info, part)
	}
	out, err := expand(k.material.bytes[:], k.ID[:], info, n)
	if err != nil {
		// Only n > 255*32 can fail, a programming error.
		panic("envelope: derive: " + err.Error())
	}
	return out
}

// IsZero reports whether k was never set. A zero key seals and opens nothing.
func (k Key) IsZero() bool { return k.material == nil }

// String, GoString, Format and LogValue keep the material out of every output.
func (Key) String() string               { return "[key]" }
func (Key) GoString() string             { return "[key]" }
func (Key) LogValue() slog.Value         { return slog.StringValue("[key]") }
func (Key) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte("[key]")) }
func (Key) MarshalText() ([]byte, error) { return []byte("[key]"), nil }

// Context is the place and meaning of what is sealed. Sealing and opening
// must name the same Context to the byte.
type Context struct {
	// Label separates kinds of plaintext: "value", "row", "message", "chunk".
	Label string
	// Tenant is the owner's tenant id, "" for what belongs to no tenant.
	Tenant string
	// Table is the table, queue or container that holds the envelope.
	Table string
	// Partition and Row are its keys there (or the blob's name as Row).
	Partition, Row string
	// Class is the data class of a value or the kind of a row.
	Class string
	// Subject is the keyed hash of the data subject, "" where there is none.
	Subject string
	// Counter is the row's counter, so that an older body does not open
	// beside a newer counter.
	Counter uint64
}

// Seal encrypts plaintext for the context. Each call makes its own record key.
func Seal(key Key, c Context, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxPlaintext {
		return nil, ErrTooLarge
	}
	out := make([]byte, headerSize, headerSize+gcmOverhead+len(plaintext))
	copy(out, magic)
	out[offVersion], out[offAlg] = version, aes256GCM
	copy(out[offKeyID:], key.ID[:])
	_, _ = rand.Read(out[offSalt:offCommit])
	aead, commitment, err := recordKey(key, c, out[offSalt:offCommit])
	if err != nil {
		return nil, err
	}
	copy(out[offCommit:], commitment)
	return aead.Seal(out, nil, plaintext, additionalData(out[:headerSize], c)), nil //nolint:gosec // G407: nil asks for a random nonce
}

// Open gives the plaintext of an envelope that Seal made with the same key
// and context, or ErrMalformed, ErrKey or ErrForged.
func Open(key Key, c Context, sealed []byte) ([]byte, error) {
	id, err := ID(sealed)
	if err != nil {
		return nil, err
	}
	if id != key.ID {
		return nil, ErrKey
	}
	aead, commitment, err := recordKey(key, c, sealed[offSalt:offCommit])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment, sealed[offCommit:headerSize]) != 1 {
		return nil, ErrForged
	}
	plaintext, err := aead.Open(nil, nil, sealed[headerSize:], additionalData(sealed[:headerSize], c))
	if err != nil {
		return nil, ErrForged
	}
	return plaintext, nil
}

// ID reads which key an envelope is sealed under, without opening it. The
// answer is a hint for finding the key, not yet believed.
func ID(sealed []byte) (KeyID, error) {
	var id KeyID
	if len(sealed) < Overhead || len(sealed) > Overhead+MaxPlaintext {
		return id, ErrMalformed
	}
	if string(sealed[:offVersion]) != magic || sealed[offVersion] != version || sealed[offAlg] != aes256GCM {
		return id, ErrMalformed
	}
	copy(id[:], sealed[offKeyID:offSalt])
	return id, nil
}

// recordKey derives the one-time AEAD and the commitment. The caller's key is
// never used as an AES key itself.
func recordKey(key Key, c Context, salt []byte) (cipher.AEAD, []byte, error) {
	if key.IsZero() {
		return nil, nil, errors.New("envelope: the zero key")
	}
	info := make([]byte, 0, 160)
	for _, field := range [...]string{c.Label, format, c.Tenant, c.Table, c.Class} {
		info = appendField(info, field)
	}
	derived, err := expand(key.material.bytes[:], salt, info, keySize+commitSize)
	if err != nil {
		return nil, nil, fmt.Errorf("deriving record key: %w", err)
	}
	aead, err := newAEAD(derived[:keySize])
	if err != nil {
		return nil, nil, err
	}
	return aead, derived[keySize:], nil
}

// expand is HKDF-SHA256 (RFC 5869), the one key derivation of the formats.
func expand(secret, salt, info []byte, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, salt, string(info), n)
}

// newAEAD is AES-256-GCM with a random nonce of 12 bytes before the ciphertext
// and a tag of 16 behind it. A shorter key would be another AES.
func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("record cipher: a key of %d bytes, want %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("record cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("record cipher mode: %w", err)
	}
	return aead, nil
}

func additionalData(header []byte, c Context) []byte {
	aad := make([]byte, 0, 384)
	aad = append(aad, header...)
	for _, field := range [...]string{c.Label, c.Tenant, c.Table, c.Partition, c.Row, c.Class, c.Subject} {
		aad = appendField(aad, field)
	}
	return binary.BigEndian.AppendUint64(aad, c.Counter)
}

// appendField writes a field behind its length, so that no two lists of
// fields ever give the same bytes.
func appendField(b []byte, field string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field))) //nolint:gosec // G115: fields are bounded far below 4 GiB by their owners
	return append(b, field...)
}
