// Package provision makes what a deployment makes once, in a running local
// stack: the keyring's first generation.
//
// Trust boundary: it acts with the handler's own identity and through the same
// adapters, so that what it stores is what the handler will verify.
package provision

import (
	"context"
	"fmt"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/scripts/azurekeyring"
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
	place := azurekeyring.Place{
		Vault: env["KEY_VAULT_URL"], Tables: stack.Endpoint(s.DataAccount(), "table"),
		WrapName: env["KEY_WRAP_NAME"], SignName: env["KEY_SIGN_NAME"],
	}
	options, err := place.Open(s.Credential(), transport)
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	_, err = keyring.Bootstrap(ctx, options)
	return err
}
