package azure_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"secureapi/handler/azure"
	"secureapi/handler/azure/credential"
	"secureapi/handler/clock"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/fault"
)

// The tests of this file get the handler's own tokens in the three ways that
// there are, from the local issuer and identity endpoint, and disturb each.

const vaultScope = "https://vault.azure.net/.default"

// fresh passes by every cache: claims do, whatever they ask for.
func fresh() policy.TokenRequestOptions {
	return policy.TokenRequestOptions{
		Scopes: []string{vaultScope}, Claims: `{"access_token":{"nbf":{"essential":true,"value":"` + rand.Text() + `"}}}`,
	}
}

func registration(t *testing.T) credential.App {
	t.Helper()
	app, ok := local.Entra.App(entra.HandlerName)
	if !ok {
		t.Fatal("the directory has no handler")
	}
	return credential.App{AuthorityHost: env["AUTHORITY_HOST"], TenantID: app.Tenant, ClientID: app.ClientID}
}

func certificateFile(t *testing.T) string {
	t.Helper()
	text, err := local.Entra.Certificate().PEM()
	return write(t, must(t, text, err))
}

func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// secretText matches what an error must never hold: a token or an assertion,
// PEM, or the header of the identity endpoint.
var secretText = regexp.MustCompile(`eyJ|BEGIN|PRIVATE|secret|client_assertion`)

// wantFailure expects no token, and an error that holds the text and no secret.
func wantFailure(t *testing.T, what string, c *credential.Credential, text string) {
	t.Helper()
	token, err := c.GetToken(t.Context(), fresh())
	if err == nil || token.Token != "" || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q", what, err, text)
		return
	}
	if secretText.MatchString(err.Error()) || strings.Contains(err.Error(), env["IDENTITY_HEADER"]) {
		t.Errorf("%s: the error holds a secret: %v", what, err)
	}
}

// wantToken expects a token that is the handler's and for the vault.
func wantToken(t *testing.T, what string, c *credential.Credential) {
	t.Helper()
	token, err := c.GetToken(t.Context(), fresh())
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if got, err := local.Entra.VerifyResource(token.Token, "https://vault.azure.net"); err != nil || got.ClientID != entra.HandlerClientID {
		t.Errorf("%s: a token of %+v, %v", what, got, err)
	}
}

// TestServicePrincipals: certificate and federated assertion get tokens that
// the vault takes only from the identity that it serves.
func TestServicePrincipals(t *testing.T) {
	transport := newTransport(t)
	app := registration(t)
	options := credential.Options{Clock: clock.System}
	client := transport.Client(10 * time.Second)
	byCertificate, err := credential.ClientCertificate(app, certificateFile(t), client, options)
	must(t, byCertificate, err)
	byAssertion, err := credential.WorkloadIdentity(app, write(t, newFederation(t).assertion(t, time.Minute)), client, options)
	must(t, byAssertion, err)
	for name, identity := range map[string]*credential.Credential{
		"certificate": byCertificate, "assertion": byAssertion, "managed identity": newIdentity(t, transport),
	} {
		wrapper, _ := newVault(t, transport, identity)
		if _, err := wrapper.Newest(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	app.ClientID = "00000000-0000-0000-0000-000000000001"
	stranger, err := credential.ClientCertificate(app, certificateFile(t), client, options)
	wantFailure(t, "an unknown client", must(t, stranger, err), "AADSTS700016")
}

// TestCertificateRotatesOnDisk: the new certificate is used as soon as it is
// there, and a file in the middle of being written disturbs nothing.
func TestCertificateRotatesOnDisk(t *testing.T) {
	file := certificateFile(t)
	c, err := credential.ClientCertificate(registration(t), file, newTransport(t).Client(10*time.Second), credential.Options{Clock: clock.System})
	must(t, c, err)
	wantToken(t, "the first certificate", c)
	first, err := os.ReadFile(file)
	must(t, first, err)
	overwrite(t, file, first[:len(first)/2])
	wantToken(t, "half a file", c)
	must(t, file, os.Remove(file))
	wantToken(t, "no file", c)

	next, err := local.Entra.RotateCertificate()
	must(t, next, err)
	wantFailure(t, "the removed certificate, and no file", c, "file_unreadable")
	overwrite(t, file, first)
	wantFailure(t, "the removed certificate", c, "AADSTS700027")
	text, err := next.PEM()
	overwrite(t, file, must(t, text, err))
	wantToken(t, "the next certificate", c)
}

func TestUselessCertificates(t *testing.T) {
	client, options := newTransport(t).Client(10*time.Second), credential.Options{Clock: clock.System}
	now := time.Now()
	for what, tt := range map[string]struct {
		from, to time.Time
		text     string
	}{
		"expired":       {now.Add(-2 * time.Hour), now.Add(-time.Hour), "has expired"},
		"not valid yet": {now.Add(time.Hour), now.Add(2 * time.Hour), "not valid yet"},
		"not the app's": {now.Add(-time.Hour), now.Add(time.Hour), "AADSTS700027"},
	} {
		c, err := credential.ClientCertificate(registration(t), write(t, selfSigned(t, tt.from, tt.to)), client, options)
		wantFailure(t, what, must(t, c, err), tt.text)
	}
	good, err := os.ReadFile(certificateFile(t))
	must(t, good, err)
	_, keyOnly, _ := strings.Cut(string(good), "-----END CERTIFICATE-----\n")
	for what, content := range map[string]string{
		"cut":             string(good[:len(good)-200]),
		"the key alone":   keyOnly,
		"no key":          strings.TrimSuffix(string(good), keyOnly),
		"another's key":   strings.TrimSuffix(string(good), keyOnly) + string(selfSignedKey(t)),
		"two keys":        string(good) + keyOnly,
		"a DER file":      "\x30\x82\x01\x0a" + strings.Repeat("\x00", 256),
		"a changed digit": strings.Replace(string(good), "MII", "MIJ", 1),
	} {
		c, err := credential.ClientCertificate(registration(t), write(t, []byte(content)), client, options)
		if err == nil || c != nil || secretText.MatchString(err.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestFederatedTokenRotates: the file's writer replaces the assertion before
// it ends, and each request sends what is there.
func TestFederatedTokenRotates(t *testing.T) {
	issuer := newFederation(t)
	file := write(t, issuer.assertion(t, time.Minute))
	c, err := credential.WorkloadIdentity(registration(t), file, newTransport(t).Client(10*time.Second), credential.Options{Clock: clock.System})
	must(t, c, err)
	wantToken(t, "the first assertion", c)
	overwrite(t, file, issuer.assertion(t, -time.Hour))
	wantFailure(t, "an expired assertion", c, "AADSTS700027")
	overwrite(t, file, append(issuer.assertion(t, time.Minute), '\n'))
	wantToken(t, "the next assertion", c)
	overwrite(t, file, newFederation(t).assertion(t, time.Minute)) // the trust's key is another one now
	wantToken(t, "after the trust's key changed", c)
	overwrite(t, file, issuer.assertion(t, time.Minute))
	wantFailure(t, "the former key", c, "AADSTS700027")
	overwrite(t, file, []byte("eyJub25zZW5zZQ"))
	wantFailure(t, "no assertion", c, "AADSTS700027")
	overwrite(t, file, nil)
	wantFailure(t, "an empty file", c, "file_unreadable")
	must(t, file, os.Remove(file))
	wantFailure(t, "no file", c, "file_unreadable")
}

// TestTokenEndpointDown: each way to a token fails with a cause and without a
// secret, and works again as soon as the endpoint does.
func TestTokenEndpointDown(t *testing.T) {
	client, options := newTransport(t).Client(2*time.Second), credential.Options{Clock: clock.System}
	byCertificate, err := credential.ClientCertificate(registration(t), certificateFile(t), client, options)
	must(t, byCertificate, err)
	byAssertion, err := credential.WorkloadIdentity(registration(t), write(t, newFederation(t).assertion(t, time.Minute)), client, options)
	must(t, byAssertion, err)
	for name, c := range map[string]*credential.Credential{"certificate": byCertificate, "assertion": byAssertion} {
		t.Run(name, func(t *testing.T) {
			defer local.Entra.Faults.Clear()
			local.Entra.Faults.Set(fault.Fault{Operation: "discovery", Status: http.StatusServiceUnavailable})
			wantFailure(t, "discovery answers 503", c, "AADSTS90033")
			local.Entra.Faults.Set(fault.Fault{Operation: "token", Status: http.StatusServiceUnavailable})
			wantFailure(t, "token endpoint answers 503", c, "AADSTS90033")
			local.Entra.Faults.Set(fault.Fault{Operation: "token", Hang: true})
			wantFailure(t, "token endpoint hangs", c, "deadline exceeded")
			local.Entra.Faults.Clear()
			wantToken(t, "afterwards", c)
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		unreachable := unreachableTransport(t)
		c, err := credential.ClientCertificate(registration(t), certificateFile(t), unreachable.Client(2*time.Second), options)
		wantFailure(t, "certificate", must(t, c, err), "connection refused")
	})
	t.Run("managed identity with another header", func(t *testing.T) {
		t.Setenv("IDENTITY_HEADER", "another")
		wantFailure(t, "managed identity", newIdentity(t, newTransport(t)), "unauthorized")
	})
}

// unreachableTransport knows the authority's name, at a port where nobody is.
func unreachableTransport(t *testing.T) *azure.Transport {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, listener, err)
	address := listener.Addr().String()
	must(t, address, listener.Close())
	file, err := json.Marshal(map[string]any{
		"rootsPem": local.Info().RootsPEM, "hosts": map[string]string{"login.microsoftonline.com": address},
	})
	transport, transportErr := azure.NewTransport(write(t, must(t, file, err)), getenv, clock.System)
	must(t, transport, transportErr)
	t.Cleanup(transport.Close)
	return transport
}

// federation is an issuer that the handler's registration trusts.
type federation struct{ key *rsa.PrivateKey }

func newFederation(t *testing.T) federation {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, key, err)
	local.Entra.Federate(entra.Federation{
		ClientID: entra.HandlerClientID, Issuer: "https://issuer.example.com", Subject: "ci", Key: &key.PublicKey,
	})
	return federation{key}
}

func (f federation) assertion(t *testing.T, life time.Duration) []byte {
	t.Helper()
	now := time.Now()
	assertion, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": "https://issuer.example.com", "sub": "ci", "aud": entra.ExchangeAudience, "jti": rand.Text(),
		"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(life).Unix(),
	}).SignedString(f.key)
	return []byte(must(t, assertion, err))
}

func selfSigned(t *testing.T, from, to time.Time) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, key, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "app"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: must(t, der, err)}), encodeKey(t, key)...)
}

func selfSignedKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return encodeKey(t, must(t, key, err))
}

func encodeKey(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(t, der, err)})
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	overwrite(t, path, data)
	return path
}
