package authn

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/fuzzcheck"
)

const (
	testTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	testAPI    = "5a1b0a5e-0f41-4f0e-8f8e-3a2b6f1f9d11"
	testHost   = "https://login.microsoftonline.com"
	testUser   = "aaaaaaaa-0000-4000-8000-000000000001"
	testClient = "bbbbbbbb-0000-4000-8000-000000000001"
)

var testNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

type staticKeys struct {
	key Key
	err error
}

func (s staticKeys) Key(_ context.Context, _, kid string) (Key, error) {
	if s.err != nil {
		return Key{}, s.err
	}
	if kid != "k1" {
		return Key{}, ErrUnknownKey
	}
	return s.key, nil
}

// revocationFunc is a list of revocations.
type revocationFunc func(p authz.Principal) (authz.Revocation, error)

func (f revocationFunc) Check(_ context.Context, p authz.Principal) (authz.Revocation, error) {
	return f(p)
}

var nothingRevoked = revocationFunc(func(authz.Principal) (authz.Revocation, error) { return authz.Revocation{}, nil })

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthenticator(t testing.TB, keys KeySource) *Authenticator {
	t.Helper()
	a, err := New(Config{
		TenantIDs: []string{testTenant}, Audience: testAPI, AuthorityHost: testHost, Scope: "Vault.Access", StepUpContext: "c1",
	}, keys, nothingRevoked, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func userClaims() map[string]any {
	return map[string]any{
		"ver": "2.0", "iss": testHost + "/" + testTenant + "/v2.0", "aud": testAPI, "tid": testTenant, "oid": testUser,
		"azp": testClient, "azpacr": "0", "idtyp": "user", "scp": "openid Vault.Access", "roles": []string{"Vault.Writer"},
		"acrs": []string{"c1"}, "uti": "u", "iat": testNow.Unix(), "nbf": testNow.Unix(), "exp": testNow.Unix() + 3600,
	}
}

func appClaims() map[string]any {
	c := userClaims()
	delete(c, "scp")
	c["idtyp"], c["azpacr"] = "app", "2"
	return c
}

func goodHeader() map[string]any { return map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"} }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// mint signs header and claims, given as maps or as raw JSON text.
func mint(t testing.TB, key *rsa.PrivateKey, header, claims any) string {
	t.Helper()
	part := func(v any) string {
		if text, ok := v.(string); ok {
			return b64([]byte(text))
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64(b)
	}
	signed := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(signature)
}

func with(m map[string]any, name string, value any) map[string]any {
	m = maps.Clone(m)
	m[name] = value
	if value == nil {
		delete(m, name)
	}
	return m
}

func reasonOf(t *testing.T, err error) (reason string, verified bool) {
	t.Helper()
	if err == nil {
		return "", false
	}
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("not a refusal: %v", err)
	}
	return refusal.Reason, refusal.Verified
}

func TestGoodTokensGiveAPrincipal(t *testing.T) {
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	p, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), userClaims())})
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != authz.User || !p.Scoped || p.TenantID != testTenant || p.ObjectID != testUser || !p.HasRole(authz.Writer) {
		t.Errorf("user: %+v", p)
	}
	if err := a.RequireStepUp(p); err != nil {
		t.Errorf("step-up: %v", err)
	}
	p, err = a.Authenticate(t.Context(), []string{"bearer " + mint(t, key, goodHeader(), appClaims())})
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != authz.App || p.Scoped || !p.HasRole(authz.Writer) {
		t.Errorf("app: %+v", p)
	}
	step, ok := errors.AsType[*StepUpRequired](a.RequireStepUp(p))
	if !ok || step.Challenge != "" {
		t.Error("an app can step up")
	}
	p, err = a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), with(userClaims(), "scp", "Vault.Accessible openid"))})
	if err != nil || p.Scoped {
		t.Errorf("a scope's prefix: %+v, %v", p, err)
	}
}

func TestStepUpIsFresh(t *testing.T) {
	a := newAuthenticator(t, staticKeys{})
	p := authz.Principal{Kind: authz.User, AuthContexts: []string{"c1"}}
	for age, want := range map[time.Duration]bool{
		0: true, 10 * time.Minute: true, 10*time.Minute + time.Second: false, -time.Minute: true, -2 * time.Minute: false,
	} {
		p.IssuedAt = testNow.Add(-age)
		if err := a.RequireStepUp(p); (err == nil) != want {
			t.Errorf("age %s: %v", age, err)
		}
	}
	p.IssuedAt, p.AuthContexts = testNow, []string{"c10"}
	if a.RequireStepUp(p) == nil {
		t.Error("another context was enough")
	}
}

func decode(t *testing.T, part string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAKeyOfAnotherIssuerIsRefused(t *testing.T) {
	key := newKey(t)
	for _, issuer := range []string{"", testHost + "/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"} {
		a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: issuer}})
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), userClaims())})
		if reason, _ := reasonOf(t, err); reason != "key_issuer_mismatch" {
			t.Errorf("issuer %q: %s", issuer, reason)
		}
	}
}

func TestKeysThatCannotBeHadAreNotARefusal(t *testing.T) {
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{err: errors.New("down")})
	_, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), userClaims())})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestBadConfigurationsNameEveryProblem(t *testing.T) {
	_, err := New(Config{TenantIDs: []string{consumerTenant}}, staticKeys{}, nothingRevoked, time.Now)
	if err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("got %v", err)
	}
}

func FuzzToken(f *testing.F) {
	key := newKey(f)
	a := newAuthenticator(f, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	good := mint(f, key, goodHeader(), userClaims())
	f.Add(good)
	f.Add("a.b.c")
	f.Add(fmt.Sprintf("%s.%s.", b64([]byte(`{"alg":"none"}`)), b64([]byte(`{}`))))
	f.Add(strings.Repeat(".", 16000))
	f.Add(b64([]byte(strings.Repeat("[", 12000))) + ".e30.")
	f.Fuzz(func(t *testing.T, token string) {
		authenticate := func(token string) error {
			_, err := a.Authenticate(t.Context(), []string{"Bearer " + token})
			return err
		}
		err := authenticate(token)
		if err == nil {
			if token != good {
				t.Errorf("accepted %q", token)
			}
			return
		}
		if _, verified := reasonOf(t, err); verified {
			t.Errorf("%q was verified: %v", token, err)
		}
		if err := authenticate(fuzzcheck.Marked(token)); err == nil || fuzzcheck.Quotes(err.Error()) {
			t.Errorf("marked %q: %v", token, err)
		}
		if n, ok := fuzzcheck.Allocates(len(token), func() { _ = authenticate(token) }); !ok {
			t.Errorf("refusing %d bytes took %d", len(token), n)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	key := newKey(b)
	a := newAuthenticator(b, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	header := []string{"Bearer " + mint(b, key, goodHeader(), userClaims())}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), header); err != nil {
			b.Fatal(err)
		}
	}
}
