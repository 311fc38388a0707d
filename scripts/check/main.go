// Command check runs every static and dynamic check that a change must pass,
// beyond the plain tests: modules, format, vet, lint, race detector, known
// vulnerabilities, Bicep and documentation.
//
// It never turns a check that could not run into a pass. Such a check prints
// "NOT RUN <what>: <why>", is counted in the last line, and fails the run when it
// is named in -require. All checks run even when an early one fails, so that one
// run shows everything there is to mend.
//
//	go run ./scripts/check                        # all
//	go run ./scripts/check lint format            # some
//	go run ./scripts/check -require race,bicep    # all; those two must have run
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A notRunError says why a check had no verdict. It is neither a pass nor a failure.
type notRunError struct{ why string }

func (e *notRunError) Error() string { return e.why }

// A check is one named verdict. Its output goes to out as it comes.
type check struct {
	name string
	run  func(ctx context.Context, out io.Writer) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], all(), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

// run runs the checks named in args, or all, and reports on out.
func run(ctx context.Context, args []string, checks []check, out io.Writer) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	require := flags.String("require", "", "comma-separated checks that must not be NOT RUN")
	if err := flags.Parse(args); err != nil {
		return err
	}
	required := strings.FieldsFunc(*require, func(r rune) bool { return r == ',' })
	for _, name := range slices.Concat(required, flags.Args()) {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
			return fmt.Errorf("no check is named %q", name)
		}
	}
	var passed int
	var failed, notRun []string
	for _, c := range checks {
		if flags.NArg() > 0 && !slices.Contains(flags.Args(), c.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("interrupted before %s: %w", c.name, err)
		}
		fmt.Fprintf(out, "=== %s\n", c.name)
		start := time.Now()
		err := c.run(ctx, out)
		took := time.Since(start).Round(100 * time.Millisecond)
		var skipped *notRunError
		switch {
		case errors.As(err, &skipped):
			fmt.Fprintf(out, "NOT RUN %s: %s\n", c.name, skipped.why)
			notRun = append(notRun, c.name)
			if slices.Contains(required, c.name) {
				failed = append(failed, c.name+" (required, but not run)")
			}
		case err != nil:
			fmt.Fprintf(out, "FAILED %s (%s): %v\n", c.name, took, err)
			failed = append(failed, c.name)
		default:
			fmt.Fprintf(out, "ok %s (%s)\n", c.name, took)
			passed++
		}
	}
	fmt.Fprintf(out, "=== %d checks passed, %d failed %v, %d NOT RUN %v\n", passed, len(failed), failed, len(notRun), notRun)
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}
