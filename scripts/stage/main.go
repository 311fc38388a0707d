// Command stage makes the folder that the Functions host runs: host.json, one
// folder per function, and the handler as a static binary.
//
//	go run ./scripts/stage -out dist
//	go run ./scripts/stage -out dist -goos linux -goarch amd64   # for Azure
//
// It writes nothing outside the folder given and takes nothing but what package
// staging lists, so that no settings file can slip into a package. The checks
// of function.json made on the way are the ones that the host leaves out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"secureapi/scripts/stage/staging"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "stage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("stage", flag.ContinueOnError)
	flags.SetOutput(log)
	o := staging.Options{Log: log}
	flags.StringVar(&o.Root, "root", ".", "source `folder` with host.json, functions/ and handler/")
	flags.StringVar(&o.Out, "out", "dist", "`folder` to make; replaced if an earlier run made it")
	flags.StringVar(&o.Binary, "binary", "", "handler already built (`file`); default: build ./handler")
	flags.StringVar(&o.GOOS, "goos", "", "target system of the build; Azure wants linux")
	flags.StringVar(&o.GOARCH, "goarch", "", "target architecture of the build; Azure wants amd64")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return staging.Stage(ctx, o)
}
