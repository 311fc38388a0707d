package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"secureapi/scripts/devstack/azurite"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
	"secureapi/scripts/stage/staging"
)

// findStack takes the stack that is running, or starts one. end ends what was
// started, and nothing else.
func findStack(ctx context.Context, path string, show *screen) (info stack.Info, end func() error, err error) {
	info, err = stack.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return startStack(ctx, show)
	}
	if err != nil {
		return stack.Info{}, nil, err
	}
	if info.API == "" {
		return stack.Info{}, nil, errors.New("the running stack has no API: end it, or start it by make run")
	}
	if !alive(ctx, info) {
		show.words("… " + path + " is of a stack that does not answer any more; starting another")
		return startStack(ctx, show)
	}
	show.words("Using the stack that is running, at " + info.API + ".")
	return info, func() error { return nil }, nil
}

func alive(ctx context.Context, info stack.Info) bool {
	d, err := newDemo(info, nil)
	if err != nil {
		return false
	}
	a, err := d.call(ctx, "", http.MethodGet, "health/ready", nil)
	return err == nil && a.status == http.StatusOK
}

// startStack builds the app and starts it with everything it needs, in memory
// and a temporary folder: nothing is left behind, and the state of `make run` is
// not touched.
func startStack(ctx context.Context, show *screen) (info stack.Info, end func() error, err error) {
	dir, err := os.MkdirTemp("", "secureapi-demo-")
	if err != nil {
		return stack.Info{}, nil, fmt.Errorf("making the stack's folder: %w", err)
	}
	remove := func() error { return os.RemoveAll(dir) }
	root, err := azurite.FindRoot()
	if err != nil {
		return stack.Info{}, nil, errors.Join(err, remove())
	}
	show.words("No stack is running: starting one in memory.")
	show.words("… building the handler")
	dist := filepath.Join(dir, "dist")
	if err := staging.Stage(ctx, staging.Options{Root: root, Out: dist, Log: show.out}); err != nil {
		return stack.Info{}, nil, errors.Join(err, remove())
	}
	s, err := stack.Start(ctx, stack.Options{
		Dir: filepath.Join(dir, "stack"), Root: root, InMemory: true, Bootstrap: provision.Keyring,
		Host:     &stack.Host{Dir: dist},
		Progress: func(step string) { show.words("… " + step) },
	})
	if err != nil {
		return stack.Info{}, nil, errors.Join(err, remove())
	}
	return s.Info(), func() error { return errors.Join(s.Stop(), remove()) }, nil
}
