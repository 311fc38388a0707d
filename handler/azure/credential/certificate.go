package credential

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"secureapi/handler/clock"
)

var (
	errExpired = errors.New("the certificate has expired")
	errEarly   = errors.New("the certificate is not valid yet")
)

const certificateStep = "client certificate"

// certificate is a confidential client that proves itself with the certificate
// and private key in a PEM file. The file is read for each acquisition, because
// its owner replaces it before the certificate ends.
type certificate struct {
	app    App
	file   string
	client *http.Client
	now    clock.Clock

	mu      sync.Mutex
	current *proof
}

// proof is what one content of the file makes.
type proof struct {
	sum    [sha256.Size]byte
	leaf   *x509.Certificate
	client confidential.Client
}

// ClientCertificate proves the app with the certificate and private key in a
// PEM file. A file that cannot be used is an error here; later, as in the middle
// of a rotation, the former certificate goes on until the file can be used.
func ClientCertificate(app App, file string, client *http.Client, o Options) (*Credential, error) {
	c := &certificate{app: app, file: file, client: client, now: o.Clock}
	if _, err := c.load(); err != nil {
		return nil, fmt.Errorf("%s: %w", certificateStep, err)
	}
	return newCredential(c, o), nil
}

func (c *certificate) token(ctx context.Context, scope, claims string) (azcore.AccessToken, error) {
	current, fileErr := c.load()
	if current == nil {
		return azcore.AccessToken{}, fileErr
	}
	// An authority would refuse it too, in words that hide the cause.
	switch now := c.now(); {
	case now.After(current.leaf.NotAfter):
		return azcore.AccessToken{}, errors.Join(fileErr, errExpired)
	case now.Before(current.leaf.NotBefore):
		return azcore.AccessToken{}, errors.Join(fileErr, errEarly)
	}
	token, err := acquire(ctx, current.client, scope, claims)
	if err != nil {
		return azcore.AccessToken{}, errors.Join(fileErr, err)
	}
	return token, nil
}

// load gives the proof of what the file holds now, or the former one with the
// error for which the file cannot be used.
func (c *certificate) load() (*proof, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pem, err := readFile(c.file)
	if err != nil {
		return c.current, err
	}
	defer clear(pem)
	sum := sha256.Sum256(pem)
	if c.current != nil && c.current.sum == sum {
		return c.current, nil
	}
	// MSAL's texts may quote the file: none of them goes on.
	certificates, key, err := confidential.CertFromPEM(pem, "")
	if err != nil {
		return c.current, errFile
	}
	credential, err := confidential.NewCredFromCert(certificates, key)
	if err != nil {
		return c.current, errFile
	}
	client, err := newClient(c.app, credential, c.client)
	if err != nil {
		return c.current, err
	}
	c.current = &proof{sum: sum, leaf: leafOf(certificates, key), client: client}
	return c.current, nil
}

// leafOf is the certificate of the key. NewCredFromCert has made sure that there
// is one and that the key is RSA; the zero certificate, if not, has expired.
func leafOf(certificates []*x509.Certificate, key crypto.PrivateKey) *x509.Certificate {
	if private, ok := key.(*rsa.PrivateKey); ok {
		for _, candidate := range certificates {
			if private.PublicKey.Equal(candidate.PublicKey) {
				return candidate
			}
		}
	}
	return &x509.Certificate{}
}

func (*certificate) step() string { return certificateStep }

func (c *certificate) tenant() string { return c.app.TenantID }
