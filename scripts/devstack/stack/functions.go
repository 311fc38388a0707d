package stack

import (
	"context"
	"errors"
	"fmt"

	"secureapi/scripts/devstack/host"
)

// URL is the address of the app, without a path.
func (s *Stack) URL() string {
	if s.Host == nil {
		return ""
	}
	return "http://" + s.Host.Addr()
}

// startHost runs the app under the host stand-in until Stop.
func (s *Stack) startHost(ctx context.Context) error {
	if s.options.Host == nil {
		return nil
	}
	s.options.Progress("starting the Functions host stand-in and the handler")
	log, err := s.log("host")
	if err != nil {
		return err
	}
	h, err := host.New(host.Options{ //nolint:contextcheck // it runs until Stop, not until the end of ctx
		Dir: s.options.Host.Dir, Port: s.options.Host.Port, Mode: s.options.Host.Mode,
		Env: s.hostEnv(), StateDir: s.dir("timers"), Log: log, HTTPClient: s.client,
	})
	if err != nil {
		return fmt.Errorf("starting the host: %w", err)
	}
	// The host outlives the context of the start; Stop ends it.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- h.Run(running) }()
	select {
	case <-h.Ready():
	case err := <-ended:
		stop()
		return fmt.Errorf("starting the host (log: %s): %w", s.dir("logs/host.log"), errors.Join(err, errEnded))
	case <-ctx.Done():
		stop()
		return errors.Join(fmt.Errorf("starting the host: %w", ctx.Err()), <-ended)
	}
	s.Host = h
	finished := make(chan error, 1)
	go func() {
		err := <-ended
		if running.Err() == nil {
			s.fail(fmt.Errorf("the host ended: %w", errors.Join(err, errEnded)))
		}
		finished <- err
	}()
	s.onStop(func() error {
		stop()
		return <-finished
	})
	return nil
}

var errEnded = errors.New("it ended by itself")
