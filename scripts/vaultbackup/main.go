// Command vaultbackup copies the vault's tables to files and back: Table Storage
// has neither soft delete nor versions.
//
//	vaultbackup export   copies the tables; a second call goes on where one stopped
//	vaultbackup verify   checks the files against the manifest, offline
//	vaultbackup restore  writes them into empty tables, then erases again whom the
//	                     register names, and only then opens the vault
//
// Rows are copied sealed as they are; nothing is decrypted. Subject heads and
// keyring go to a folder of their own (-keys): kept under another custody, and
// destroyed after BACKUP_RETENTION, it is what makes an erasure irrecoverable,
// whatever becomes of the rest.
//
// Trust boundary: it acts as whoever runs it. An export reads the tables; a
// restore writes them and asks Key Vault to verify and open the keyring. The
// manifest's SHA-256, which export prints and a restore takes, is to be kept
// apart from the files: with it no file can be exchanged unnoticed. Every row
// is besides sealed, signed or MACed, and is verified when it is used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/scripts/azureidentity"
)

const usage = `usage:
  vaultbackup export  -dir DIR -keys DIR -account NAME -audit-account NAME
  vaultbackup verify  -dir DIR -keys DIR [-sha256 HEX]
  vaultbackup restore -dir DIR -keys DIR -sha256 HEX -account NAME -audit-account NAME -vault URL -tenants GUID,...
vaultbackup <command> -h tells the flags`

// options are what the flags say.
type options struct {
	dir, keys, digest  string
	account, audit     string
	suffix, vault      string
	wrapName, signName string
	tenants            string
	identity           azureidentity.Identity
	intoNonempty       bool
	acceptMissing      bool
	wait, retention    time.Duration
	localStack         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vaultbackup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	o, err := parse(args, getenv, out)
	if err != nil {
		return err
	}
	if args[0] == "verify" {
		m, err := verify(o)
		if err != nil {
			return err
		}
		return m.print(out)
	}
	transport, err := azure.NewTransport(o.localStack, getenv, clock.System, o.endpoints()...)
	if err != nil {
		return err
	}
	defer transport.Close()
	identity, err := o.identity.Credential(transport)
	if err != nil {
		return err
	}
	s, err := openSite(o, transport, identity)
	if err != nil {
		return err
	}
	if args[0] == "export" {
		m, err := export(ctx, o, s, clock.System)
		if err != nil {
			return err
		}
		return m.print(out)
	}
	r, err := restore(ctx, o, s, out)
	if err != nil {
		return err
	}
	return r.print(out)
}

func parse(args []string, getenv func(string) string, out io.Writer) (options, error) {
	o := options{localStack: getenv("LOCAL_STACK_FILE")}
	flags := flag.NewFlagSet("vaultbackup "+args[0], flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.dir, "dir", "", "`folder` of values, operations, audit log and register")
	flags.StringVar(&o.keys, "keys", "", "`folder` of subject heads and keyring, to be kept apart")
	flags.StringVar(&o.digest, "sha256", "", "the manifest's SHA-256 that export printed, in `hex`")
	flags.StringVar(&o.account, "account", getenv("DATA_STORAGE_ACCOUNT"), "the data storage account's `name` (DATA_STORAGE_ACCOUNT)")
	flags.StringVar(&o.audit, "audit-account", getenv("AUDIT_STORAGE_ACCOUNT"), "the audit storage account's `name` (AUDIT_STORAGE_ACCOUNT)")
	flags.StringVar(&o.suffix, "suffix", or(getenv("STORAGE_SUFFIX"), "core.windows.net"), "the cloud's storage `domain` (STORAGE_SUFFIX)")
	flags.StringVar(&o.vault, "vault", getenv("KEY_VAULT_URL"), "the Key Vault's `URL` (KEY_VAULT_URL)")
	flags.StringVar(&o.wrapName, "wrap-name", or(getenv("KEY_WRAP_NAME"), "kek"), "the wrapping key's `name` (KEY_WRAP_NAME)")
	flags.StringVar(&o.signName, "sign-name", or(getenv("KEY_SIGN_NAME"), keyring.DefaultSignName), "the signing key's `name` (KEY_SIGN_NAME)")
	flags.StringVar(&o.tenants, "tenants", getenv("TENANT_IDS"), "the tenants' `GUIDs`, with commas between (TENANT_IDS)")
	o.identity.Flags(flags, getenv)
	flags.BoolVar(&o.intoNonempty, "into-nonempty", false, "restore into tables that hold rows: rows that are there stay as they are")
	flags.BoolVar(&o.acceptMissing, "accept-missing-erasures", false, "open the vault although the log tells of erasures that the register does not have")
	flags.DurationVar(&o.wait, "wait", 2*keyring.WriteLife, "how long a restore waits for handlers that run to lose their keys; 0 only when none runs")
	flags.DurationVar(&o.retention, "retention", 35*24*time.Hour, "how long backups are kept (BACKUP_RETENTION)")
	if err := flags.Parse(args[1:]); err != nil {
		return options{}, err
	}
	needed := map[string][]string{
		"verify": {o.dir, o.keys}, "export": {o.dir, o.keys, o.account, o.audit},
		"restore": {o.dir, o.keys, o.digest, o.account, o.audit, o.vault, o.tenants},
	}[args[0]]
	if needed == nil || flags.NArg() > 0 {
		return options{}, errors.New(usage)
	}
	for _, value := range needed {
		if value == "" {
			return options{}, errors.New(usage)
		}
	}
	if o.dir == o.keys {
		return options{}, errors.New("-dir and -keys must be two folders")
	}
	return o, nil
}

func (o options) tenantIDs() []string { return strings.Split(o.tenants, ",") }

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
