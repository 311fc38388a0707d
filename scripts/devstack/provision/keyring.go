// Package provision makes what a deployment makes once, in a running local
// stack: the keyring's first generation.
//
// Trust boundary: it acts with the handler's own identity and through the same
// adapters, so that what it stores is what the handler will verify.
package provision

import (
	"context"
	"fmt"
	"log/slog"

	"secureapi/handler/azure"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/scripts/devstack/stack"
)

// Keyring makes the first keyring where there is none: a step of every
// deployment, which the handler itself never takes.
func Keyring(ctx context.Context, s *stack.Stack) error {
	env := s.HandlerEnv()
	transport, err := azure.NewTransport(env["LOCAL_STACK_FILE"], func(string) string { return "" }, clock.System)
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	defer transport.Close()
	vault, err := keyvault.New(env["KEY_VAULT_URL"], s.Credential(), transport.ClientOptions(azure.KeyVault, nil))
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	wrapper, err := vault.Wrapper(env["KEY_WRAP_NAME"])
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	signer, err := vault.Signer(env["KEY_SIGN_NAME"])
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	service, err := tables.NewService(stack.Endpoint(s.DataAccount(), "table"), s.Credential(), transport.ClientOptions(azure.Tables, nil))
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	store, err := service.Table(keyring.Table)
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	_, err = keyring.Bootstrap(ctx, keyring.Options{
		Store: store, Wrapper: wrapper, Signer: signer, SignName: env["KEY_SIGN_NAME"],
		Clock: clock.System, Logger: slog.New(slog.DiscardHandler),
	})
	return err
}
