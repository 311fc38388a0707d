// Package memvault is a Key Vault in memory, for tests: real RSA-OAEP-256
// wrapping and real ES256 signatures under keys made when it is made, with
// versions to add and disable and calls to count. It is never linked into the
// handler.
package memvault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"secureapi/handler/keyring"
)

// The names of the two keys.
const (
	WrapKey = "kek"
	SignKey = "sign"
)

// ErrKey: no such version, or it is disabled.
var ErrKey = errors.New("no such key version, or it is disabled")

// Vault implements keyring.KeyWrapper and keyring.Signer.
type Vault struct {
	mu       sync.Mutex
	versions []string
	wrap     map[string]*rsa.PrivateKey
	disabled map[string]bool
	sign     *ecdsa.PrivateKey
	signer   keyring.KeyRef
	calls    int
	down     error
}

// New returns a vault with one version of each key. RSA-2048 keeps tests
// short; the deployment uses RSA-3072.
func New() (*Vault, error) {
	sign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making signing key: %w", err)
	}
	v := &Vault{
		wrap: map[string]*rsa.PrivateKey{}, disabled: map[string]bool{}, sign: sign,
		signer: keyring.KeyRef{Name: SignKey, Version: version()},
	}
	_, err = v.AddVersion()
	return v, err
}

func version() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// AddVersion makes a new version of the wrapping key and returns its name.
func (v *Vault) AddVersion() (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", fmt.Errorf("making wrapping key: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	name := version()
	v.versions = append(v.versions, name)
	v.wrap[name] = key
	return name, nil
}

// Disable makes a version of the wrapping key unusable.
func (v *Vault) Disable(version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.disabled[version] = true
}

// Down makes every call fail with err until Down(nil).
func (v *Vault) Down(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = err
}

// Calls is the number of calls so far.
func (v *Vault) Calls() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

// call counts a call and finds a wrapping key; "" means the newest.
func (v *Vault) call(version string) (string, *rsa.PrivateKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	if v.down != nil {
		return "", nil, v.down
	}
	if version == "" {
		version = v.versions[len(v.versions)-1]
	}
	key, ok := v.wrap[version]
	if !ok || v.disabled[version] {
		return "", nil, ErrKey
	}
	return version, key, nil
}

// Newest implements keyring.KeyWrapper.
func (v *Vault) Newest(context.Context) (keyring.KeyRef, error) {
	name, _, err := v.call("")
	return keyring.KeyRef{Name: WrapKey, Version: name}, err
}

// Wrap implements keyring.KeyWrapper.
func (v *Vault) Wrap(_ context.Context, plaintext []byte) (keyring.KeyRef, []byte, error) {
	name, key, err := v.call("")
	if err != nil {
		return keyring.KeyRef{}, nil, err
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, plaintext, nil)
	return keyring.KeyRef{Name: WrapKey, Version: name}, wrapped, err
}

// Unwrap implements keyring.KeyWrapper.
func (v *Vault) Unwrap(_ context.Context, ref keyring.KeyRef, wrapped []byte) ([]byte, error) {
	if ref.Name != WrapKey || ref.Version == "" {
		return nil, ErrKey
	}
	_, key, err := v.call(ref.Version)
	if err != nil {
		return nil, err
	}
	return rsa.DecryptOAEP(sha256.New(), nil, key, wrapped, nil)
}

// Sign implements keyring.Signer.
func (v *Vault) Sign(_ context.Context, digest []byte) (keyring.KeyRef, []byte, error) {
	if _, _, err := v.call(""); err != nil {
		return keyring.KeyRef{}, nil, err
	}
	r, s, err := ecdsa.Sign(rand.Reader, v.sign, digest)
	if err != nil {
		return keyring.KeyRef{}, nil, fmt.Errorf("signing: %w", err)
	}
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return v.signer, raw, nil
}

// PublicKey implements keyring.Signer: for its own signing key only.
func (v *Vault) PublicKey(_ context.Context, ref keyring.KeyRef) (*ecdsa.PublicKey, error) {
	if _, _, err := v.call(""); err != nil {
		return nil, err
	}
	if ref != v.signer {
		return nil, ErrKey
	}
	return &v.sign.PublicKey, nil
}
