package host

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"
)

const (
	storageHost    = "devdata.queue.core.windows.net"
	identityClient = "5a2d9a0c-6f0b-4f4e-9b6b-3f6a0f1c2d3e"
	identityHeader = "identity-header"
)

// storage is Azurite's queue service as the app sees it in production: HTTPS
// under the real host name, bearer tokens from a managed identity only.
type storage struct {
	client *http.Client
	env    []string
	svc    *queueService
}

func startStorage(t *testing.T) *storage {
	t.Helper()
	certificate, key, roots := selfSigned(t)
	addr := startAzurite(t, certificate, key)
	s := &storage{client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			if to != storageHost+":443" {
				return nil, fmt.Errorf("no way to %s", to)
			}
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}}}
	s.env = []string{
		"DataStorage__queueServiceUri=https://" + storageHost, "DataStorage__credential=managedidentity", "DataStorage__clientId=" + identityClient,
		"IDENTITY_ENDPOINT=" + startIdentity(t) + "/msi/token", "IDENTITY_HEADER=" + identityHeader,
	}
	var err error
	if s.svc, err = newQueueService("DataStorage", newEnvironment(s.env), s.client); err != nil {
		t.Fatal(err)
	}
	return s
}

// queue makes an empty queue.
func (s *storage) queue(t *testing.T, name string) *azqueue.QueueClient {
	t.Helper()
	client, err := (&storageQueue{service: s.svc, name: name}).client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), nil); err != nil && !queueerror.HasCode(err, queueerror.QueueAlreadyExists) {
		t.Fatal(err)
	}
	return client
}

// texts peeks at a queue; nil when there is none.
func (s *storage) texts(t *testing.T, name string) []string {
	t.Helper()
	client, err := (&storageQueue{service: s.svc, name: name}).client()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.PeekMessages(t.Context(), &azqueue.PeekMessagesOptions{NumberOfMessages: new(int32(32))})
	if queueerror.HasCode(err, queueerror.QueueNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{}
	for _, m := range resp.Messages {
		texts = append(texts, *m.MessageText)
	}
	return texts
}

// count is the number of messages, hidden ones included.
func (s *storage) count(t *testing.T, name string) int {
	t.Helper()
	client, err := (&storageQueue{service: s.svc, name: name}).client()
	if err != nil {
		t.Fatal(err)
	}
	p, err := client.GetProperties(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return int(*p.ApproximateMessagesCount)
}

// startAzurite runs the queue service in memory until the end of the test.
func startAzurite(t *testing.T, certificate, key string) string {
	t.Helper()
	modules, err := filepath.Abs("../node_modules")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(modules, "azurite", "dist", "src", "queue", "main.js")
	if _, err := os.Stat(script); err != nil {
		t.Fatalf("Azurite is not installed: run `npm ci` in scripts/devstack (%v)", err)
	}
	port := freeTestPort(t)
	cmd := exec.Command(filepath.Join(modules, ".bin", "node"), script, "--silent", "--disableTelemetry", "--inMemoryPersistence", //nolint:noctx // stopped below
		"--queueHost", "127.0.0.1", "--queuePort", port, "--oauth", "basic", "--cert", certificate, "--key", key, "--skipApiVersionCheck")
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS=devdata:"+base64.StdEncoding.EncodeToString([]byte("never used: tokens only")))
	cmd.Dir = t.TempDir()
	var output logBuffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // ended by a signal
	})
	addr := "127.0.0.1:" + port
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", addr) //nolint:noctx // a test
		if err == nil {
			conn.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("Azurite did not start: %s", output.String())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func freeTestPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startIdentity is a managed-identity endpoint. Azurite checks the claims of a
// token, not its signature.
func startIdentity(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Header.Get("X-Identity-Header") != identityHeader || q.Get("api-version") != "2019-08-01" ||
			q.Get("resource") != "https://storage.azure.com" || q.Get("client_id") != identityClient {
			t.Errorf("asked for a token with %s", r.URL.RawQuery)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		now := time.Now().Unix()
		part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		token := part(`{"alg":"RS256","typ":"JWT"}`) + "." + part(fmt.Sprintf(
			`{"iss":"https://sts.windows.net/00000000-0000-4000-8000-000000000001/","aud":"https://storage.azure.com","iat":%d,"nbf":%d,"exp":%d}`,
			now-10, now-10, now+3600)) + "." + part("signature")
		fmt.Fprintf(w, `{"access_token":%q,"expires_on":%q,"resource":"https://storage.azure.com","token_type":"Bearer","client_id":%q}`,
			token, strconv.FormatInt(now+3600, 10), identityClient)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func selfSigned(t *testing.T) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{storageHost}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return certificate, key, roots
}
