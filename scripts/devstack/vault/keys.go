package vault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// The names of the two keys, as infra creates them.
const (
	WrapKey = "kek"
	SignKey = "sign"
)

// wrapBits is the modulus of the wrapping key.
const wrapBits = 3072

// version is one version of a key.
type version struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
	Enabled bool      `json:"enabled"`
	PKCS8   []byte    `json:"pkcs8"`

	private crypto.Signer
}

func newVersion(name string, now time.Time) (*version, error) {
	var private crypto.Signer
	var err error
	if name == SignKey {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, wrapBits)
	}
	if err != nil {
		return nil, fmt.Errorf("making key %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encoding key %s: %w", name, err)
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return &version{
		ID: hex.EncodeToString(id[:]), Created: now, Updated: now, Enabled: true, PKCS8: der, private: private,
	}, nil
}

func (v *version) restore() error {
	key, err := x509.ParsePKCS8PrivateKey(v.PKCS8)
	if err != nil {
		return fmt.Errorf("decoding a stored key: %w", err)
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("decoding a stored key: not a private key")
	}
	v.private = private
	return nil
}

// wrap is RSA-OAEP-256 without a label, as Key Vault does it.
func (v *version) wrap(key *rsa.PrivateKey, value []byte) ([]byte, error) {
	return rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, value, nil)
}

func (v *version) unwrap(key *rsa.PrivateKey, value []byte) ([]byte, error) {
	return rsa.DecryptOAEP(sha256.New(), nil, key, value, nil)
}

// sign is ES256: the raw concatenation r||s of 32 bytes each.
func (v *version) sign(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// public is the key as Key Vault answers it.
func (v *version) public(kid string) map[string]any {
	encode := base64.RawURLEncoding.EncodeToString
	switch key := v.private.(type) {
	case *rsa.PrivateKey:
		return map[string]any{
			"kid": kid, "kty": "RSA", "key_ops": []string{"wrapKey", "unwrapKey"},
			"n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
		}
	case *ecdsa.PrivateKey:
		point, err := key.PublicKey.Bytes() // 0x04 | x | y
		if err != nil {
			return nil
		}
		return map[string]any{
			"kid": kid, "kty": "EC", "key_ops": []string{"sign", "verify"}, "crv": "P-256",
			"x": encode(point[1:33]), "y": encode(point[33:]),
		}
	}
	return nil
}

func (v *version) attributes() map[string]any {
	return map[string]any{
		"enabled": v.Enabled, "created": v.Created.Unix(), "updated": v.Updated.Unix(),
		"recoveryLevel": "CustomizedRecoverable", "recoverableDays": 90, "exportable": false,
	}
}

// load reads the stored keys, or makes the first version of each.
func (s *Server) load() error {
	s.keys = map[string][]*version{}
	if s.stateFile != "" {
		data, err := os.ReadFile(s.stateFile) // #nosec G304 -- the stack's own state folder
		switch {
		case err == nil:
			return s.restore(data)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("reading the vault's keys: %w", err)
		}
	}
	var wrapping, signing *version
	var group errgroup.Group
	group.Go(func() (err error) { wrapping, err = newVersion(WrapKey, s.now()); return err })
	group.Go(func() (err error) { signing, err = newVersion(SignKey, s.now()); return err })
	if err := group.Wait(); err != nil {
		return err
	}
	s.keys[WrapKey], s.keys[SignKey] = []*version{wrapping}, []*version{signing}
	return s.save()
}

func (s *Server) restore(data []byte) error {
	if err := json.Unmarshal(data, &s.keys); err != nil {
		return fmt.Errorf("decoding the vault's keys: %w", err)
	}
	for _, name := range []string{WrapKey, SignKey} {
		if len(s.keys[name]) == 0 {
			return fmt.Errorf("decoding the vault's keys: %s is missing", name)
		}
		for _, v := range s.keys[name] {
			if err := v.restore(); err != nil {
				return err
			}
		}
	}
	return nil
}

// save replaces the state file as a whole: a key that is lost takes everything
// that was ever sealed with it.
func (s *Server) save() error {
	if s.stateFile == "" {
		return nil
	}
	data, err := json.Marshal(s.keys)
	if err != nil {
		return fmt.Errorf("encoding the vault's keys: %w", err)
	}
	temporary := s.stateFile + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("writing the vault's keys: %w", err)
	}
	if err := os.Rename(temporary, s.stateFile); err != nil {
		return fmt.Errorf("writing the vault's keys: %w", err)
	}
	return nil
}

// AddVersion makes a newer version of a key and returns its id.
func (s *Server) AddVersion(name string) (string, error) {
	v, err := newVersion(name, s.now())
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys[name]) == 0 {
		return "", fmt.Errorf("adding a key version: no key %q", name)
	}
	s.keys[name] = append(s.keys[name], v)
	return v.ID, s.save()
}

// SetEnabled enables or disables one version of a key.
func (s *Server) SetEnabled(name, id string, enabled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.keys[name], func(v *version) bool { return v.ID == id })
	if i < 0 {
		return errors.New("changing a key version: there is no such version")
	}
	changed := *s.keys[name][i]
	changed.Enabled, changed.Updated = enabled, s.now()
	s.keys[name][i] = &changed
	return s.save()
}

// Versions lists the ids of a key's versions, oldest first.
func (s *Server) Versions(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.keys[name]))
	for _, v := range s.keys[name] {
		ids = append(ids, v.ID)
	}
	return ids
}

// find returns a version of a key, the newest for "".
func (s *Server) find(name, id string) (*version, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	versions := s.keys[name]
	if len(versions) == 0 {
		return nil, false
	}
	if id == "" {
		return versions[len(versions)-1], true
	}
	i := slices.IndexFunc(versions, func(v *version) bool { return v.ID == id })
	if i < 0 {
		return nil, false
	}
	return versions[i], true
}
