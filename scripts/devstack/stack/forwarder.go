package stack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"secureapi/scripts/devstack/azurite"
)

// emulatorPorts are those that UseDevelopmentStorage=true means.
func emulatorPorts() map[azurite.Service]string {
	return map[azurite.Service]string{
		azurite.Blob: "127.0.0.1:10000", azurite.Queue: "127.0.0.1:10001", azurite.Table: "127.0.0.1:10002",
	}
}

// forward serves the emulator's plain HTTP ports for Core Tools, whose host knows
// no other local storage, by passing bytes on to Azurite's TLS ports.
func (s *Stack) forward(ctx context.Context) error {
	if !s.options.Forwarder {
		return nil
	}
	for service, address := range emulatorPorts() {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("forwarding the emulator's %s port, which Core Tools fix: %w", service, err)
		}
		dialer := &tls.Dialer{Config: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: s.authority.Pool(), ServerName: "localhost",
		}}
		f := &forwarder{listener: listener, dialer: dialer, target: s.Azurite.Address(service)}
		serving, stop := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() { f.serve(serving); close(done) }()
		s.onStop(func() error {
			stop()
			err := listener.Close()
			<-done
			return err
		})
	}
	return nil
}

type forwarder struct {
	listener net.Listener
	dialer   *tls.Dialer
	target   string
}

func (f *forwarder) serve(ctx context.Context) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return // closed by Stop
		}
		connections.Go(func() { f.pass(ctx, client) })
	}
}

// pass copies both ways until either side or the stack ends.
func (f *forwarder) pass(ctx context.Context, client net.Conn) {
	server, err := f.dialer.DialContext(ctx, "tcp", f.target)
	if err != nil {
		_ = client.Close() //nolint:errcheck // nothing was said on it
		return
	}
	closeBoth := sync.OnceFunc(func() {
		_ = errors.Join(client.Close(), server.Close()) //nolint:errcheck // both are done with
	})
	defer closeBoth()
	defer context.AfterFunc(ctx, closeBoth)()
	var copies sync.WaitGroup
	copies.Go(func() {
		defer closeBoth()
		_, _ = io.Copy(server, client) //nolint:errcheck // a broken pipe ends both
	})
	copies.Go(func() {
		defer closeBoth()
		_, _ = io.Copy(client, server) //nolint:errcheck // as above
	})
	copies.Wait()
}
