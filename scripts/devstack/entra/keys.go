package entra

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// keyBits is the size of Entra's signing keys.
const keyBits = 2048

// signingKey is a key that a tenant publishes; the newest one signs.
type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

// keyRing holds the keys of the tenants, newest last.
type keyRing struct {
	mu   sync.RWMutex
	keys map[string][]signingKey
	// extra is what a tenant publishes besides; see Publish.
	extra map[string][]map[string]any
}

func newKeyRing(tenants ...string) (*keyRing, error) {
	made := make([]signingKey, len(tenants))
	var group errgroup.Group
	for i := range tenants {
		group.Go(func() (err error) {
			made[i], err = newSigningKey()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	ring := &keyRing{keys: map[string][]signingKey{}}
	for i, tenant := range tenants {
		ring.keys[tenant] = made[i : i+1 : i+1]
	}
	return ring, nil
}

func newSigningKey() (signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return signingKey{}, fmt.Errorf("making a signing key: %w", err)
	}
	sum := sha256.Sum256(private.N.Bytes())
	return signingKey{base64.RawURLEncoding.EncodeToString(sum[:20]), private}, nil
}

func (k *keyRing) current(tenant string) (signingKey, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	keys := k.keys[tenant]
	if len(keys) == 0 {
		return signingKey{}, false
	}
	return keys[len(keys)-1], true
}

func (k *keyRing) find(tenant, id string) (*rsa.PublicKey, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, key := range k.keys[tenant] {
		if key.id == id {
			return &key.private.PublicKey, true
		}
	}
	return nil, false
}

// Rotate gives a tenant a new signing key and returns its id. The old keys stay
// published until Retire, as in Entra.
func (s *Server) Rotate(tenant string) (string, error) {
	if !knownTenant(tenant) {
		return "", errors.New("rotating a signing key: no such tenant")
	}
	key, err := newSigningKey()
	if err != nil {
		return "", err
	}
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
	s.ring.keys[tenant] = append(s.ring.keys[tenant], key)
	return key.id, nil
}

// Retire takes a key out of what the tenant publishes. The newest one stays.
func (s *Server) Retire(tenant, kid string) error {
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
	keys := s.ring.keys[tenant]
	i := slices.IndexFunc(keys, func(k signingKey) bool { return k.id == kid })
	if i < 0 || i == len(keys)-1 {
		return errors.New("retiring a signing key: not a former key of that tenant")
	}
	s.ring.keys[tenant] = slices.Delete(slices.Clone(keys), i, i+1)
	return nil
}

// KeyID is the id of the key with which the tenant signs now.
func (s *Server) KeyID(tenant string) string {
	key, _ := s.ring.current(tenant)
	return key.id
}

// SignRS256 signs as the tenant does: for tokens that are wrong in any other way
// than in their signature.
func (s *Server) SignRS256(tenant string, input []byte) ([]byte, error) {
	key, ok := s.ring.current(tenant)
	if !ok {
		return nil, errors.New("signing a token: no such tenant")
	}
	digest := sha256.Sum256(input)
	return rsa.SignPKCS1v15(rand.Reader, key.private, crypto.SHA256, digest[:])
}

// jwk is a published key as Entra writes it; x5c is left out.
type jwk struct {
	Kty    string `json:"kty"`
	Use    string `json:"use"`
	Kid    string `json:"kid"`
	X5t    string `json:"x5t"`
	N      string `json:"n"`
	E      string `json:"e"`
	Issuer string `json:"issuer"`
	Alg    string `json:"alg"`
}

func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	if !knownTenant(tenant) {
		fail(w, http.StatusBadRequest, "invalid_tenant", "AADSTS90002: Tenant not found.")
		return
	}
	s.ring.mu.RLock()
	keys := s.ring.keys[tenant]
	published := make([]any, 0, len(keys))
	for _, key := range keys {
		published = append(published, jwk{
			Kty: "RSA", Use: "sig", Kid: key.id, X5t: key.id, Alg: algorithm,
			N:      base64.RawURLEncoding.EncodeToString(key.private.N.Bytes()),
			E:      base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.private.E)).Bytes()),
			Issuer: issuerV2(tenant),
		})
	}
	for _, entry := range s.ring.extra[tenant] {
		published = append(published, entry)
	}
	s.ring.mu.RUnlock()
	reply(w, http.StatusOK, map[string]any{"keys": published})
}
