package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/scripts/azureidentity"
	"secureapi/scripts/azurekeyring"
)

// target is what the flags name.
type target struct {
	vault, account, suffix, wrapName, signName string
	identity                                   azureidentity.Identity
	localStack                                 string
}

func runKeyring(ctx context.Context, args []string, w world) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	steps := map[string]func(context.Context, keyring.Options, io.Writer) error{"bootstrap": bootstrap, "status": status}
	step, ok := steps[args[0]]
	if !ok {
		return errors.New(usage)
	}
	t, err := parse(args[1:], w.getenv, w.out)
	if err != nil {
		return err
	}
	place := t.place()
	transport, err := azure.NewTransport(t.localStack, w.getenv, clock.System, append(place.Endpoints(), t.identity.AuthorityHost())...)
	if err != nil {
		return err
	}
	defer transport.Close()
	credential, err := t.identity.Credential(transport)
	if err != nil {
		return err
	}
	options, err := place.Open(credential, transport)
	if err != nil {
		return err
	}
	return step(ctx, options, w.out)
}

func parse(args []string, getenv func(string) string, out io.Writer) (target, error) {
	t := target{localStack: getenv("LOCAL_STACK_FILE")}
	flags := flag.NewFlagSet("vaultctl", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&t.vault, "vault", getenv("KEY_VAULT_URL"), "the Key Vault's `URL` (KEY_VAULT_URL)")
	flags.StringVar(&t.account, "account", getenv("DATA_STORAGE_ACCOUNT"), "the data storage account's `name` (DATA_STORAGE_ACCOUNT)")
	flags.StringVar(&t.suffix, "suffix", or(getenv("STORAGE_SUFFIX"), "core.windows.net"), "the cloud's storage `domain` (STORAGE_SUFFIX)")
	flags.StringVar(&t.wrapName, "wrap-name", or(getenv("KEY_WRAP_NAME"), "kek"), "the wrapping key's `name` (KEY_WRAP_NAME)")
	flags.StringVar(&t.signName, "sign-name", or(getenv("KEY_SIGN_NAME"), keyring.DefaultSignName), "the signing key's `name` (KEY_SIGN_NAME)")
	t.identity.Flags(flags, getenv)
	if err := flags.Parse(args); err != nil {
		return target{}, err
	}
	if flags.NArg() > 0 || t.vault == "" || t.account == "" {
		return target{}, errors.New(usage)
	}
	return t, nil
}

// place is where the flags say the keyring is.
func (t target) place() azurekeyring.Place {
	return azurekeyring.Place{
		Vault: t.vault, Tables: "https://" + t.account + ".table." + t.suffix, WrapName: t.wrapName, SignName: t.signName,
	}
}

func bootstrap(ctx context.Context, o keyring.Options, out io.Writer) error {
	created, err := keyring.Bootstrap(ctx, o)
	if err != nil {
		return fmt.Errorf("bootstrapping the keyring: %w", err)
	}
	answer := "There is a keyring, and it verifies; nothing was changed."
	if created {
		answer = "The keyring's first generation was made."
	}
	_, err = fmt.Fprintln(out, answer)
	return err
}

func status(ctx context.Context, o keyring.Options, out io.Writer) error {
	ring, err := keyring.New(o)
	if err != nil {
		return err
	}
	if err := ring.Load(ctx); err != nil {
		return fmt.Errorf("verifying the keyring: %w", err)
	}
	generations, err := ring.Status(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	lines := []string{"GENERATION\tSTATE\tWRAPPED BY\tSIGNED BY\tUPDATED"}
	for _, g := range generations {
		lines = append(lines, fmt.Sprintf("%d\t%s\t%s/%s\t%s/%s\t%s", g.Generation, g.State,
			g.WrappedBy.Name, g.WrappedBy.Version, g.SignedBy.Name, g.SignedBy.Version, g.Updated.Format("2006-01-02 15:04:05Z")))
	}
	if _, err := fmt.Fprintln(table, strings.Join(lines, "\n")); err != nil {
		return err
	}
	return table.Flush()
}
