package credential_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"secureapi/handler/azure"
	"secureapi/handler/azure/credential"
	"secureapi/handler/clock"
)

const (
	tenant    = "0f8fad5b-d9cb-469f-a165-70867728950e"
	vault     = "https://vault.azure.net/.default"
	authority = "https://example.com" // what the certificate of httptest is for
)

var options = credential.Options{Clock: clock.System}

func request(claims string) policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{vault}, Claims: claims, EnableCAE: true}
}

// TestManagedIdentity runs real MSAL against the App Service protocol.
func TestManagedIdentity(t *testing.T) {
	clientID := uuid.NewString() // MSAL's cache is the process'
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		q := r.URL.Query()
		if r.Header.Get("X-Identity-Header") != "identity-secret" || q.Get("api-version") != "2019-08-01" ||
			q.Get("resource") != "https://vault.azure.net" || q.Get("client_id") != clientID {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"token%d","expires_on":"%d","resource":"https://vault.azure.net","token_type":"Bearer"}`,
			asked, time.Now().Add(24*time.Hour).Unix())
	}))
	defer server.Close()
	c := managedIdentity(t, server.URL, clientID)
	for range 3 {
		token, err := c.GetToken(t.Context(), request(""))
		if err != nil || token.Token != "token1" || time.Until(token.ExpiresOn) < 23*time.Hour {
			t.Fatalf("%q until %s, %v", token.Token, token.ExpiresOn, err)
		}
		if early := time.Until(token.RefreshOn); early < 11*time.Hour || early > 13*time.Hour {
			t.Errorf("to be refreshed in %s", early)
		}
	}
	if token, err := c.GetToken(t.Context(), request(`{"access_token":{"nbf":{"essential":true}}}`)); err != nil || token.Token != "token2" {
		t.Errorf("with claims: %q, %v", token.Token, err)
	}
}

func TestManagedIdentityErrors(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":"invalid_request","error_description":"identity-secret"}`)
	}))
	defer server.Close()
	_, err := managedIdentity(t, server.URL, uuid.NewString()).GetToken(t.Context(), request(""))
	if err == nil || !strings.Contains(err.Error(), "invalid_request") || strings.Contains(err.Error(), "identity-secret") || strings.Contains(err.Error(), server.URL) {
		t.Errorf("%v", err)
	}
	server.Close()
	_, err = managedIdentity(t, server.URL, uuid.NewString()).GetToken(t.Context(), request(""))
	var refused *net.OpError
	if !errors.As(err, &refused) || strings.Contains(err.Error(), "client_id") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestUnsupportedSources(t *testing.T) {
	t.Setenv("IDENTITY_ENDPOINT", "")
	t.Setenv("MSI_ENDPOINT", "http://127.0.0.1:1/")
	if _, err := credential.ManagedIdentity("", http.DefaultClient, options); err == nil {
		t.Error("Cloud Shell was taken")
	}
}

func managedIdentity(t *testing.T, endpoint, clientID string) *credential.Credential {
	t.Helper()
	t.Setenv("IDENTITY_ENDPOINT", endpoint+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "identity-secret")
	transport, err := azure.NewTransport("", os.Getenv, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	c, err := credential.ManagedIdentity(clientID, transport.IdentityClient(5*time.Second), options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issuer is the part of Entra ID that MSAL's client credentials flow needs.
// verify sees each token request.
func issuer(t *testing.T, verify func(form map[string]string) string) *http.Client {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		base := authority + "/" + tenant
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/" + tenant + "/v2.0/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q}`,
				base+"/v2.0", base+"/oauth2/v2.0/authorize", base+"/oauth2/v2.0/token")
		case "/" + tenant + "/oauth2/v2.0/token":
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			form := map[string]string{}
			for name := range r.PostForm {
				form[name] = r.PostForm.Get(name)
			}
			if answer := verify(form); answer != "" {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = fmt.Fprint(w, answer)
				return
			}
			_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"token for %s"}`, form["scope"])
		default:
			t.Errorf("asked %s", r.URL)
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	data, err := json.Marshal(map[string]any{
		"rootsPem": string(root), "hosts": map[string]string{"example.com": server.Listener.Addr().String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := azure.NewTransport(write(t, data), func(string) string { return "" }, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	return transport.Client(5 * time.Second)
}

func TestClientCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...))
	app := credential.App{AuthorityHost: authority, TenantID: tenant, ClientID: "the-app"}
	var seen []map[string]string
	client := issuer(t, func(form map[string]string) string {
		seen = append(seen, form)
		_, err := jwt.Parse(form["client_assertion"], func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
			jwt.WithAudience(authority+"/"+tenant+"/oauth2/v2.0/token"), jwt.WithIssuer("the-app"))
		if err != nil {
			t.Errorf("assertion: %v", err)
		}
		return ""
	})
	c, err := credential.ClientCertificate(app, file, client, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, claims := range []string{"", "", `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`} {
		token, err := c.GetToken(t.Context(), request(claims))
		if err != nil || token.Token != "token for "+vault+" openid offline_access profile" && token.Token != "token for "+vault {
			t.Fatalf("%q, %v", token.Token, err)
		}
	}
	if len(seen) != 2 || !strings.Contains(seen[0]["claims"], "cp1") || !strings.Contains(seen[1]["claims"], `"nbf"`) {
		t.Errorf("requests %v", seen)
	}
}

func TestClientCertificateRefused(t *testing.T) {
	app := credential.App{AuthorityHost: authority, TenantID: tenant, ClientID: "the-app"}
	for name, content := range map[string]string{"empty": "", "not PEM": "secret content", "large": strings.Repeat("x", 70<<10)} {
		_, err := credential.ClientCertificate(app, write(t, []byte(content)), nil, options)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := credential.ClientCertificate(app, filepath.Join(t.TempDir(), "absent"), nil, options); err == nil {
		t.Error("an absent file was taken")
	}
	for _, app := range []credential.App{
		{},
		{AuthorityHost: "http://example.com", TenantID: tenant, ClientID: "a"},
		{AuthorityHost: authority + "/x", TenantID: tenant, ClientID: "a"},
		{AuthorityHost: authority, ClientID: "a"},
		{AuthorityHost: authority, TenantID: tenant},
	} {
		if _, err := credential.WorkloadIdentity(app, "x", nil, options); err == nil {
			t.Errorf("%v was taken", app)
		}
	}
}

func TestWorkloadIdentity(t *testing.T) {
	file := write(t, []byte("assertion-1\n"))
	var assertions []string
	answer := ""
	client := issuer(t, func(form map[string]string) string {
		assertions = append(assertions, form["client_assertion"])
		return answer
	})
	app := credential.App{AuthorityHost: authority, TenantID: tenant, ClientID: "the-app"}
	c, err := credential.WorkloadIdentity(app, file, client, options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetToken(t.Context(), request("")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("assertion-2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetToken(t.Context(), request(`{"access_token":{}}`)); err != nil {
		t.Fatal(err)
	}
	if len(assertions) != 2 || assertions[0] != "assertion-1" || assertions[1] != "assertion-2" {
		t.Errorf("assertions %q", assertions)
	}
	answer = `{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record found for assertion-2"}`
	_, err = c.GetToken(t.Context(), request(`{"access_token":{"x":{}}}`))
	if err == nil || !strings.Contains(err.Error(), "AADSTS700213") || strings.Contains(err.Error(), "assertion-2") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err = c.GetToken(t.Context(), request(`{"access_token":{"y":{}}}`)); err == nil || !strings.Contains(err.Error(), "file_unreadable") {
		t.Errorf("no file: %v", err)
	}
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
