// Command deploy holds the steps that azd's hooks take around a deployment.
//
//	deploy preflight   names everything that is missing before anything is made
//	deploy keyring     says how the first keyring is made, or makes it where
//	                   KEYRING_BOOTSTRAP is yes
//
// It reads its input from the environment, which azd fills from its own, and asks
// Azure through the Azure CLI of whoever deploys. It changes nothing but for the
// keyring that it was told to make. Being one program, it is the same in sh and
// in PowerShell.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = "usage: deploy preflight|keyring"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New(usage)
	}
	switch args[0] {
	case "preflight":
		return preflight(ctx, ".", getenv, out)
	case "keyring":
		return keyring(ctx, getenv, out)
	default:
		return errors.New(usage)
	}
}
