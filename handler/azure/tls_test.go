package azure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// authority signs the certificates of a test's servers.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

// sign makes a server certificate, good for example.com until alter changes that.
func (a *authority) sign(alter func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048) // RSA, for the key exchange that must not be
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		KeyUsage:  x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if alter != nil {
		alter(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// transportTo trusts the authority and finds example.com at the address.
func (a *authority) transportTo(address string) *Transport {
	a.t.Helper()
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return newTransport(a.t, writeStack(a.t, 0o600, map[string]any{
		"rootsPem": string(root), "hosts": map[string]string{"example.com": address},
	}), nil)
}

// serve starts a TLS server and gives a transport to it.
func (a *authority) serve(config *tls.Config, handler http.HandlerFunc) *Transport {
	a.t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = config
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	a.t.Cleanup(server.Close)
	return a.transportTo(server.Listener.Addr().String())
}

func TestConnectionIsTLS13WithAHybridKeyExchange(t *testing.T) {
	a := newAuthority(t)
	var version uint16
	var curve tls.CurveID
	transport := a.serve(&tls.Config{Certificates: []tls.Certificate{a.sign(nil)}}, func(_ http.ResponseWriter, r *http.Request) {
		version, curve = r.TLS.Version, r.TLS.CurveID
	})
	if _, err := get(t, transport.Client(5*time.Second), "https://example.com/"); err != nil {
		t.Fatal(err)
	}
	if version != tls.VersionTLS13 || curve != tls.X25519MLKEM768 {
		t.Errorf("%s, %s", tls.VersionName(version), curve)
	}
}

func TestTLS12IsSpokenWithForwardSecrecyAndAEADOnly(t *testing.T) {
	// What an app setting could try to bring back.
	t.Setenv("GODEBUG", "tlsrsakex=1,tls3des=1,tls10server=1,"+os.Getenv("GODEBUG"))
	a := newAuthority(t)
	certificates := []tls.Certificate{a.sign(nil)}
	allowed := map[uint16]bool{}
	for _, id := range cipherSuites() {
		allowed[id] = true
	}
	spoken := 0
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if suite.SupportedVersions[0] > tls.VersionTLS12 || strings.Contains(suite.Name, "ECDSA") {
			continue // the certificate's key is RSA
		}
		config := &tls.Config{
			Certificates: certificates, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID},
			NextProtos: []string{"http/1.1"}, // HTTP/2 has rules of its own about suites
		}
		transport := a.serve(config, func(http.ResponseWriter, *http.Request) {})
		_, err := get(t, transport.Client(5*time.Second), "https://example.com/")
		if (err == nil) != allowed[suite.ID] {
			t.Errorf("%s: %v", suite.Name, err)
		}
		if err == nil {
			spoken++
			if !strings.HasPrefix(suite.Name, "TLS_ECDHE_") || !strings.Contains(suite.Name, "GCM") && !strings.Contains(suite.Name, "POLY1305") {
				t.Errorf("%s is spoken", suite.Name)
			}
		}
	}
	if spoken != 3 {
		t.Errorf("%d suites are spoken with an RSA certificate", spoken)
	}
}

func TestServersThatAreNotBelieved(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	now := time.Now()
	good := a.sign(nil)
	for name, tt := range map[string]struct {
		config *tls.Config
		want   func(error) bool
	}{
		"TLS 1.1": {
			&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
			func(err error) bool { return strings.Contains(err.Error(), "protocol version") },
		},
		"signed by itself or a stranger": {
			&tls.Config{Certificates: []tls.Certificate{stranger.sign(nil)}}, is[x509.UnknownAuthorityError],
		},
		"another name": {
			&tls.Config{Certificates: []tls.Certificate{a.sign(func(c *x509.Certificate) { c.DNSNames = []string{"example.org"} })}},
			is[x509.HostnameError],
		},
		"a name in the common name alone": {
			&tls.Config{Certificates: []tls.Certificate{a.sign(func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "example.com" })}},
			is[x509.HostnameError],
		},
		"expired": {
			&tls.Config{Certificates: []tls.Certificate{a.sign(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })}}, invalid(x509.Expired),
		},
		"not valid yet": {
			&tls.Config{Certificates: []tls.Certificate{a.sign(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) })}}, invalid(x509.Expired),
		},
		"for clients": {
			&tls.Config{Certificates: []tls.Certificate{a.sign(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })}},
			invalid(x509.IncompatibleUsage),
		},
	} {
		asked := false
		transport := a.serve(tt.config, func(http.ResponseWriter, *http.Request) { asked = true })
		_, err := get(t, transport.Client(5*time.Second), "https://example.com/")
		if err == nil || !tt.want(err) || asked {
			t.Errorf("%s: %v; asked: %v", name, err, asked)
		}
	}
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func invalid(reason x509.InvalidReason) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[x509.CertificateInvalidError](err)
		return ok && e.Reason == reason
	}
}

// TestSlowServersAreGivenUp: every wait has an end. The limits are first seen to
// be there and then shortened, so that the test does not wait for them.
func TestSlowServersAreGivenUp(t *testing.T) {
	const short = 50 * time.Millisecond
	a := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{a.sign(nil)}}
	ended := t.Context().Done()
	stall := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	}
	isTimeout := func(err error) bool {
		e, ok := errors.AsType[net.Error](err)
		return ok && e.Timeout()
	}

	transport := a.serve(config, stall)
	if limit := transport.secure.ResponseHeaderTimeout; limit <= 0 || limit > tryTimeout {
		t.Errorf("response headers may take %s", limit)
	}
	transport.secure.ResponseHeaderTimeout = short
	if _, err := get(t, transport.Client(0), "https://example.com/"); !isTimeout(err) {
		t.Errorf("headers that do not come: %v", err)
	}

	transport = a.serve(config, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush() // the client sees what arrives
		stall(w, r)
	})
	if _, err := get(t, transport.Client(10*short), "https://example.com/"); !isTimeout(err) {
		t.Errorf("a body that stops: %v", err)
	}

	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	transport = a.transportTo(silent.Addr().String())
	if limit := transport.secure.TLSHandshakeTimeout; limit <= 0 || limit > tryTimeout {
		t.Errorf("a handshake may take %s", limit)
	}
	transport.secure.TLSHandshakeTimeout = short
	if _, err := get(t, transport.Client(0), "https://example.com/"); !isTimeout(err) {
		t.Errorf("a handshake that does not come: %v", err)
	}
}

func TestResponsesWithoutEndAreCutOff(t *testing.T) {
	a := newAuthority(t)
	for _, protocols := range [][]string{{"http/1.1"}, {"h2"}} {
		config := &tls.Config{Certificates: []tls.Certificate{a.sign(nil)}, NextProtos: protocols}
		transport := a.serve(config, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/header" {
				for i := range 2 * maxHeaderBytes / 1000 {
					w.Header().Set(fmt.Sprintf("X-Header-%d", i), strings.Repeat("x", 1000))
				}
			}
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		client := transport.Client(30 * time.Second)
		if _, err := get(t, client, "https://example.com/"); !errors.Is(err, errTooLarge) {
			t.Errorf("%s, a body without end: %v", protocols, err)
		}
		if got, err := get(t, client, "https://example.com/header"); err == nil || errors.Is(err, errTooLarge) {
			t.Errorf("%s, a header without end: %.40q, %v", protocols, got, err)
		}
	}
}

// quiet drops what a test's server says about handshakes that must fail.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
