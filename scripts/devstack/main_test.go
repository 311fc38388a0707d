package main

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestPortClash(t *testing.T) {
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	address, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port := int(address.Port())
	t.Setenv("PORT", strconv.Itoa(port))
	dir := filepath.Join(t.TempDir(), "state")
	err = run(t.Context(), []string{"-dir", dir}, &bytes.Buffer{})
	if err == nil {
		t.Fatal("started on a port that is taken")
	}
	for _, want := range []string{"port " + strconv.Itoa(port), "PORT=", owner(port)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if _, err := os.Stat("/proc/self/comm"); err == nil && !strings.Contains(owner(port), strconv.Itoa(os.Getpid())) {
		t.Errorf("owner is %q, want this process", owner(port))
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("something was started")
	}
}

func TestPortVariable(t *testing.T) {
	for _, value := range []string{"x", "-1", "65536"} {
		t.Setenv("PORT", value)
		if err := run(t.Context(), nil, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "PORT") {
			t.Errorf("PORT=%s: %v", value, err)
		}
	}
}
