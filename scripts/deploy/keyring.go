package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// keyring takes or tells the step that no template takes: a missing keyring is
// never made silently. vaultctl verifies a keyring that is there and leaves it,
// so that the step can be repeated.
func keyring(ctx context.Context, getenv func(string) string, out io.Writer) error {
	vault, account := getenv("KEY_VAULT_URL"), getenv("DATA_STORAGE_ACCOUNT")
	if vault == "" || account == "" {
		return errors.New("missing: KEY_VAULT_URL and DATA_STORAGE_ACCOUNT, the outputs of the templates")
	}
	args := []string{"run", "./scripts/vaultctl", "keyring", "bootstrap", "-vault", vault, "-account", account}
	switch getenv("KEYRING_BOOTSTRAP") {
	case "yes":
	case "":
		_, err := fmt.Fprintf(out, `The app answers 503 on health/ready until the first keyring exists.
Making it is a step of its own, by a member of the keyring group, from where vault and data account can be reached:
  azd env set KEYRING_BOOTSTRAP yes && azd hooks run postprovision
`)
		return err
	default:
		return errors.New("KEYRING_BOOTSTRAP must be yes or empty")
	}
	cmd := exec.CommandContext(ctx, "go", args...) // #nosec G204 -- no shell, and a fixed program
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Run(); err != nil {
		why := "A new role takes up to ten minutes to count: repeat it with azd hooks run postprovision."
		if getenv("PRIVATE_NETWORK") == "true" {
			why = "Vault and storage have no public endpoint in this profile: repeat it with azd hooks run postprovision on a machine in the network."
		}
		return fmt.Errorf("the keyring was not made (%w). %s", err, why)
	}
	return nil
}
