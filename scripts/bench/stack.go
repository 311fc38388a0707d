package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"secureapi/handler/azure"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
)

// measureStack starts the local stack in memory for the two parts that need it.
func measureStack(ctx context.Context, o options, r *report, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintln(stderr, "bench: starting the local stack in memory")
	s, err := stack.Start(ctx, stack.Options{Dir: dir, InMemory: true, Bootstrap: provision.Keyring})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if o.only == "" || o.only == partThroughput {
		fmt.Fprintln(stderr, "bench: throughput, over the stack's storage")
		if err := measureThroughput(ctx, o, s, r); err != nil {
			return fmt.Errorf("throughput: %w", err)
		}
	}
	if o.only == "" || o.only == partFootprint {
		fmt.Fprintln(stderr, "bench: footprint of the built binary")
		if err := measureFootprint(ctx, o, s, dir, r); err != nil {
			return fmt.Errorf("footprint: %w", err)
		}
	}
	return nil
}

// adapters are the handler's own clients of the stack: its transport, verified
// TLS, and the credential of its identity.
type adapters struct {
	stack     *stack.Stack
	transport *azure.Transport
	env       map[string]string
}

func newAdapters(s *stack.Stack) (*adapters, error) {
	env := s.HandlerEnv()
	transport, err := azure.NewTransport(env["LOCAL_STACK_FILE"], func(string) string { return "" }, clock.System)
	if err != nil {
		return nil, err
	}
	return &adapters{s, transport, env}, nil
}

// table opens one table; observe may be nil.
func (a *adapters) table(account, name string, observe azure.Observer) (*tables.Store, error) {
	service, err := tables.NewService(stack.Endpoint(account, "table"), a.stack.Credential(), a.transport.ClientOptions(azure.Tables, observe))
	if err != nil {
		return nil, err
	}
	return service.Table(name)
}

// vault opens the two keys; observe may be nil.
func (a *adapters) vault(observe azure.Observer) (keyring.KeyWrapper, keyring.Signer, error) {
	client, err := keyvault.New(a.env["KEY_VAULT_URL"], a.stack.Credential(), a.transport.ClientOptions(azure.KeyVault, observe))
	if err != nil {
		return nil, nil, err
	}
	wrapper, wrapErr := client.Wrapper(a.env["KEY_WRAP_NAME"])
	signer, signErr := client.Signer(a.env["KEY_SIGN_NAME"])
	return wrapper, signer, errors.Join(wrapErr, signErr)
}
