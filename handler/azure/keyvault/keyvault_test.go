package keyvault_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"secureapi/handler/azure/keyvault"
	"secureapi/handler/keyring"
)

var (
	_ keyring.KeyWrapper = (*keyvault.Wrapper)(nil)
	_ keyring.Signer     = (*keyvault.Signer)(nil)
)

func TestWrapAndUnwrap(t *testing.T) {
	v := newVault(t)
	wrapper, _ := v.start()
	plaintext := []byte("0123456789abcdef0123456789abcdef")
	ref, wrapped, err := wrapper.Wrap(t.Context(), plaintext)
	if err != nil {
		t.Fatal(err)
	}
	if want := (keyring.KeyRef{Name: "kek", Version: strings.Repeat("a", 32)}); ref != want {
		t.Errorf("wrapped by %v, want %v", ref, want)
	}
	if bytes.Contains(wrapped, plaintext) {
		t.Error("not wrapped")
	}
	got, err := wrapper.Unwrap(t.Context(), ref, wrapped)
	if err != nil || !bytes.Equal(got, plaintext) {
		t.Errorf("unwrapped %q, %v", got, err)
	}
	wrapped[0] ^= 1
	if _, err := wrapper.Unwrap(t.Context(), ref, wrapped); !errors.Is(err, keyvault.ErrAnswer) {
		t.Errorf("altered ciphertext: %v, want ErrAnswer", err)
	}
}

func TestSign(t *testing.T) {
	_, signer := newVault(t).start()
	digest := sha256.Sum256([]byte("checkpoint"))
	ref, signature, err := signer.Sign(t.Context(), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	public, err := signer.PublicKey(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(public, digest[:], r, s) {
		t.Error("the signature does not verify")
	}
	if _, _, err := signer.Sign(t.Context(), digest[:31]); err == nil {
		t.Error("signed something that is no digest")
	}
}

func TestNewestEnabled(t *testing.T) {
	old, middle, newest := strings.Repeat("1", 32), strings.Repeat("2", 32), strings.Repeat("3", 32)
	v := newVault(t)
	v.keys["kek"] = []version{
		{old, rsaKey(), 100, true}, {middle, rsaKey(), 200, true}, {newest, rsaKey(), 300, true},
	}
	wrapper, _ := v.start()
	for i, want := range []string{newest, middle, old} {
		ref, wrapped, err := wrapper.Wrap(t.Context(), []byte("x"))
		if err != nil || ref.Version != want {
			t.Fatalf("wrapped by %v, %v; want version %s", ref, err, want)
		}
		v.mu.Lock()
		v.keys["kek"][2-i].enabled = false
		v.mu.Unlock()
		if _, err := wrapper.Unwrap(t.Context(), ref, wrapped); !errors.Is(err, keyvault.ErrDisabled) {
			t.Errorf("unwrapping by a disabled version: %v, want ErrDisabled", err)
		}
	}
	if _, err := wrapper.Newest(t.Context()); !errors.Is(err, keyvault.ErrDisabled) {
		t.Errorf("all disabled: %v, want ErrDisabled", err)
	}
}

func TestDisabledSigner(t *testing.T) {
	v := newVault(t)
	v.keys["sign"][0].enabled = false
	_, signer := v.start()
	digest := sha256.Sum256(nil)
	_, _, signErr := signer.Sign(t.Context(), digest[:])
	_, keyErr := signer.PublicKey(t.Context(), keyring.KeyRef{Name: "sign", Version: strings.Repeat("b", 32)})
	if !errors.Is(signErr, keyvault.ErrDisabled) || !errors.Is(keyErr, keyvault.ErrDisabled) {
		t.Errorf("%v, %v; want ErrDisabled", signErr, keyErr)
	}
}

func TestReferencesToOtherKeys(t *testing.T) {
	v := newVault(t)
	wrapper, signer := v.start()
	for _, ref := range []keyring.KeyRef{
		{},
		{Name: "other", Version: strings.Repeat("a", 32)},
		{Name: "kek"},
		{Name: "sign"},
		{Name: "kek", Version: "../../sign/" + strings.Repeat("b", 21)},
		{Name: "sign", Version: strings.Repeat("B", 32)},
	} {
		_, unwrapErr := wrapper.Unwrap(t.Context(), ref, []byte("x"))
		_, keyErr := signer.PublicKey(t.Context(), ref)
		if !errors.Is(unwrapErr, keyvault.ErrNotFound) || !errors.Is(keyErr, keyvault.ErrNotFound) {
			t.Errorf("%v: %v, %v; want ErrNotFound", ref, unwrapErr, keyErr)
		}
	}
	if v.calls != 0 {
		t.Errorf("the vault was asked %d times", v.calls)
	}
	absent := keyring.KeyRef{Name: "kek", Version: strings.Repeat("c", 32)}
	if _, err := wrapper.Unwrap(t.Context(), absent, []byte("x")); !errors.Is(err, keyvault.ErrNotFound) {
		t.Errorf("absent version: %v, want ErrNotFound", err)
	}
}

// TestAnswersAboutOtherKeys: what the vault names must be what was asked.
func TestAnswersAboutOtherKeys(t *testing.T) {
	good := "https://" + host + "/keys/kek/" + strings.Repeat("a", 32)
	for _, id := range []any{
		nil, "", "kek", strings.Replace(good, "https", "http", 1), strings.Replace(good, host, "evil.example.com", 1),
		strings.Replace(good, host, host+":8443", 1), strings.Replace(good, "/kek/", "/other/", 1),
		strings.Replace(good, "/keys/", "/secrets/", 1), good + "a", good[:len(good)-1], good + "/x", good + "?x=y",
		good[:len(good)-1] + "g", strings.ReplaceAll(good, "a", "A"), "https://user@" + good[8:],
	} {
		v := newVault(t)
		wrapper, _ := v.start()
		v.alter = func(path string, answer map[string]any) int {
			if strings.Contains(path, "wrapkey") {
				answer["kid"] = id
			}
			return 0
		}
		if _, _, err := wrapper.Wrap(t.Context(), []byte("x")); !errors.Is(err, keyvault.ErrAnswer) {
			t.Errorf("wrap answered by %v: %v, want ErrAnswer", id, err)
		}
		v.alter = func(_ string, answer map[string]any) int {
			key, ok := answer["key"].(map[string]any)
			if !ok {
				return http.StatusInternalServerError
			}
			key["kid"] = id
			return 0
		}
		if _, err := wrapper.Newest(t.Context()); !errors.Is(err, keyvault.ErrAnswer) {
			t.Errorf("newest is %v: %v, want ErrAnswer", id, err)
		}
	}
}

func TestAnotherVersionAnswers(t *testing.T) {
	v := newVault(t)
	wrapper, signer := v.start()
	v.alter = func(_ string, answer map[string]any) int {
		if id, ok := answer["kid"].(string); ok {
			answer["kid"] = id[:len(id)-1] + "0"
		}
		return 0
	}
	digest := sha256.Sum256(nil)
	if _, _, err := wrapper.Wrap(t.Context(), []byte("x")); !errors.Is(err, keyvault.ErrAnswer) {
		t.Errorf("Wrap: %v, want ErrAnswer", err)
	}
	if _, _, err := signer.Sign(t.Context(), digest[:]); !errors.Is(err, keyvault.ErrAnswer) {
		t.Errorf("Sign: %v, want ErrAnswer", err)
	}
}

func TestWrongKindOfKey(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	for name, key := range map[string]any{"small RSA": small, "P-384": large} {
		v := newVault(t)
		v.keys["kek"][0].key, v.keys["sign"][0].key = key, key
		wrapper, signer := v.start()
		if _, err := wrapper.Newest(t.Context()); !errors.Is(err, keyvault.ErrAnswer) {
			t.Errorf("newest is %s: %v, want ErrAnswer", name, err)
		}
		if _, _, err := wrapper.Wrap(t.Context(), []byte("x")); !errors.Is(err, keyvault.ErrAnswer) {
			t.Errorf("wrapping by %s: %v, want ErrAnswer", name, err)
		}
		if _, _, err := signer.Sign(t.Context(), digest[:]); !errors.Is(err, keyvault.ErrAnswer) {
			t.Errorf("signing by %s: %v, want ErrAnswer", name, err)
		}
	}
}

func TestWrongPublicKey(t *testing.T) {
	v := newVault(t)
	_, signer := v.start()
	for member, value := range map[string]string{
		"kid": "https://" + host + "/keys/sign/" + strings.Repeat("c", 32), // another version
		"x":   encode(make([]byte, 32)),                                    // a point off the curve
		"y":   encode(make([]byte, 31)),
		"crv": "P-256K",
		"kty": "RSA",
	} {
		v.alter = func(_ string, answer map[string]any) int {
			key, ok := answer["key"].(map[string]any)
			if !ok {
				return http.StatusInternalServerError
			}
			key[member] = value
			return 0
		}
		_, err := signer.PublicKey(t.Context(), keyring.KeyRef{Name: "sign", Version: strings.Repeat("b", 32)})
		if !errors.Is(err, keyvault.ErrAnswer) {
			t.Errorf("%s is %s: %v, want ErrAnswer", member, value, err)
		}
	}
}

func TestFailures(t *testing.T) {
	for status, want := range map[int]error{
		404: keyvault.ErrNotFound, 403: keyvault.ErrForbidden, 429: keyvault.ErrUnavailable,
		500: keyvault.ErrUnavailable, 503: keyvault.ErrUnavailable, 409: keyvault.ErrUnavailable,
	} {
		v := newVault(t)
		wrapper, _ := v.start()
		v.alter = func(_ string, answer map[string]any) int {
			answer["error"] = problem("SomeCode", "")["error"]
			return status
		}
		_, err := wrapper.Unwrap(t.Context(), keyring.KeyRef{Name: "kek", Version: strings.Repeat("a", 32)}, []byte("x"))
		if !errors.Is(err, want) {
			t.Errorf("status %d: %v, want %v", status, err, want)
		}
		if strings.Contains(err.Error(), "no text of the vault") || strings.Contains(err.Error(), "secret-token") {
			t.Errorf("status %d: error repeats too much: %v", status, err)
		}
		if v.calls > 6 {
			t.Errorf("status %d: %d calls", status, v.calls)
		}
	}
}

// TestChallengeIsVerified: a vault that asks for a token of another resource
// must not get one.
func TestChallengeIsVerified(t *testing.T) {
	v := newVault(t)
	v.resource = "https://evil.example.org"
	wrapper, _ := v.start()
	if _, err := wrapper.Newest(t.Context()); !errors.Is(err, keyvault.ErrUnavailable) {
		t.Errorf("a foreign challenge: %v, want ErrUnavailable", err)
	}
	if v.calls != 1 {
		t.Errorf("%d calls, want the one that was challenged", v.calls)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, url := range []string{"", "http://" + host, "https://" + host + "/", "https://" + host + "/keys", host} {
		if _, err := keyvault.New(url, staticToken{t}, azcore.ClientOptions{}); err == nil {
			t.Errorf("vault URL %q was taken", url)
		}
	}
	client, err := keyvault.New("https://"+host, staticToken{t}, azcore.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a/b", "a b", "kek/../sign", strings.Repeat("k", 128)} {
		_, wrapErr := client.Wrapper(name)
		_, signErr := client.Signer(name)
		if wrapErr == nil || signErr == nil {
			t.Errorf("key name %q was taken", name)
		}
	}
}
