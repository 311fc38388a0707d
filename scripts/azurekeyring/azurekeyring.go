// Package azurekeyring puts the keyring of a deployment together, for the tools
// that make, verify or restore one: its table and the vault's two keys, over the
// adapters that the handler uses.
//
// Trust boundary: it acts by the credential that it is given, and believes
// nothing that it opens; package keyring verifies every row.
package azurekeyring

import (
	"errors"
	"log/slog"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"secureapi/handler/azure"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
)

// Place is where a deployment has its keyring: two addresses (https://host) and
// the names of the vault's keys.
type Place struct {
	Vault, Tables      string
	WrapName, SignName string
}

// Endpoints are the addresses that Open's parts call: the transport has to name
// them, because they may be in a private network.
func (p Place) Endpoints() []string { return []string{p.Vault, p.Tables} }

// Open makes the keyring's parts. It asks for nothing yet.
func (p Place) Open(identity azcore.TokenCredential, t *azure.Transport) (keyring.Options, error) {
	vault, err := keyvault.New(p.Vault, identity, t.ClientOptions(azure.KeyVault, nil))
	if err != nil {
		return keyring.Options{}, err
	}
	wrapper, wrapErr := vault.Wrapper(p.WrapName)
	signer, signErr := vault.Signer(p.SignName)
	service, serviceErr := tables.NewService(p.Tables, identity, t.ClientOptions(azure.Tables, nil))
	if err := errors.Join(wrapErr, signErr, serviceErr); err != nil {
		return keyring.Options{}, err
	}
	store, err := service.Table(keyring.Table)
	if err != nil {
		return keyring.Options{}, err
	}
	return keyring.Options{
		Store: store, Wrapper: wrapper, Signer: signer, SignName: p.SignName,
		Clock: clock.System, Logger: slog.New(slog.DiscardHandler),
	}, nil
}
