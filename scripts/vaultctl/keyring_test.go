package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"secureapi/handler/keyring"
	"secureapi/scripts/devstack/stack"
)

// TestKeyring takes the steps of a deployment against real storage and the
// local vault.
func TestKeyring(t *testing.T) {
	s, err := stack.Start(t.Context(), stack.Options{Dir: t.TempDir(), InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	env := s.HandlerEnv()
	// MSAL reads these two from the process itself.
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER"} {
		t.Setenv(name, env[name])
	}
	vaultctl := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), args, world{getenv: func(name string) string { return env[name] }, out: &out, errs: &out})
		return out.String(), err
	}
	if _, err := vaultctl("keyring", "status"); !errors.Is(err, keyring.ErrMissing) {
		t.Errorf("status of nothing: %v", err)
	}
	if out, err := vaultctl("keyring", "bootstrap"); err != nil || !strings.Contains(out, "was made") {
		t.Fatalf("bootstrap: %q, %v", out, err)
	}
	before, err := vaultctl("keyring", "status")
	if err != nil || !strings.Contains(before, "current") || !strings.Contains(before, "kek/") || !strings.Contains(before, "sign/") {
		t.Errorf("status: %q, %v", before, err)
	}
	if out, err := vaultctl("keyring", "bootstrap"); err != nil || !strings.Contains(out, "nothing was changed") {
		t.Errorf("bootstrap again: %q, %v", out, err)
	}
	if after, err := vaultctl("keyring", "status"); err != nil || after != before {
		t.Errorf("status after a second bootstrap: %q, %v", after, err)
	}
	// Signed by a key of another name, the keyring is somebody else's.
	if _, err := vaultctl("keyring", "bootstrap", "-sign-name", "kek"); !errors.Is(err, keyring.ErrForged) {
		t.Errorf("bootstrap over another's keyring: %v", err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"keyring"},
		{"keyring", "delete"},
		{"vault", "status"},
		{"keyring", "status"},
		{"keyring", "status", "-vault", "https://v.vault.azure.net"},
		{"keyring", "status", "-vault", "https://v.vault.azure.net", "-account", "a", "extra"},
		{"keyring", "status", "-vault", "https://v.vault.azure.net", "-account", "abc", "-credential", "client-secret"},
	} {
		if err := run(t.Context(), args, world{getenv: func(string) string { return "" }, out: io.Discard, errs: io.Discard}); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
