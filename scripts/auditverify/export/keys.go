package export

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"secureapi/handler/azure/keyvault"
	"secureapi/handler/keyring"
)

// KeyFile is where Write puts the public keys, in an export's folder.
const KeyFile = "sign.pem"

// Keys are the public keys of a vault's signing key.
type Keys struct {
	// Public are those of the versions that are enabled.
	Public []*ecdsa.PublicKey
	// Disabled are the other versions: by disabling one an operator says that its
	// signatures count no longer.
	Disabled []string
}

// ReadKeys asks the vault (https://<name>.vault.azure.net) for all versions of a
// key: checkpoints from before a rotation are signed by an older one.
func ReadKeys(ctx context.Context, vaultURL, name string, credential azcore.TokenCredential, options azcore.ClientOptions) (Keys, error) {
	vault, err := keyvault.New(vaultURL, credential, options)
	if err != nil {
		return Keys{}, err
	}
	signer, err := vault.Signer(name)
	if err != nil {
		return Keys{}, err
	}
	client, err := azkeys.NewClient(vaultURL, credential, &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		return Keys{}, fmt.Errorf("exporting public keys: %w", err)
	}
	var keys Keys
	for pages := client.NewListKeyPropertiesVersionsPager(name, nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return Keys{}, fmt.Errorf("exporting public keys: %w", err)
		}
		for _, version := range page.Value {
			if version == nil || version.KID == nil {
				return Keys{}, errors.New("exporting public keys: the vault names no version")
			}
			// The list says only which versions to ask for. The signer holds each
			// answer against the question.
			if err := keys.add(ctx, signer, keyring.KeyRef{Name: name, Version: version.KID.Version()}); err != nil {
				return Keys{}, err
			}
		}
	}
	if len(keys.Public) == 0 {
		return Keys{}, errors.New("exporting public keys: no version of the key is enabled")
	}
	return keys, nil
}

func (k *Keys) add(ctx context.Context, signer *keyvault.Signer, ref keyring.KeyRef) error {
	key, err := signer.PublicKey(ctx, ref)
	if errors.Is(err, keyvault.ErrDisabled) {
		k.Disabled = append(k.Disabled, ref.Version)
		return nil
	}
	if err != nil {
		return fmt.Errorf("exporting public keys: %w", err)
	}
	k.Public = append(k.Public, key)
	return nil
}

// Write puts the keys beside an export, as PEM blocks in one file.
func (k *Keys) Write(dir string) error {
	var text []byte
	for _, key := range k.Public {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return fmt.Errorf("writing the public keys: %w", err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	if err := os.WriteFile(filepath.Join(dir, KeyFile), text, 0o600); err != nil {
		return fmt.Errorf("writing the public keys: %w", err)
	}
	return nil
}
