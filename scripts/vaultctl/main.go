// Command vaultctl is the person's tool: it takes the steps of a deployment that
// the handler never takes by itself, and calls the API as whoever signs in.
//
//	vaultctl keyring bootstrap   makes the first generation where there is no keyring
//	vaultctl keyring status      verifies the keyring and lists its generations
//	vaultctl login               signs a person in, in the browser or by device code
//	vaultctl call METHOD PATH    calls the API, and signs in afresh where it asks for that
//	vaultctl token               prints an access token, for scripts
//	vaultctl logout              forgets the person and deletes the files
//
// The keyring's steps are safe to repeat. Bootstrap verifies a keyring that is
// there and never replaces it: losing one loses every value sealed under it.
//
// Trust boundary: the keyring's steps act as whoever runs them, a person signed
// in to the Azure CLI or a pipeline's own identity, who needs Key Vault Crypto
// User on the two keys and Storage Table Data Contributor on the data account for
// as long as the step lasts. The calls act as the person who signed in, by tokens
// that are kept sealed (package tokencache), go to the API's one address and, but
// for the command token, are never printed. No key is.
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

	"secureapi/scripts/vaultctl/signin"
)

const usage = `usage:
  vaultctl keyring bootstrap|status -vault https://<name>.vault.azure.net -account <data storage account>
  vaultctl login  [-device] -tenant <id> -client <public client id> -api <API client id or URI> [-url https://<API>]
  vaultctl call   [-device] METHOD PATH [-data <text>|@<file>|-]
  vaultctl token
  vaultctl logout
vaultctl <command> -h tells the flags`

// The exit codes. A script tells by the second one that a person is needed.
const (
	exitFailed = 1
	exitSignIn = 3
)

// world is what a command takes from the process.
type world struct {
	getenv    func(string) string
	in        io.Reader
	out, errs io.Writer
	// cacheDir and keyDir are the user's folders for what can be made again, and
	// for settings.
	cacheDir, keyDir func() (string, error)
	open             func(address string) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], world{
		getenv: os.Getenv, in: os.Stdin, out: os.Stdout, errs: os.Stderr,
		cacheDir: os.UserCacheDir, keyDir: os.UserConfigDir, open: signin.OpenBrowser,
	})
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "vaultctl:", err)
	if errors.Is(err, signin.ErrNeeded) {
		os.Exit(exitSignIn)
	}
	os.Exit(exitFailed)
}

func run(ctx context.Context, args []string, w world) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	command, ok := map[string]func(context.Context, []string, world) error{
		"keyring": runKeyring, "login": login, "logout": logout, "token": token, "call": call,
	}[args[0]]
	if !ok {
		return errors.New(usage)
	}
	return command(ctx, args[1:], w)
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
