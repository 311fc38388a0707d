// Package ca makes the certificate authority of one run of the local stack.
//
// It issues one server certificate that carries the real names of the services
// (login.microsoftonline.com, <vault>.vault.azure.net, ...), so that every client
// keeps verifying TLS as it does in Azure and only the address it dials differs.
//
// Trust boundary: whoever held the CA's key could pass for those names before
// anything that trusts it. So the key never leaves New: it signs one certificate
// and is forgotten, the CA is name-constrained to the same names, nothing is
// installed in the machine's trust store, and the next run has another CA.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// lifetime covers the longest run of a stack; Apple refuses over 825 days.
	lifetime = 30 * 24 * time.Hour
	backdate = time.Hour
)

// CA is the local authority after it has issued its one certificate.
type CA struct {
	pool     *x509.CertPool
	rootsPEM string
	certPEM  []byte
	keyPEM   []byte
	leaf     tls.Certificate
}

// New makes an authority and its server certificate for the given host names;
// 127.0.0.1 and localhost are always among them.
func New(hosts ...string) (*CA, error) {
	if len(hosts) == 0 {
		return nil, errors.New("making the local CA: no host names")
	}
	names := append([]string{"localhost"}, hosts...)
	loopback := net.IPv4(127, 0, 0, 1)
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the CA's key: %w", err)
	}
	root := template("secureapi local CA")
	root.IsCA, root.BasicConstraintsValid, root.MaxPathLenZero = true, true, true
	root.KeyUsage = x509.KeyUsageCertSign
	root.PermittedDNSDomainsCritical = true
	root.PermittedDNSDomains = names
	root.PermittedIPRanges = []*net.IPNet{{IP: loopback.To4(), Mask: net.CIDRMask(8, 32)}}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("making the CA's certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the server key: %w", err)
	}
	leaf := template("secureapi local services")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.DNSNames, leaf.IPAddresses = names, []net.IP{loopback}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("making the server certificate: %w", err)
	}
	return assemble(rootDER, leafDER, key)
}

func assemble(rootDER, leafDER []byte, key *ecdsa.PrivateKey) (*CA, error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the server key: %w", err)
	}
	c := &CA{
		pool:     x509.NewCertPool(),
		rootsPEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})),
		certPEM:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		keyPEM:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
	if !c.pool.AppendCertsFromPEM([]byte(c.rootsPEM)) {
		return nil, errors.New("reading back the CA's certificate")
	}
	c.leaf, err = tls.X509KeyPair(c.certPEM, c.keyPEM)
	if err != nil {
		return nil, fmt.Errorf("reading back the server certificate: %w", err)
	}
	return c, nil
}

func template(name string) *x509.Certificate {
	var serial [16]byte
	_, _ = rand.Read(serial[:]) // never fails
	serial[0] = serial[0]&0x7f | 0x40
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
	}
}

// RootsPEM is the CA's certificate, for those who are to trust it.
func (c *CA) RootsPEM() string { return c.rootsPEM }

// Pool trusts this CA and nothing else.
func (c *CA) Pool() *x509.CertPool { return c.pool }

// ServerTLS is the configuration of a service of the stack.
func (c *CA) ServerTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c.leaf}}
}

// WriteServer writes the server certificate and its key (mode 0600) into dir,
// for a server that is not a part of this process.
func (c *CA) WriteServer(dir string) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	if err := os.WriteFile(certFile, c.certPEM, 0o600); err != nil {
		return "", "", fmt.Errorf("writing the server certificate: %w", err)
	}
	if err := os.WriteFile(keyFile, c.keyPEM, 0o600); err != nil {
		return "", "", fmt.Errorf("writing the server key: %w", err)
	}
	return certFile, keyFile, nil
}
