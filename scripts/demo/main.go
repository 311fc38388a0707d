// Command demo tells the whole story on a real stack: a thousand records are
// imported, stored sealed, shown by role, refused, tampered with, and kept
// through a new key; and the audit log has it all.
//
//	make demo
//
// It uses the stack that `make run` has running, or starts one of its own that
// lives in memory and ends with it. Every scene checks what it tells: the exit
// code is not zero when something does not go as told.
//
// Trust boundary: it plays every part, the storage administrator's included. It
// can because stack.json makes its reader everyone in the local stack.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	dir := flags.String("dir", ".local", "folder of a stack that may be running")
	if err := flags.Parse(args); err != nil {
		return err
	}
	show := newScreen(out)
	info, end, err := findStack(ctx, filepath.Join(*dir, "stack.json"), show)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	d, err := newDemo(info, show)
	if err != nil {
		return err
	}
	return d.play(ctx)
}

// scene is one step of the story. Its run checks what its words promise.
type scene struct {
	title, words string
	run          func(ctx context.Context) error
}

func (d *demo) scenes() []scene {
	return []scene{
		d.importScene(), d.rejectedScene(), d.storageScene(), d.viewsScene(), d.refusalsScene(),
		d.tamperingScene(), d.keyScene(), d.auditScene(), d.checkpointScene(),
	}
}

func (d *demo) play(ctx context.Context) error {
	started := time.Now()
	scenes := d.scenes()
	for i, s := range scenes {
		d.show.heading(i+1, len(scenes), s.title)
		d.show.words(s.words)
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("scene %d, %s: %w", i+1, s.title, err)
		}
	}
	d.show.heading(0, 0, fmt.Sprintf("Everything went as told, in %.1f s.", time.Since(started).Seconds()))
	d.show.words("Read next: ARCHITECTURE.md for what is stored where; handler/tokenvault for what just happened to a " +
		"value; handler/envelope for the bytes of a sealed one; handler/authz for the roles; handler/audit for the log.")
	return nil
}
