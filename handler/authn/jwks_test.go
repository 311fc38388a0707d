package authn

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/clock/clocktest"
	"secureapi/handler/fuzzcheck"
)

// authority serves a tenant's keys; body and status may change.
type authority struct {
	*httptest.Server
	mu     sync.Mutex
	body   string
	status int
	calls  atomic.Int64
	now    time.Time
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{status: http.StatusOK, now: testNow}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		if r.URL.Path != "/"+testTenant+"/discovery/v2.0/keys" {
			http.NotFound(w, r)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		w.WriteHeader(a.status)
		if _, err := w.Write([]byte(a.body)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *authority) serve(status int, body string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.body = status, body
}

func (a *authority) pass(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

func (a *authority) clock() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

func (a *authority) source() *JWKS {
	return NewJWKS(a.URL, a.Client(), a.clock, slog.New(slog.DiscardHandler))
}

// keyOfSets is the key of every set: making one takes longer than a test.
var keyOfSets = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, minModulus) })

func keySetOf(t *testing.T, kids ...string) string {
	t.Helper()
	key, err := keyOfSets()
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]string
	for _, kid := range kids {
		list = append(list, map[string]string{
			"kty": "RSA", "use": "sig", "kid": kid, "n": b64(key.N.Bytes()),
			"e": b64(big.NewInt(int64(key.E)).Bytes()), "issuer": testHost + "/{tenantid}/v2.0",
		})
	}
	b, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAFloodOfUnknownKeysIsOneFetch(t *testing.T) {
	a := newAuthority(t)
	a.serve(http.StatusOK, keySetOf(t, "k1"))
	j := a.source()
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			if _, err := j.Key(t.Context(), testTenant, "unknown"); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
		t.Error(err)
	}
	if n := a.calls.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	a.serve(http.StatusOK, keySetOf(t, "k1", "k2"))
	if _, err := j.Key(t.Context(), testTenant, "k2"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("before the pause is over: %v", err)
	}
	a.pass(fetchPause)
	if _, err := j.Key(t.Context(), testTenant, "k2"); err != nil {
		t.Errorf("a rotated key: %v", err)
	}
}

func TestLastGoodKeysServeADay(t *testing.T) {
	broken := map[string]struct {
		status int
		body   string
	}{
		"down":      {http.StatusBadGateway, ""},
		"HTML":      {http.StatusOK, "<html>"},
		"empty":     {http.StatusOK, `{"keys":[]}`},
		"duplicate": {http.StatusOK, keySetOf(t, "k1", "k1")},
		"too large": {http.StatusOK, keySetOf(t, "k1") + strings.Repeat(" ", maxKeySet)},
	}
	for name, b := range broken {
		a := newAuthority(t)
		a.serve(http.StatusOK, keySetOf(t, "k1"))
		j := a.source()
		if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
			t.Fatal(err)
		}
		a.serve(b.status, b.body)
		a.pass(lastGoodLife - time.Second)
		if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
			t.Errorf("%s, within a day: %v", name, err)
		}
		if _, err := j.Key(t.Context(), testTenant, "k2"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s, a new key: %v", name, err)
		}
		a.pass(time.Second)
		if _, err := j.Key(t.Context(), testTenant, "k1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s, after a day: %v", name, err)
		}
	}
}

func TestARemovedKeyStopsWithTheNextRefresh(t *testing.T) {
	a := newAuthority(t)
	a.serve(http.StatusOK, keySetOf(t, "k1", "k2"))
	j := a.source()
	if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
		t.Fatal(err)
	}
	a.serve(http.StatusOK, keySetOf(t, "k2"))
	a.pass(staleAfter)
	if _, err := j.Key(t.Context(), testTenant, "k1"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
}

// A key that was taken away while this process was frozen does not serve on by
// the time that the process has missed.
func TestARemovedKeyDoesNotOutliveAFreeze(t *testing.T) {
	a := newAuthority(t)
	a.now = time.Now()
	a.serve(http.StatusOK, keySetOf(t, "k1", "k2"))
	j := a.source()
	if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
		t.Fatal(err)
	}
	a.serve(http.StatusOK, keySetOf(t, "k2"))
	a.now = clocktest.Frozen(a.now, staleAfter)
	if _, err := j.Key(t.Context(), testTenant, "k1"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("got %v", err)
	}
	a.serve(http.StatusServiceUnavailable, "")
	a.now = clocktest.Frozen(a.now, lastGoodLife)
	if _, err := j.Key(t.Context(), testTenant, "k2"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a day later: %v", err)
	}
}

func TestUnusableKeysArePassedOver(t *testing.T) {
	good := keySetOf(t, "k1")
	for name, change := range map[string]func(string) string{
		"no issuer":     func(s string) string { return strings.Replace(s, `"issuer"`, `"x"`, 1) },
		"EC":            func(s string) string { return strings.Replace(s, `"RSA"`, `"EC"`, 1) },
		"for sealing":   func(s string) string { return strings.Replace(s, `"sig"`, `"enc"`, 1) },
		"exponent 3":    func(s string) string { return strings.Replace(s, `"AQAB"`, `"Aw"`, 1) },
		"short modulus": func(s string) string { return strings.Replace(s, `"n":"`, `"n":"AQAB","m":"`, 1) },
		"PS256":         func(s string) string { return strings.Replace(s, `"kty"`, `"alg":"PS256","kty"`, 1) },
		"without use":   func(s string) string { return strings.Replace(s, `"use"`, `"for"`, 1) },
		"even modulus":  func(s string) string { return withModulus(s, new(big.Int).Lsh(big.NewInt(1), minModulus-1)) },
		"huge modulus":  func(s string) string { return withModulus(s, new(big.Int).SetBit(big.NewInt(1), maxModulus, 1)) },
		"deep": func(s string) string {
			return strings.Replace(s, `"kty"`, `"x":`+strings.Repeat("[", 9)+strings.Repeat("]", 9)+`,"kty"`, 1)
		},
		"line end in n": func(s string) string { return strings.Replace(s, `"n":"`, `"n":"\n`, 1) },
		"odd key id":    func(s string) string { return strings.Replace(s, `"k1"`, `"../k1"`, 1) },
	} {
		if _, err := parseKeySet([]byte(change(good))); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, body := range map[string]string{
		"as it is":      good,
		"with its alg":  strings.Replace(good, `"kty"`, `"alg":"RS256","kty"`, 1),
		"longest":       withModulus(good, new(big.Int).SetBit(big.NewInt(1), maxModulus-1, 1)),
		"with x5c, x5t": strings.Replace(good, `"kty"`, `"x5t":"a","x5c":["b"],"cloud_instance_name":"c","kty"`, 1),
	} {
		if _, err := parseKeySet([]byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withModulus replaces the key's modulus.
func withModulus(set string, n *big.Int) string {
	_, after, _ := strings.Cut(set, `"n":"`)
	old, _, _ := strings.Cut(after, `"`)
	return strings.Replace(set, old, b64(n.Bytes()), 1)
}

func FuzzKeySet(f *testing.F) {
	public := &newKey(f).PublicKey
	good := writeKeySet(f, map[string]Key{"k1": {Public: public, Issuer: "https://issuer.example/{tenantid}"}})
	f.Add(good)
	f.Add(bytes.Replace(good, []byte(`"RSA"`), []byte(`"RSA","alg":"RS256"`), 1))
	f.Add([]byte(`{"keys":[{"kty":"RSA","use":"sig","kid":"k1","n":"AQAB","e":"AQAB","issuer":"x"}]}`))
	f.Add([]byte(`{"keys":[{"kid":"k1"},{"kid":"k1"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Add([]byte(strings.Repeat("[", 5000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := parseKeySet(b)
		if err != nil {
			if len(keys) > 0 {
				t.Errorf("%d keys, %v", len(keys), err)
			}
			if _, err := parseKeySet([]byte(fuzzcheck.Marked(string(b)))); err != nil && fuzzcheck.Quotes(err.Error()) {
				t.Errorf("the refusal quotes the set: %v", err)
			}
			if n, ok := fuzzcheck.Allocates(len(b), func() { _, _ = parseKeySet(b) }); !ok {
				t.Errorf("refusing %d bytes took %d", len(b), n)
			}
			return
		}
		for kid, key := range keys {
			if !isKeyID(kid) || key.Public.N.BitLen() < minModulus || key.Public.E != exponent || key.Issuer == "" {
				t.Errorf("key %q was taken", kid)
			}
		}
		again, err := parseKeySet(writeKeySet(t, keys))
		if diff := cmp.Diff(keys, again); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
	})
}

// writeKeySet writes keys as an authority publishes them.
func writeKeySet(t testing.TB, keys map[string]Key) []byte {
	t.Helper()
	var set struct {
		Keys []jwk `json:"keys"`
	}
	for kid, key := range keys {
		set.Keys = append(set.Keys, jwk{
			Type: "RSA", Use: "sig", KeyID: kid, Issuer: key.Issuer, Modulus: b64(key.Public.N.Bytes()), Exponent: "AQAB",
		})
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
