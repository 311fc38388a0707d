package authn

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// secondOpinions are two JWT libraries, asked to verify the same token for the
// same issuer, audience and time. This package is stricter than both, and so
// must never accept what one of them refuses.
func secondOpinions(raw string, key *rsa.PublicKey) error {
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(testHost+"/"+testTenant+"/v2.0"), jwt.WithAudience(testAPI),
		jwt.WithLeeway(maxSkew), jwt.WithTimeFunc(func() time.Time { return testNow }),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding(),
	).Parse(raw, func(t *jwt.Token) (any, error) {
		if t.Header["kid"] != "k1" {
			return nil, errors.New("unknown key")
		}
		return key, nil
	})
	if err != nil {
		return fmt.Errorf("golang-jwt: %w", err)
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return fmt.Errorf("go-jose: %w", err)
	}
	if _, err := jws.Verify(key); err != nil {
		return fmt.Errorf("go-jose: %w", err)
	}
	return nil
}

func TestSecondOpinionsAgree(t *testing.T) {
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	good := mint(t, key, goodHeader(), userClaims())
	if _, err := a.Authenticate(t.Context(), []string{"Bearer " + good}); err != nil {
		t.Fatal(err)
	}
	if err := secondOpinions(good, &key.PublicKey); err != nil {
		t.Fatal(err)
	}
	// The opinion is one: it knows a bad token when it sees one.
	for name, raw := range map[string]string{
		"signature": mint(t, newKey(t), goodHeader(), userClaims()),
		"audience":  mint(t, key, goodHeader(), with(userClaims(), "aud", testUser)),
		"expired":   mint(t, key, goodHeader(), with(userClaims(), "exp", testNow.Unix()-3600)),
		"algorithm": mint(t, key, with(goodHeader(), "alg", "none"), userClaims()),
	} {
		if err := secondOpinions(raw, &key.PublicKey); err == nil {
			t.Errorf("%s: taken by the others", name)
		}
	}
}

// FuzzDifferential signs any header and claims, so that the fuzzer gets past
// the signature: whatever is accepted, the other libraries accept too.
func FuzzDifferential(f *testing.F) {
	key := newKey(f)
	a := newAuthenticator(f, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	header := encode(goodHeader())
	f.Add(header, encode(userClaims()))
	f.Add(header, encode(appClaims()))
	f.Add([]byte(`{"typ":"jwt","x5t":"","kid":"k1","alg":"RS256"}`), encode(userClaims()))
	f.Add(header, encode(with(userClaims(), "exp", testNow.Unix()-59)))
	f.Add(header, []byte(strings.Replace(string(encode(userClaims())), "{", " {\n\t", 1)))
	f.Add(header, []byte(strings.Replace(string(encode(userClaims())), `"aud"`, `"\u0061ud"`, 1)))
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		signed := b64(header) + "." + b64(claims)
		digest := sha256.Sum256([]byte(signed))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		raw := signed + "." + b64(signature)
		if _, err := a.Authenticate(t.Context(), []string{"Bearer " + raw}); err != nil {
			if _, ok := errors.AsType[*Refusal](err); !ok {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		if err := secondOpinions(raw, &key.PublicKey); err != nil {
			t.Errorf("accepted header %q, claims %q; %v", header, claims, err)
		}
	})
}

// BenchmarkVerify is what no check of a token can do without: one RSA-2048
// signature. BenchmarkAuthenticate is to be read beside it.
func BenchmarkVerify(b *testing.B) {
	key := newKey(b)
	t, err := parse(mint(b, key, goodHeader(), userClaims()))
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte(t.signed))
	b.ReportAllocs()
	for b.Loop() {
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], t.signature); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefuse is what an outsider's token costs: no signature is verified.
func BenchmarkRefuse(b *testing.B) {
	key := newKey(b)
	a := newAuthenticator(b, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	for name, token := range map[string]string{
		"dots":       strings.Repeat(".", maxAuthorization-len("Bearer ")),
		"brackets":   b64([]byte(strings.Repeat("[", 12000))) + ".e30.",
		"other kid":  mint(b, key, with(goodHeader(), "kid", "k2"), userClaims()),
		"long claim": mint(b, key, goodHeader(), with(with(userClaims(), "tid", testUser), "x", strings.Repeat("x", 10000))),
	} {
		header := []string{"Bearer " + token}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(b.Context(), header); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
