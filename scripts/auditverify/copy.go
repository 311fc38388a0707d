package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"secureapi/handler/audit"
	"secureapi/handler/azure"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/scripts/auditverify/export"
	"secureapi/scripts/auditverify/verify"
	"secureapi/scripts/azureidentity"
)

// auditTable holds the log, in its own account.
const auditTable = "audit"

// source is what the flags of export name.
type source struct {
	account, suffix, vault, signName string
	identity                         azureidentity.Identity
	dir                              string
}

// copyOut is the command export. It copies the keys first: when it may not read
// them, it leaves nothing.
func copyOut(ctx context.Context, flags *flag.FlagSet, args []string, w world) error {
	s, err := parseSource(flags, args, w.getenv)
	if err != nil {
		return err
	}
	if err := checkEmpty(s.dir); err != nil {
		return err
	}
	keys, archive, err := s.read(ctx, w.getenv)
	if err != nil {
		return err
	}
	if err := archive.Write(s.dir); err != nil {
		return err
	}
	text := fmt.Sprintf("%d rows and %d checkpoints are in %s.\n", len(archive.Rows), len(archive.Notes), s.dir)
	keyFile := "FILE"
	if s.vault != "" {
		if err := keys.Write(s.dir); err != nil {
			return err
		}
		keyFile = filepath.Join(s.dir, export.KeyFile)
		text += fmt.Sprintf("%s has the public key of %d versions of %s.\n", keyFile, len(keys.Public), s.signName)
	}
	if len(keys.Disabled) > 0 {
		text += "Disabled, so that what they signed does not count: " + strings.Join(keys.Disabled, ", ") + ".\n"
	}
	_, err = fmt.Fprintf(w.out, "%sNow: go run ./scripts/auditverify -key %s %s\n", text, keyFile, s.dir)
	return err
}

func parseSource(flags *flag.FlagSet, args []string, getenv func(string) string) (source, error) {
	var s source
	flags.StringVar(&s.account, "account", getenv("AUDIT_STORAGE_ACCOUNT"), "the audit storage account's `name` (AUDIT_STORAGE_ACCOUNT)")
	flags.StringVar(&s.suffix, "suffix", or(getenv("STORAGE_SUFFIX"), "core.windows.net"), "the cloud's storage `domain` (STORAGE_SUFFIX)")
	flags.StringVar(&s.vault, "vault", getenv("KEY_VAULT_URL"), "the Key Vault's `URL`; without it, no public keys are written (KEY_VAULT_URL)")
	flags.StringVar(&s.signName, "sign-name", or(getenv("KEY_SIGN_NAME"), keyring.DefaultSignName), "the signing key's `name` (KEY_SIGN_NAME)")
	s.identity.Flags(flags, getenv)
	if err := parse(flags, args); err != nil {
		return source{}, err
	}
	if flags.NArg() != 1 || s.account == "" {
		return source{}, errors.New("one folder and -account are needed\n" + usage)
	}
	s.dir = flags.Arg(0)
	return s, nil
}

// checkEmpty refuses a folder that holds something: files of an export of before
// would be taken for this one's.
func checkEmpty(dir string) error {
	files, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking at the folder: %w", err)
	case len(files) > 0:
		return errors.New("the folder is not empty")
	default:
		return nil
	}
}

// endpoint is the address of a service of the account.
func (s *source) endpoint(service string) string {
	return "https://" + s.account + "." + service + "." + s.suffix
}

func (s *source) read(ctx context.Context, getenv func(string) string) (keys export.Keys, archive verify.Archive, err error) {
	endpoints := []string{s.identity.AuthorityHost(), s.endpoint("table"), s.endpoint("blob")}
	if s.vault != "" {
		endpoints = append(endpoints, s.vault)
	}
	transport, err := azure.NewTransport(getenv("LOCAL_STACK_FILE"), getenv, clock.System, endpoints...)
	if err != nil {
		return keys, archive, err
	}
	defer transport.Close()
	credential, err := s.identity.Credential(transport)
	if err != nil {
		return keys, archive, err
	}
	if s.vault != "" {
		keys, err = export.ReadKeys(ctx, s.vault, s.signName, credential, transport.ClientOptions(azure.KeyVault, nil))
		if err != nil {
			return keys, archive, err
		}
	}
	service, err := tables.NewService(s.endpoint("table"), credential, transport.ClientOptions(azure.Tables, nil))
	if err != nil {
		return keys, archive, err
	}
	table, err := service.Table(auditTable)
	if err != nil {
		return keys, archive, err
	}
	archive, err = export.Export(ctx, table, s.endpoint("blob")+"/"+audit.Container, credential, transport.ClientOptions(azure.Blobs, nil))
	return keys, archive, err
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
