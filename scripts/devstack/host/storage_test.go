package host

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"

	"secureapi/scripts/devstack/azurite"
	"secureapi/scripts/devstack/ca"
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
	authority, err := ca.New(storageHost)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := authority.WriteServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	packages, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	server, err := azurite.Start(t.Context(), azurite.Options{PackageDir: packages, CertFile: certificate, KeyFile: key, Accounts: []string{"devdata"}, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := &storage{client: ca.Client(authority.Pool(), server.Hosts("core.windows.net"))}
	s.env = []string{
		"DataStorage__queueServiceUri=https://" + storageHost, "DataStorage__credential=managedidentity", "DataStorage__clientId=" + identityClient,
		"IDENTITY_ENDPOINT=" + startIdentity(t) + "/msi/token", "IDENTITY_HEADER=" + identityHeader,
	}
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
