// Package checkpoint is the form in which the audit log's tree head is signed
// and published: a C2SP checkpoint (https://c2sp.org/tlog-checkpoint), which is
// a signed note (https://c2sp.org/signed-note). The form is frozen: what was
// signed once verifies for ever (testdata/golden.json).
//
//	<origin>                    the log's name, an URL without its scheme
//	<size>                      number of leaves, decimal, no leading zero
//	<root>                      base64 of the RFC 6962 tree hash of that size
//	                            an empty line
//	— <origin> <signature>      base64 of key id (4 bytes) | signature
//
// The text is the first three lines with their line feeds. The signature is of
// type 0x02, "ECDSA signatures as implemented by
// github.com/transparency-dev/witness": ECDSA on P-256 over the SHA-256 of the
// text, in ASN.1 DER. The key id of that type is the first 4 bytes of the
// SHA-256 of the public key as DER SubjectPublicKeyInfo; the type's byte is not
// part of it, and stands in a verifier key only:
//
//	<origin>+<key id in hex>+base64(0x02 | SubjectPublicKeyInfo)
//
// Key Vault signs ES256 as r||s (RFC 7518, section 3.4): Sign turns that into
// DER. The vault's key signs rows of the keyring, too; their digest begins with
// a label and a zero byte, which no note can hold.
//
// Trust boundary: whoever holds the public key can check a checkpoint, with this
// package or with any other that knows notes. Parse believes nothing.
package checkpoint

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// signatureType is that of ECDSA in https://c2sp.org/signed-note.
	signatureType = 0x02
	// maxSize bounds a note; one of ours has some 250 bytes.
	maxSize = 64 << 10
	// rawSize is that of an ES256 signature r||s.
	rawSize = 64
)

// The errors of this package.
var (
	// ErrForm: not a checkpoint in this form.
	ErrForm = errors.New("not a checkpoint")
	// ErrSignature: no known key signed it, or one did not.
	ErrSignature = errors.New("checkpoint is not signed by a known key")
)

// Checkpoint is a tree head with its signatures.
type Checkpoint struct {
	Origin string
	Tree   tlog.Tree
	// Signatures are as they came: Verify believes them.
	Signatures []note.Signature
}

// Text is what is signed.
func Text(origin string, tree tlog.Tree) string {
	return origin + "\n" + strconv.FormatInt(tree.N, 10) + "\n" + base64.StdEncoding.EncodeToString(tree.Hash[:]) + "\n"
}

// ValidOrigin says whether a name can be an origin and the name of its key.
func ValidOrigin(origin string) bool {
	return origin != "" && utf8.ValidString(origin) && !strings.ContainsFunc(origin, func(r rune) bool {
		return r == '+' || r < ' ' || unicode.IsSpace(r)
	})
}

// Parse reads a checkpoint. It takes exactly what Marshal would write, so that
// there are no two forms of one checkpoint.
func Parse(b []byte) (Checkpoint, error) {
	if len(b) > maxSize {
		return Checkpoint{}, fmt.Errorf("%w: too long", ErrForm)
	}
	_, err := note.Open(b, note.VerifierList())
	unverified, ok := errors.AsType[*note.UnverifiedNoteError](err)
	if !ok {
		return Checkpoint{}, fmt.Errorf("%w: not a signed note", ErrForm)
	}
	lines := strings.Split(unverified.Note.Text, "\n")
	if len(lines) != 4 {
		return Checkpoint{}, fmt.Errorf("%w: not three lines", ErrForm)
	}
	size, sizeErr := strconv.ParseInt(lines[1], 10, 64)
	root, rootErr := base64.StdEncoding.DecodeString(lines[2])
	if sizeErr != nil || rootErr != nil || size < 0 || len(root) != tlog.HashSize || !ValidOrigin(lines[0]) {
		return Checkpoint{}, fmt.Errorf("%w: origin, size or root", ErrForm)
	}
	c := Checkpoint{Origin: lines[0], Tree: tlog.Tree{N: size, Hash: tlog.Hash(root)}, Signatures: unverified.Note.UnverifiedSigs}
	if again, err := c.Marshal(); err != nil || !bytes.Equal(again, b) {
		return Checkpoint{}, fmt.Errorf("%w: not in its one form", ErrForm)
	}
	return c, nil
}

// Marshal writes a checkpoint.
func (c Checkpoint) Marshal() ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: Text(c.Origin, c.Tree), Sigs: c.Signatures})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	return b, nil
}

// Digest is what the vault's key signs.
func Digest(origin string, tree tlog.Tree) []byte {
	sum := sha256.Sum256([]byte(Text(origin, tree)))
	return sum[:]
}

// Sign makes the checkpoint of an ES256 signature (r||s) over its Digest. It
// does not check the signature: Verify does.
func Sign(origin string, tree tlog.Tree, key *ecdsa.PublicKey, raw []byte) (Checkpoint, error) {
	if !ValidOrigin(origin) || len(raw) != rawSize {
		return Checkpoint{}, fmt.Errorf("%w: origin or signature", ErrForm)
	}
	id, err := KeyID(key)
	if err != nil {
		return Checkpoint{}, err
	}
	der, err := derSignature(raw)
	if err != nil {
		return Checkpoint{}, err
	}
	signature := binary.BigEndian.AppendUint32(nil, id)
	return Checkpoint{Origin: origin, Tree: tree, Signatures: []note.Signature{{
		Name: origin, Hash: id, Base64: base64.StdEncoding.EncodeToString(append(signature, der...)),
	}}}, nil
}

// KeyID is the key id of a public key on P-256.
func KeyID(key *ecdsa.PublicKey) (uint32, error) {
	if key == nil || key.Curve != elliptic.P256() {
		return 0, fmt.Errorf("%w: the key is not on P-256", ErrForm)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return 0, fmt.Errorf("%w: encoding the key: %w", ErrForm, err)
	}
	sum := sha256.Sum256(der)
	return binary.BigEndian.Uint32(sum[:]), nil
}

// VerifierKey writes a key as programs that know notes take it.
func VerifierKey(origin string, key *ecdsa.PublicKey) (string, error) {
	id, err := KeyID(key)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("%w: encoding the key: %w", ErrForm, err)
	}
	return fmt.Sprintf("%s+%08x+%s", origin, id, base64.StdEncoding.EncodeToString(append([]byte{signatureType}, der...))), nil
}

// verifier is a key as package note takes it.
type verifier struct {
	origin string
	id     uint32
	key    *ecdsa.PublicKey
}

func (v verifier) Name() string    { return v.origin }
func (v verifier) KeyHash() uint32 { return v.id }
func (v verifier) Verify(text, signature []byte) bool {
	digest := sha256.Sum256(text)
	return ecdsa.VerifyASN1(v.key, digest[:], signature)
}

// Verify checks that one of keys at least signed the checkpoint under its own
// origin, and that no signature of a known key is wrong.
func (c Checkpoint) Verify(keys ...*ecdsa.PublicKey) error {
	list := make([]note.Verifier, 0, len(keys))
	seen := map[uint32]bool{}
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return err
		}
		if !seen[id] {
			list = append(list, verifier{c.Origin, id, key})
		}
		seen[id] = true
	}
	b, err := c.Marshal()
	if err != nil {
		return err
	}
	if _, err := note.Open(b, note.VerifierList(list...)); err != nil {
		return ErrSignature
	}
	return nil
}

// derSignature turns r||s into ASN.1 DER: SEQUENCE of two INTEGERs, each at
// most 33 bytes, so that every length has one byte.
func derSignature(raw []byte) ([]byte, error) {
	var body []byte
	for _, half := range [][]byte{raw[:rawSize/2], raw[rawSize/2:]} {
		n := new(big.Int).SetBytes(half)
		if n.Sign() == 0 {
			return nil, fmt.Errorf("%w: signature of zero", ErrForm)
		}
		b := n.Bytes()
		if b[0] >= 0x80 {
			b = append([]byte{0}, b...)
		}
		body = append(append(body, 0x02, byte(len(b))), b...) //nolint:gosec // G115: at most 33
	}
	return append([]byte{0x30, byte(len(body))}, body...), nil //nolint:gosec // G115: at most 70
}
