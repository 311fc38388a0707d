package entra_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/entra"
)

// issuer is one for all tests: its RSA keys take a while.
var issuer = sync.OnceValues(func() (*entra.Server, error) { return entra.New(entra.Options{}) })

func serve(t *testing.T) (*entra.Server, *http.Client) {
	t.Helper()
	s, err := issuer()
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ca.New("login.microsoftonline.com")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	server.TLS = authority.ServerTLS()
	server.StartTLS()
	t.Cleanup(server.Close)
	client := ca.Client(authority.Pool(), map[string]string{"login.microsoftonline.com": server.Listener.Addr().String()})
	t.Cleanup(client.CloseIdleConnections)
	return s, client
}

// keys fetches the tenant's key set as a resource server does.
func keys(t *testing.T, client *http.Client, tenant string) jwt.Keyfunc {
	t.Helper()
	var discovery struct {
		JWKSURI string `json:"jwks_uri"`
	}
	get(t, client, entra.Authority+"/"+tenant+"/v2.0/.well-known/openid-configuration", &discovery)
	var set struct {
		Keys []struct{ Kid, N, E, Issuer string }
	}
	get(t, client, discovery.JWKSURI, &set)
	return func(token *jwt.Token) (any, error) {
		for _, key := range set.Keys {
			if key.Kid == token.Header["kid"] && key.Issuer == entra.Authority+"/"+tenant+"/v2.0" {
				return publicKey(key.N, key.E)
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}
}

func get(t *testing.T, client *http.Client, url string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", url, resp.StatusCode, err)
	}
}

func TestConfidentialClients(t *testing.T) {
	s, client := serve(t)
	app, ok := s.App("writer-app")
	if !ok {
		t.Fatal("no writer-app")
	}
	secret, err := confidential.NewCredFromSecret(app.Secret)
	if err != nil {
		t.Fatal(err)
	}
	wrongSecret, err := confidential.NewCredFromSecret("guessed")
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Certificate().PEM()
	if err != nil {
		t.Fatal(err)
	}
	certs, key, err := confidential.CertFromPEM(text, "")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := confidential.NewCredFromCert(certs, key)
	if err != nil {
		t.Fatal(err)
	}
	forgedKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := confidential.NewCredFromCert(certs, forgedKey)
	if err != nil {
		forged = wrongSecret // MSAL itself refuses a key that is not the certificate's
	}
	for _, tt := range []struct {
		name       string
		credential confidential.Credential
		strength   string
	}{
		{"secret", secret, "1"},
		{"certificate", certificate, "2"},
		{"wrong secret", wrongSecret, ""},
		{"wrong key", forged, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := confidential.New(entra.Authority+"/"+app.Tenant, app.ClientID, tt.credential,
				confidential.WithHTTPClient(client), confidential.WithInstanceDiscovery(false))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.AcquireTokenByCredential(t.Context(), []string{entra.APIClientID + "/.default"})
			if tt.strength == "" {
				if err == nil {
					t.Error("a token was issued")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			claims := parse(t, keys(t, client, app.Tenant), got.AccessToken)
			want := map[string]any{
				"aud": entra.APIClientID, "azp": app.ClientID, "azpacr": tt.strength, "idtyp": "app", "oid": app.OID,
				"roles": []any{"Vault.Writer"}, "tid": app.Tenant, "ver": "2.0", "sub": app.OID,
				"iss": entra.Authority + "/" + app.Tenant + "/v2.0",
			}
			maps.DeleteFunc(claims, func(name string, _ any) bool { _, ok := want[name]; return !ok })
			if diff := cmp.Diff(want, map[string]any(claims)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func parse(t *testing.T, key jwt.Keyfunc, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(token, claims, key, jwt.WithValidMethods([]string{"RS256"})); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestFederation(t *testing.T) {
	s, client := serve(t)
	external, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.Federate(entra.Federation{
		ClientID: entra.HandlerClientID, Issuer: "https://pipeline.example", Subject: "repo:secureapi", Key: &external.PublicKey,
	})
	assertion := func(change map[string]any) string {
		claims := jwt.MapClaims{
			"iss": "https://pipeline.example", "sub": "repo:secureapi", "aud": entra.ExchangeAudience,
			"exp": time.Now().Add(time.Minute).Unix(),
		}
		maps.Copy(claims, change)
		signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(external)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	for _, tt := range []struct {
		name   string
		change map[string]any
		want   int
	}{
		{"as trusted", nil, http.StatusOK},
		{"other subject", map[string]any{"sub": "repo:other"}, http.StatusUnauthorized},
		{"other audience", map[string]any{"aud": "https://elsewhere.example"}, http.StatusUnauthorized},
		{"expired", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, http.StatusUnauthorized},
		{"without expiry", map[string]any{"exp": nil}, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := "grant_type=client_credentials&client_id=" + entra.HandlerClientID +
				"&scope=https%3A%2F%2Fvault.azure.net%2F.default&client_assertion_type=" +
				strings.ReplaceAll(entra.AssertionType, ":", "%3A") + "&client_assertion=" + assertion(tt.change)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
				entra.Authority+"/"+entra.HomeTenant+"/oauth2/v2.0/token", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if text, _ := io.ReadAll(resp.Body); resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tt.want, text)
			}
		})
	}
}

func TestPersonas(t *testing.T) {
	s, client := serve(t)
	token, err := s.PersonaToken("revealer", entra.Grant{Age: 11 * time.Minute, Capable: true})
	if err != nil {
		t.Fatal(err)
	}
	claims := parse(t, keys(t, client, entra.HomeTenant), token)
	issued, err := claims.GetIssuedAt()
	if err != nil {
		t.Fatal(err)
	}
	age := time.Since(issued.Time)
	if age < 11*time.Minute || age > 12*time.Minute {
		t.Errorf("issued %s ago", age)
	}
	want := map[string]any{"idtyp": "user", "scp": entra.Scope, "roles": []any{"Vault.Revealer"}, "acrs": []any{"c1"}, "xms_cc": []any{"cp1"}}
	maps.DeleteFunc(claims, func(name string, _ any) bool { _, ok := want[name]; return !ok })
	if diff := cmp.Diff(want, map[string]any(claims)); diff != "" {
		t.Error(diff)
	}
	ids := map[string]bool{}
	for _, p := range entra.Personas() {
		if ids[p.OID] {
			t.Errorf("%s shares an object id", p.Name)
		}
		ids[p.OID] = true
	}
	for _, a := range s.Apps() {
		if ids[a.OID] || ids[a.ClientID] {
			t.Errorf("%s shares an id", a.Name)
		}
		ids[a.OID], ids[a.ClientID] = true, true
	}
}

func TestRotate(t *testing.T) {
	s, client := serve(t)
	former := s.KeyID(entra.OtherTenant)
	old, err := s.PersonaToken("other-writer", entra.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(entra.OtherTenant); err != nil {
		t.Fatal(err)
	}
	fresh, err := s.PersonaToken("other-writer", entra.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	both := keys(t, client, entra.OtherTenant)
	parse(t, both, old)
	parse(t, both, fresh)
	if err := s.Retire(entra.OtherTenant, former); err != nil {
		t.Fatal(err)
	}
	if _, err := jwt.Parse(old, keys(t, client, entra.OtherTenant)); err == nil {
		t.Error("the retired key is still published")
	}
	if err := s.Retire(entra.OtherTenant, s.KeyID(entra.OtherTenant)); err == nil {
		t.Error("the signing key was retired")
	}
}

func TestVerifyResource(t *testing.T) {
	s, _ := serve(t)
	app, ok := s.App(entra.HandlerName)
	if !ok {
		t.Fatal("the handler has no identity")
	}
	const resource = "https://vault.azure.net"
	good, _, err := s.ResourceToken(app, resource, "2")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.VerifyResource(good, resource); err != nil || got.ClientID != entra.HandlerClientID {
		t.Errorf("%+v, %v", got, err)
	}
	api, err := s.PersonaToken("writer", entra.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := entra.MintToken(map[string]any{"alg": "none"}, map[string]any{"aud": resource},
		func([]byte) ([]byte, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	expired, err := s.Sign(entra.HomeTenant, map[string]any{
		"aud": resource, "iss": "https://sts.windows.net/" + entra.HomeTenant + "/", "tid": entra.HomeTenant,
		"nbf": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(-time.Hour).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"another resource's": mustResource(t, s, app, "https://storage.azure.com"),
		"the API's":          api, "unsigned": unsigned, "expired": expired, "empty": "",
		"body of another": parts[0] + "." + strings.Split(api, ".")[1] + "." + parts[2],
	} {
		if _, err := s.VerifyResource(token, resource); err == nil {
			t.Errorf("%s token was accepted", name)
		}
	}
}

func mustResource(t *testing.T, s *entra.Server, app entra.App, resource string) string {
	t.Helper()
	token, _, err := s.ResourceToken(app, resource, "2")
	if err != nil {
		t.Fatal(err)
	}
	return token
}
