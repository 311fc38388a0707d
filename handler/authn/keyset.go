package authn

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/go-json-experiment/json"
)

const (
	minModulus = 2048
	maxModulus = 4096 // a larger one only makes every verification slow
	exponent   = 65537
)

// jwk is a key as Entra ID publishes it (RFC 7517, with the member "issuer").
// A certificate beside it (x5c) is not looked at: the set is trusted by TLS.
type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"` // Entra ID may leave it out
	KeyID     string `json:"kid"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
	Issuer    string `json:"issuer"`
}

// parseKeySet reads a key set. Keys that this API cannot use are passed over; a
// key id that stands twice spoils the whole set, because it would depend on the
// order which key verifies. The error says nothing of the content.
func parseKeySet(body []byte) (map[string]Key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if tooDeep(body) {
		return nil, errors.New("signing keys are not a key set: too deep")
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("signing keys are not a key set")
	}
	keys := make(map[string]Key, len(set.Keys))
	seen := make(map[string]bool, len(set.Keys))
	for _, k := range set.Keys {
		if k.KeyID != "" && seen[k.KeyID] {
			return nil, errors.New("signing keys have a key id twice")
		}
		seen[k.KeyID] = true
		if !isKeyID(k.KeyID) || k.Issuer == "" {
			continue
		}
		if public, err := k.rsa(); err == nil {
			keys[k.KeyID] = Key{Public: public, Issuer: k.Issuer}
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("signing keys hold no usable key")
	}
	return keys, nil
}

// rsa is the key, where it is one for the signatures that are accepted.
func (k jwk) rsa() (*rsa.PublicKey, error) {
	if k.Type != "RSA" || k.Use != "sig" || k.Algorithm != "" && k.Algorithm != algorithm {
		return nil, errors.New("not an RSA signing key")
	}
	n, err := decodePart(k.Modulus)
	if err != nil {
		return nil, fmt.Errorf("modulus: %w", err)
	}
	e, err := decodePart(k.Exponent)
	if err != nil {
		return nil, fmt.Errorf("exponent: %w", err)
	}
	modulus := new(big.Int).SetBytes(n)
	switch bits := modulus.BitLen(); {
	case bits < minModulus || bits > maxModulus || modulus.Bit(0) == 0:
		return nil, errors.New("modulus is not accepted")
	case new(big.Int).SetBytes(e).Cmp(big.NewInt(exponent)) != 0:
		return nil, errors.New("exponent is not accepted")
	case fromInfineon(modulus):
		return nil, errors.New("modulus can be factored")
	}
	return &rsa.PublicKey{N: modulus, E: exponent}, nil
}
