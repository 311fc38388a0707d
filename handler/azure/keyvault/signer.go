package keyvault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"secureapi/handler/keyring"
)

const (
	// coordinate is the size of a P-256 coordinate.
	coordinate = 32
	// signatureSize is that of an ES256 signature, r||s (RFC 7518, section 3.4).
	signatureSize = 2 * coordinate
)

// Signer is keyring's Signer over one EC P-256 key of the vault.
type Signer struct{ key }

// Signer gives the signer of the key called name.
func (v *Vault) Signer(name string) (*Signer, error) {
	k, err := v.key(name)
	if err != nil {
		return nil, fmt.Errorf("key vault signing key: %w", err)
	}
	return &Signer{k}, nil
}

// Sign signs a SHA-256 digest with the newest enabled version and says which.
func (s *Signer) Sign(ctx context.Context, digest []byte) (keyring.KeyRef, []byte, error) {
	if len(digest) != sha256.Size {
		return keyring.KeyRef{}, nil, fmt.Errorf("signing: a digest of %d bytes", len(digest))
	}
	ref, jwk, err := s.newest(ctx)
	if err != nil {
		return keyring.KeyRef{}, nil, err
	}
	if _, err := publicKey(jwk); err != nil {
		return keyring.KeyRef{}, nil, err
	}
	algorithm := azkeys.SignatureAlgorithmES256
	resp, err := s.client.Sign(ctx, s.name, ref.Version,
		azkeys.SignParameters{Algorithm: &algorithm, Value: digest}, nil)
	if err != nil {
		return keyring.KeyRef{}, nil, failure("signing", err)
	}
	if err := s.answered(resp.KID, ref); err != nil {
		return keyring.KeyRef{}, nil, err
	}
	if len(resp.Result) != signatureSize {
		return keyring.KeyRef{}, nil, fmt.Errorf("%w: a signature of %d bytes", ErrAnswer, len(resp.Result))
	}
	return ref, resp.Result, nil
}

// PublicKey gives the public key of a version of this key. A disabled version
// is ErrDisabled: disabling one is how an operator says that its signatures
// count no longer.
func (s *Signer) PublicKey(ctx context.Context, ref keyring.KeyRef) (*ecdsa.PublicKey, error) {
	if err := s.fits(ref); err != nil {
		return nil, err
	}
	found, err := s.client.GetKey(ctx, s.name, ref.Version, nil)
	if err != nil {
		return nil, failure("reading a public key", err)
	}
	if !enabled(found.Attributes) {
		return nil, ErrDisabled
	}
	_, jwk, err := s.public(found.Key, ref.Version)
	if err != nil {
		return nil, err
	}
	return publicKey(jwk)
}

func publicKey(jwk *azkeys.JSONWebKey) (*ecdsa.PublicKey, error) {
	if jwk.Kty == nil || *jwk.Kty != azkeys.KeyTypeEC && *jwk.Kty != azkeys.KeyTypeECHSM {
		return nil, fmt.Errorf("%w: the signing key is not an EC key", ErrAnswer)
	}
	if jwk.Crv == nil || *jwk.Crv != azkeys.CurveNameP256 || len(jwk.X) != coordinate || len(jwk.Y) != coordinate {
		return nil, fmt.Errorf("%w: the signing key is not on P-256", ErrAnswer)
	}
	point := append([]byte{4}, jwk.X...)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(point, jwk.Y...))
	if err != nil {
		return nil, fmt.Errorf("%w: the signing key is not on P-256", ErrAnswer)
	}
	return public, nil
}
