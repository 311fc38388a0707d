// Command fuzz runs every fuzz target of the module, one after the other: `go
// test -fuzz` takes one target of one package at a time.
//
//	go run ./scripts/fuzz -time 10s          # a short look at each
//	go run ./scripts/fuzz -time 10m envelope # long, only packages with that name
//
// A target that finds a failing input stops the run; Go has then written the
// input under testdata/fuzz, where it stays as a regression test.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// A target is one fuzz function.
type target struct{ pkg, name string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	each := flags.Duration("time", 10*time.Second, "how long to fuzz each target")
	if err := flags.Parse(args); err != nil {
		return err
	}
	found, err := targets(ctx)
	if err != nil {
		return err
	}
	var ran int
	for _, t := range found {
		if flags.NArg() > 0 && !strings.Contains(t.pkg, flags.Arg(0)) {
			continue
		}
		fmt.Fprintf(out, "=== %s %s for %s\n", t.pkg, t.name, *each)
		cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), t.pkg)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s: %w", t.pkg, t.name, err)
		}
		ran++
	}
	if ran == 0 {
		return errors.New("no fuzz target found")
	}
	fmt.Fprintf(out, "=== %d targets, no failing input\n", ran)
	return nil
}

// targets reads the test files of all packages: compiling each test binary only
// to list its targets would take minutes.
func targets(ctx context.Context) ([]target, error) {
	list, err := exec.CommandContext(ctx, "go", "list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	var found []target
	for dec := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			Dir, ImportPath           string
			TestGoFiles, XTestGoFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the list of packages: %w", err)
		}
		for _, file := range append(p.TestGoFiles, p.XTestGoFiles...) {
			source, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				return nil, fmt.Errorf("reading tests: %w", err)
			}
			for _, m := range declaration.FindAllSubmatch(source, -1) {
				found = append(found, target{p.ImportPath, string(m[1])})
			}
		}
	}
}
