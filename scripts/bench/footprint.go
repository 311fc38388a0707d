package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"secureapi/scripts/devstack/stack"
)

const (
	aimStart  = 300 * time.Millisecond
	aimIdle   = 50 << 20
	aimBinary = 25 << 20
	// settle is how long a process is left alone before its memory is read.
	settle = 3 * time.Second
	// startWithin is how long a start may take at all.
	startWithin = 30 * time.Second
	askEvery    = time.Millisecond
)

// measureFootprint starts the binary, built as it is deployed, on the stack.
func measureFootprint(ctx context.Context, o options, s *stack.Stack, dir string, r *report) error {
	binary := filepath.Join(dir, "handler")
	size, err := build(ctx, binary)
	if err != nil {
		return err
	}
	var first, warm series
	var idle int64
	for i := range o.starts {
		took, resident, err := start(ctx, binary, s, i == o.starts-1)
		if err != nil {
			return err
		}
		if i == 0 {
			first = append(first, took.Seconds())
			continue
		}
		warm, idle = append(warm, took.Seconds()), resident
	}
	section := r.section("Built binary on the local stack")
	aim := "< " + aimStart.String()
	section.add("first start to health/ready", aim, first.millis(), judge(first.median() < aimStart.Seconds()))
	if len(warm) > 0 {
		section.add("later start to health/ready", aim, warm.millis(), judge(warm.median() < aimStart.Seconds()))
	}
	if idle > 0 {
		section.add("resident memory, idle", "< "+mebibytes(aimIdle), mebibytes(idle), judge(idle < aimIdle))
	} else {
		section.tell("resident memory, idle", "not readable on this system")
	}
	section.add("binary (-trimpath, -s -w)", "< "+mebibytes(aimBinary), mebibytes(size), judge(size < aimBinary))
	return nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// build makes the binary with the flags of `make build` and gives its size.
func build(ctx context.Context, binary string) (int64, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "secureapi/handler")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building: %w\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		return 0, fmt.Errorf("reading the binary's size: %w", err)
	}
	return info.Size(), nil
}

// start runs the binary until health/ready answers 200 and ends it. It gives the
// time from exec to that answer and, after a while of rest, the resident memory.
func start(ctx context.Context, binary string, s *stack.Stack, rest bool) (took time.Duration, resident int64, err error) {
	port, err := freePort(ctx)
	if err != nil {
		return 0, 0, err
	}
	var log bytes.Buffer
	running, end := context.WithCancel(ctx)
	cmd := exec.CommandContext(running, binary)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = startWithin
	cmd.Env = []string{"FUNCTIONS_CUSTOMHANDLER_PORT=" + port}
	for name, value := range s.HandlerEnv() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdout, cmd.Stderr = io.Discard, &log
	started := time.Now()
	if err := cmd.Start(); err != nil {
		end()
		return 0, 0, fmt.Errorf("starting the handler: %w", err)
	}
	defer func() {
		end()
		_ = cmd.Wait() //nolint:errcheck // it drains and ends with 143, which Wait calls an error
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, log.Bytes())
		}
	}()
	if err := awaitReady(ctx, "http://127.0.0.1:"+port+"/api/v1/health/ready"); err != nil {
		return 0, 0, err
	}
	took = time.Since(started)
	if rest {
		time.Sleep(settle)
		resident, err = residentOf(cmd.Process.Pid)
	}
	return took, resident, err
}

func freePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a port: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

func awaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return fmt.Errorf("asking health/ready: %w", err)
		}
		if response, err := client.Do(r); err == nil {
			_ = response.Body.Close() // it has no body
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the handler is not ready: %w", ctx.Err())
		case <-time.After(askEvery):
		}
	}
}
