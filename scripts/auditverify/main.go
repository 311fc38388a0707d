// Command auditverify copies the audit log out of its account, and checks such an
// export offline, with public keys alone: it says what is wrong and where.
//
//	go run ./scripts/auditverify export -account NAME -vault https://NAME.vault.azure.net DIR
//	go run ./scripts/auditverify [verify] -key DIR/sign.pem DIR
//
// DIR holds rows.ndjson, one row of table "audit" a line ({"partition","key",
// "body" in base64,"attributes"}), and checkpoints/, the blobs of the write-once
// container by name. A checkpoint that was kept elsewhere may be put beside them
// under another name, and is held against them. export needs the rights of role
// "Vault auditor", only reads, and takes an empty folder.
//
// -key names a file with public keys of the vault's key "sign", as PEM or JWK.
// export with -vault writes DIR/sign.pem, of every enabled version. Trust it as
// far as whoever made the export: one that somebody else hands over is checked
// with keys that you take from the vault yourself, by an export of your own or by
//
//	az keyvault key download --vault-name <vault> --name sign --file sign.pem
//
// Exit code 0: done, or everything holds. 1: something does not hold; a line each
// says what. 2: the export or the check could not be made.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage:
  auditverify export -account <audit storage account> [-vault https://<name>.vault.azure.net] DIR
  auditverify [verify] -key <file> DIR
auditverify <command> -h tells the flags`

const (
	exitFindings = 1
	exitUnable   = 2
)

// world is what a command takes from the process.
type world struct {
	getenv    func(string) string
	out, errs io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], world{os.Getenv, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// errFlags: package flag has said why.
var errFlags = errors.New("flags")

func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w: %w", errFlags, err)
}

func run(ctx context.Context, args []string, w world) (code int) {
	command := "verify"
	if len(args) > 0 && (args[0] == "export" || args[0] == "verify") {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("auditverify "+command, flag.ContinueOnError)
	flags.SetOutput(w.errs)
	var err error
	if command == "export" {
		err = copyOut(ctx, flags, args, w)
	} else {
		code, err = check(flags, args, w)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errFlags):
		return exitUnable
	case err != nil:
		_, _ = fmt.Fprintln(w.errs, "auditverify:", err)
		return exitUnable
	default:
		return code
	}
}
