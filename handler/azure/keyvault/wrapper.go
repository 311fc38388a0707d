package keyvault

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"secureapi/handler/keyring"
)

// minModulus is the size in bytes of the smallest RSA key that may wrap: 3072 bits.
const minModulus = 3072 / 8

// wrapping is RSA-OAEP with SHA-256 (RFC 7518, section 4.3).
const wrapping = azkeys.EncryptionAlgorithmRSAOAEP256

// Wrapper is keyring's KeyWrapper over one RSA key of the vault.
type Wrapper struct{ key }

// Wrapper gives the wrapper of the key called name.
func (v *Vault) Wrapper(name string) (*Wrapper, error) {
	k, err := v.key(name)
	if err != nil {
		return nil, fmt.Errorf("key vault wrapping key: %w", err)
	}
	return &Wrapper{k}, nil
}

// Newest gives the newest enabled version.
func (w *Wrapper) Newest(ctx context.Context) (keyring.KeyRef, error) {
	ref, jwk, err := w.newest(ctx)
	if err != nil {
		return keyring.KeyRef{}, err
	}
	if jwk.Kty == nil || *jwk.Kty != azkeys.KeyTypeRSA && *jwk.Kty != azkeys.KeyTypeRSAHSM {
		return keyring.KeyRef{}, fmt.Errorf("%w: the wrapping key is not an RSA key", ErrAnswer)
	}
	if len(jwk.N) < minModulus {
		return keyring.KeyRef{}, fmt.Errorf("%w: the wrapping key has %d bits", ErrAnswer, 8*len(jwk.N))
	}
	return ref, nil
}

// Wrap encrypts plaintext under the newest enabled version and says which.
func (w *Wrapper) Wrap(ctx context.Context, plaintext []byte) (keyring.KeyRef, []byte, error) {
	ref, err := w.Newest(ctx)
	if err != nil {
		return keyring.KeyRef{}, nil, err
	}
	algorithm := wrapping
	resp, err := w.client.WrapKey(ctx, w.name, ref.Version,
		azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: plaintext}, nil)
	if err != nil {
		return keyring.KeyRef{}, nil, failure("wrapping", err)
	}
	if err := w.answered(resp.KID, ref); err != nil {
		return keyring.KeyRef{}, nil, err
	}
	if len(resp.Result) < minModulus {
		return keyring.KeyRef{}, nil, fmt.Errorf("%w: %d wrapped bytes", ErrAnswer, len(resp.Result))
	}
	return ref, resp.Result, nil
}

// Unwrap decrypts what Wrap gave. The result is as good as the ciphertext's
// origin: RSA-OAEP proves nothing about who wrapped.
func (w *Wrapper) Unwrap(ctx context.Context, ref keyring.KeyRef, wrapped []byte) ([]byte, error) {
	if err := w.fits(ref); err != nil {
		return nil, err
	}
	algorithm := wrapping
	resp, err := w.client.UnwrapKey(ctx, w.name, ref.Version,
		azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: wrapped}, nil)
	if err != nil {
		return nil, failure("unwrapping", err)
	}
	if err := w.answered(resp.KID, ref); err != nil {
		return nil, err
	}
	return resp.Result, nil
}
