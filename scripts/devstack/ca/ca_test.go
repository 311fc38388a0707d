package ca_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"secureapi/scripts/devstack/ca"
)

func TestClientVerifiesAndMaps(t *testing.T) {
	const name = "devvault.vault.azure.net"
	authority, err := ca.New(name)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ca.New(name)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = authority.ServerTLS()
	server.StartTLS()
	defer server.Close()
	hosts := map[string]string{name: server.Listener.Addr().String(), "other.example": server.Listener.Addr().String()}
	call := func(authority *ca.CA, url string) error {
		client := ca.Client(authority.Pool(), hosts)
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	if err := call(authority, "https://"+name+"/"); err != nil {
		t.Error(err)
	}
	if err := call(authority, server.URL); err != nil {
		t.Error("by loopback address:", err)
	}
	if err := call(other, "https://"+name+"/"); err == nil {
		t.Error("another run's authority was trusted")
	}
	if err := call(authority, "https://other.example/"); err == nil {
		t.Error("a name that the certificate lacks was accepted")
	}
	if err := call(authority, "https://login.microsoftonline.com/"); !errors.Is(err, ca.ErrUnknownHost) {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestWriteServer(t *testing.T) {
	authority, err := ca.New("a.example")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.WriteServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{cert, key} {
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v", file, err)
		}
	}
}
