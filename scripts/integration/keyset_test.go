package integration

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"math/big"
	"net/http"
	"testing"

	"secureapi/handler/authn"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
)

// strangeKey is an entry of the key set that must verify nothing, or not what it
// signs here.
type strangeKey struct {
	kid  string
	key  *rsa.PrivateKey
	sign func(input []byte) ([]byte, error)
	// change is what the entry has otherwise than a good one; nil takes it out.
	change map[string]any
	// reason is why a token that it has signed is refused; "" is accepted.
	reason string
}

// TestTheBinaryTakesNoUnfitKeyNorClient publishes keys beside the tenant's own:
// too short, of a small exponent, for another use or issuer. What they have signed
// is refused, although the signature is right, or was forged as such keys allow.
// Beside it stand the refusals that come of a setting, of a revocation, and of
// bytes that no client sends.
func TestTheBinaryTakesNoUnfitKeyNorClient(t *testing.T) {
	keys := strangeKeys(t)
	for _, mode := range []host.Mode{host.Proxying, host.Forwarding} {
		t.Run(string(mode), func(t *testing.T) { testUnfit(t, mode, keys) })
	}
}

func testUnfit(t *testing.T, mode host.Mode, keys []strangeKey) {
	a := startApp(t, mode, func(o *stack.Options) {
		o.Bootstrap = func(ctx context.Context, s *stack.Stack) error {
			for _, k := range keys {
				s.Entra.Publish(entra.HomeTenant, k.entry())
			}
			return provision.Keyring(ctx, s)
		}
		o.Host.Env = map[string]string{"ALLOWED_CLIENT_IDS": entra.ToolClientID}
	})
	answers, counted, own := map[string]string{}, map[string]int{}, map[string]string{}
	refuse := func(name, token, reason string) {
		t.Helper()
		a.refused(t, name, attack("Bearer "+token), answers)
		if reason == authn.ReasonKeyUnknown {
			counted[reason]++
		} else {
			own["attack-"+name] = reason
		}
	}
	for _, k := range keys {
		token, err := entra.MintToken(map[string]any{"alg": "RS256", "typ": "JWT", "kid": k.kid}, a.writerClaims(t, k.kid), k.sign)
		must(t, err)
		if k.reason == "" {
			a.do(t, attack("Bearer "+token)).want(t, http.StatusCreated)
			continue
		}
		refuse(k.kid, token, k.reason)
	}
	signed := func(name string, change map[string]any) string {
		t.Helper()
		claims := a.writerClaims(t, name)
		maps.Copy(claims, change)
		token, err := a.Entra.Sign(entra.HomeTenant, claims)
		must(t, err)
		return token
	}
	refuse("other-client", signed("other-client", map[string]any{"azp": "6b200001-3d7e-4a15-9c02-f48e6d1b7a90"}), authn.ReasonClientNotAllowed)

	const gone = "6b98ffff-3d7e-4a15-9c02-f48e6d1b7a90"
	taken, left := signed("taken-back", nil), signed("left", map[string]any{"oid": gone})
	a.accepted(t, map[string]string{"before it is taken back": taken, "of a subject before it leaves": left})
	for _, body := range []map[string]any{{"tokenId": "attack-taken-back"}, {"objectId": gone}} {
		a.call(t, "operator", http.MethodPost, "/api/v1/revocations", body).want(t, http.StatusOK)
	}
	refuse("taken-back", taken, authn.ReasonTokenRevoked)
	refuse("left", left, authn.ReasonSubjectRevoked)
	a.refuseBytes(t, mode, answers, counted)
	if len(answers) != 1 {
		t.Errorf("refusals have %d different answers: %q", len(answers), answers)
	}
	a.accepted(t, map[string]string{"of the tenant's own key": signed("good", nil)})
	a.checkReasons(t, counted, own, nil)
}

// writerClaims are a writer's whose client does not understand challenges, so that
// a revoked subject is answered as all are.
func (a *app) writerClaims(t *testing.T, name string) map[string]any {
	t.Helper()
	who := persona(t, entra.HomeTenant, writer)
	who.Capable = false
	claims := a.Entra.PersonaClaims(who, entra.Grant{})
	claims["uti"] = "attack-" + name
	return claims
}

func strangeKeys(t *testing.T) []strangeKey {
	t.Helper()
	key, short := generated(t, 2048), generated(t, 1024)
	one := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: key.N, E: 1}}
	three := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: key.N, E: 3}}
	const otherIssuer, unknown = authn.ReasonKeyIssuer, authn.ReasonKeyUnknown
	consumers := entra.Authority + "/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"
	by := func(key *rsa.PrivateKey) func([]byte) ([]byte, error) {
		return func(input []byte) ([]byte, error) {
			digest := sha256.Sum256(input)
			return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		}
	}
	return []strangeKey{
		{"good", key, by(key), nil, ""},
		{"good-for-every-tenant", key, by(key), map[string]any{"issuer": entra.Authority + "/{tenantid}/v2.0"}, ""},
		{"without-alg", key, by(key), map[string]any{"alg": nil}, ""}, // as Entra ID may
		{"exponent-1", one, forgedByOne, map[string]any{"e": "AQ"}, unknown},
		{"exponent-3", three, forgedByCubeRoot, map[string]any{"e": "Aw"}, unknown},
		{"1024-bits", short, by(short), nil, unknown},
		{"for-encryption", key, by(key), map[string]any{"use": "enc"}, unknown},
		{"for-no-use", key, by(key), map[string]any{"use": nil}, unknown},
		{"for-PS256", key, by(key), map[string]any{"alg": "PS256"}, unknown},
		{"called-EC", key, by(key), map[string]any{"kty": "EC"}, unknown},
		{"of-no-issuer", key, by(key), map[string]any{"issuer": nil}, unknown},
		{"padded", key, by(key), map[string]any{"e": "AQAB=="}, unknown},
		// A key for personal accounts that signs for an organisation: Storm-0558.
		{"of-consumers", key, by(key), map[string]any{"issuer": consumers}, otherIssuer},
		{"of-the-neighbour", key, by(key), map[string]any{"issuer": entra.Authority + "/" + entra.OtherTenant + "/v2.0"}, otherIssuer},
		{"of-version-1", key, by(key), map[string]any{"issuer": "https://sts.windows.net/{tenantid}/"}, otherIssuer},
	}
}

func generated(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return key
}

func (k strangeKey) entry() map[string]any {
	entry := map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": k.kid, "e": "AQAB",
		"n": base64.RawURLEncoding.EncodeToString(k.key.N.Bytes()), "issuer": entra.Authority + "/" + entra.HomeTenant + "/v2.0",
	}
	for name, value := range k.change {
		entry[name] = value
		if value == nil {
			delete(entry, name)
		}
	}
	return entry
}

// digestInfo is what PKCS#1 v1.5 puts before a SHA-256 (RFC 8017, section 9.2).
func digestInfo(input []byte) []byte {
	digest := sha256.Sum256(input)
	return append([]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, digest[:]...)
}

const modulusBytes = 256

// forgedByOne: with the exponent 1 the padded message is its own signature.
func forgedByOne(input []byte) ([]byte, error) {
	info := digestInfo(input)
	message := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, modulusBytes-3-len(info))...)
	return append(append(message, 0), info...), nil
}

// forgedByCubeRoot: with the exponent 3, a cube begins with any message whose rest
// the verifier does not look at (Bleichenbacher, CRYPTO 2006).
func forgedByCubeRoot(input []byte) ([]byte, error) {
	message := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 8)...)
	message = append(append(message, 0), digestInfo(input)...)
	most := new(big.Int).SetBytes(append(message, bytes.Repeat([]byte{0xff}, modulusBytes-len(message))...))
	low, high := big.NewInt(0), new(big.Int).Lsh(big.NewInt(1), 8*modulusBytes/3+1)
	for one := big.NewInt(1); new(big.Int).Sub(high, low).Cmp(one) > 0; {
		middle := new(big.Int).Rsh(new(big.Int).Add(low, high), 1)
		if new(big.Int).Exp(middle, big.NewInt(3), nil).Cmp(most) <= 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return low.FillBytes(make([]byte, modulusBytes)), nil
}

// TestTheForgeriesWork: a verifier that trusted such keys, or did not read the
// message to its end, would take them.
func TestTheForgeriesWork(t *testing.T) {
	input := []byte("header.claims")
	digest := sha256.Sum256(input)
	info := digestInfo(input)
	cube, err := forgedByCubeRoot(input)
	must(t, err)
	message := new(big.Int).Exp(new(big.Int).SetBytes(cube), big.NewInt(3), nil).FillBytes(make([]byte, modulusBytes))
	if want := append(append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 8)...), append([]byte{0}, info...)...); !bytes.HasPrefix(message, want) {
		t.Errorf("the cube begins with %x", message[:len(want)])
	}
	same, err := forgedByOne(input)
	must(t, err)
	if signed := new(big.Int).SetBytes(same); signed.BitLen() != 8*modulusBytes-15 || !bytes.HasSuffix(same, digest[:]) {
		t.Errorf("the message of exponent 1 is %x", same)
	}
}
