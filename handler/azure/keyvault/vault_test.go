package keyvault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/azure"
	"secureapi/handler/azure/keyvault"
	"secureapi/handler/clock"
)

// host is a name that the certificate of httptest covers, below the domain
// that the challenge names.
const host = "devvault.example.com"

// rsaKey is made once: 3072 bits take a while.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		panic(err)
	}
	return key
})

// version is one key version of the vault under test.
type version struct {
	id      string
	key     any // *rsa.PrivateKey or *ecdsa.PrivateKey
	created int64
	enabled bool
}

// vault is a Key Vault that can be told to misbehave.
type vault struct {
	t    *testing.T
	mu   sync.Mutex
	keys map[string][]version // newest last
	// alter changes an answer before it is sent.
	alter func(path string, answer map[string]any) (status int)
	// resource is what the challenge names.
	resource string
	calls    int
}

func newVault(t *testing.T) *vault {
	t.Helper()
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &vault{
		t: t, resource: "https://example.com",
		keys: map[string][]version{
			"kek":  {{strings.Repeat("a", 32), rsaKey(), 100, true}},
			"sign": {{strings.Repeat("b", 32), ecKey, 100, true}},
		},
	}
}

type staticToken struct{ t *testing.T }

func (s staticToken) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://example.com/.default" {
		s.t.Errorf("scopes %q", o.Scopes)
	}
	return azcore.AccessToken{Token: "secret-token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// start serves the vault and gives its adapters.
func (v *vault) start() (*keyvault.Wrapper, *keyvault.Signer) {
	v.t.Helper()
	server := httptest.NewTLSServer(v)
	v.t.Cleanup(server.Close)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	data, err := json.Marshal(map[string]any{
		"rootsPem": string(root), "hosts": map[string]string{host: server.Listener.Addr().String()},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	path := filepath.Join(v.t.TempDir(), "transport.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		v.t.Fatal(err)
	}
	transport, err := azure.NewTransport(path, func(string) string { return "" }, clock.System)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(transport.Close)
	client, err := keyvault.New("https://"+host, staticToken{v.t}, transport.ClientOptions(azure.KeyVault, nil))
	if err != nil {
		v.t.Fatal(err)
	}
	wrapper, err := client.Wrapper("kek")
	if err != nil {
		v.t.Fatal(err)
	}
	signer, err := client.Signer("sign")
	if err != nil {
		v.t.Fatal(err)
	}
	return wrapper, signer
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") != "Bearer secret-token" {
		w.Header().Set("WWW-Authenticate",
			`Bearer authorization="https://login.example.com/0f8fad5b-d9cb-469f-a165-70867728950e", resource="`+v.resource+`"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	status, answer := v.answer(segments, r)
	if v.alter != nil {
		if altered := v.alter(r.URL.Path, answer); altered != 0 {
			status = altered
		}
	}
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		v.t.Error(err)
	}
}

func (v *vault) answer(segments []string, r *http.Request) (int, map[string]any) {
	if len(segments) < 2 || len(v.keys[segments[1]]) == 0 {
		return 404, problem("KeyNotFound", "")
	}
	versions := v.keys[segments[1]]
	if len(segments) == 3 && segments[2] == "versions" {
		var list []any
		for _, one := range versions {
			list = append(list, map[string]any{"kid": kid(segments[1], one), "attributes": attributes(one)})
		}
		return 200, map[string]any{"value": list}
	}
	chosen := versions[len(versions)-1]
	if len(segments) > 2 {
		found := false
		for _, one := range versions {
			if one.id == segments[2] {
				chosen, found = one, true
			}
		}
		if !found {
			return 404, problem("KeyNotFound", "")
		}
	}
	if len(segments) < 4 {
		return 200, map[string]any{"key": jwk(segments[1], chosen), "attributes": attributes(chosen)}
	}
	if !chosen.enabled {
		return 403, problem("Forbidden", "KeyDisabled")
	}
	var body struct{ Alg, Value string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return 400, problem("BadParameter", "")
	}
	value, err := base64.RawURLEncoding.DecodeString(body.Value)
	if err != nil {
		return 400, problem("BadParameter", "")
	}
	result, err := operate(segments[3], body.Alg, chosen.key, value)
	if err != nil {
		return 400, problem("BadParameter", "")
	}
	return 200, map[string]any{"kid": kid(segments[1], chosen), "value": encode(result)}
}

func operate(operation, algorithm string, key any, value []byte) ([]byte, error) {
	switch private := key.(type) {
	case *rsa.PrivateKey:
		if algorithm != "RSA-OAEP-256" {
			return nil, fmt.Errorf("algorithm %s", algorithm)
		}
		if operation == "wrapkey" {
			return rsa.EncryptOAEP(sha256.New(), rand.Reader, &private.PublicKey, value, nil)
		}
		return rsa.DecryptOAEP(sha256.New(), rand.Reader, private, value, nil)
	case *ecdsa.PrivateKey:
		if algorithm != "ES256" || operation != "sign" {
			return nil, fmt.Errorf("algorithm %s", algorithm)
		}
		r, s, err := ecdsa.Sign(rand.Reader, private, value)
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
	}
	return nil, fmt.Errorf("operation %s", operation)
}

func problem(code, inner string) map[string]any {
	document := map[string]any{"code": code, "message": "no text of the vault may be repeated"}
	if inner != "" {
		document["innererror"] = map[string]any{"code": inner}
	}
	return map[string]any{"error": document}
}

func kid(name string, v version) string { return "https://" + host + "/keys/" + name + "/" + v.id }

func attributes(v version) map[string]any {
	return map[string]any{"enabled": v.enabled, "created": v.created, "updated": v.created}
}

func jwk(name string, v version) map[string]any {
	answer := map[string]any{"kid": kid(name, v)}
	switch private := v.key.(type) {
	case *rsa.PrivateKey:
		answer["kty"], answer["n"], answer["e"] = "RSA", encode(private.N.Bytes()), encode(big.NewInt(int64(private.E)).Bytes())
	case *ecdsa.PrivateKey:
		point, err := private.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		size := (len(point) - 1) / 2
		answer["kty"], answer["crv"] = "EC", private.Curve.Params().Name
		answer["x"], answer["y"] = encode(point[1:1+size]), encode(point[1+size:])
	}
	return answer
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
