// Command bench measures the handler and prints each figure beside its aim.
//
// It has three parts. cpu runs the handler over memory stores on one core and
// compares its CPU per call with single operations measured in the same run.
// throughput runs it over the local stack's storage and compares it with a
// loop that makes the same transactions through aztables alone. footprint
// starts the built binary on the local stack.
//
// Everything that two machines would disagree about is a ratio of two
// measurements that alternate in one run. A missed aim is a figure, not an
// error: the exit code tells only whether measuring worked.
//
// Trust boundary: none. It measures invented values under keys that it makes
// itself, and nothing imports it.
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

// options say what is measured and how long.
type options struct {
	only string
	// rounds is how often the alternating measurements are repeated.
	rounds int
	// calls is the number of calls in one measurement of the cpu part.
	calls int
	// stored is the number of calls in one measurement of the throughput part.
	stored int
	// callers is the number of concurrent callers of the throughput part.
	callers int
	// starts is the number of starts of the binary.
	starts int
	// profile is the number of calls whose shares are told; 0: no profile.
	profile int
	// profileOut keeps the profile for `go tool pprof`; "": it is not kept.
	profileOut string
	// counts gets the requests a call as JSON; "": they are not kept.
	counts string
}

const (
	partCPU        = "cpu"
	partThroughput = "throughput"
	partFootprint  = "footprint"
)

func parts() []string { return []string{partCPU, partThroughput, partFootprint} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.only, "only", "", "measure one part: "+strings.Join(parts(), ", "))
	flags.IntVar(&o.rounds, "rounds", 5, "repetitions of the alternating measurements")
	flags.IntVar(&o.calls, "calls", 1000, "calls in one measurement of cpu")
	flags.IntVar(&o.stored, "stored", 600, "calls in one measurement of throughput")
	flags.IntVar(&o.callers, "callers", 32, "concurrent callers of throughput")
	flags.IntVar(&o.starts, "starts", 7, "starts of the binary")
	flags.IntVar(&o.profile, "profile", 20000, "calls profiled by cpu; 0: none")
	flags.StringVar(&o.profileOut, "profile-out", "", "file that keeps the CPU profile")
	flags.StringVar(&o.counts, "counts", "", "file that keeps the requests a call, such as docs/requests.json")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, errors.New("no arguments are taken, only flags")
	}
	if o.only != "" && !slices.Contains(parts(), o.only) {
		return o, fmt.Errorf("-only must be one of %s", strings.Join(parts(), ", "))
	}
	if min(o.rounds, o.calls, o.stored, o.callers, o.starts) < 1 || o.profile < 0 {
		return o, errors.New("counts must be at least 1")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	var r report
	if o.only == "" || o.only == partCPU {
		fmt.Fprintln(stderr, "bench: cpu, over memory stores on one core")
		if err := measureCPU(ctx, o, &r); err != nil {
			return fmt.Errorf("cpu: %w", err)
		}
	}
	if o.only != partCPU {
		if err := measureStack(ctx, o, &r, stderr); err != nil {
			return err
		}
	}
	return errors.Join(r.keep(o.counts, time.Now()), r.write(stdout))
}
