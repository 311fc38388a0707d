package tokencache

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

const (
	magic   = "VCTC"
	version = 1
	purpose = "secureapi vaultctl token cache"
)

// bind writes words so that no two lists of words look alike.
func bind(words ...string) []byte {
	var out []byte
	for _, word := range append([]string{purpose}, words...) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(word))) // #nosec G115 -- settings of a few bytes
		out = append(out, word...)
	}
	return out
}

func header() []byte { return append([]byte(magic), version) }

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: key: %w", ErrFile, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("%w: key: %w", ErrFile, err)
	}
	return aead, nil
}

// seal draws a nonce for each writing: one key never sees the 2^32 of them that
// random nonces allow.
func seal(key, plain, binding []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(header(), nil, plain, append(header(), binding...)), nil //nolint:gosec // G407: nil asks for a random nonce
}

func open(key, sealed, binding []byte) ([]byte, error) {
	head := header()
	if len(sealed) < len(head) || string(sealed[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it is no token cache", ErrDamaged)
	}
	if sealed[len(magic)] != version {
		return nil, fmt.Errorf("%w: it is of another version", ErrDamaged)
	}
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed[len(head):], append(head, binding...))
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}
