package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"secureapi/handler/vectors"
)

// jwsVector is one compact JWS, and jwsGroup the key or key set it is for.
type jwsVector struct {
	ID     int            `json:"tcId"`
	JWS    string         `json:"jws"`
	Result vectors.Result `json:"result"`
}

type jwsGroup struct {
	Comment string          `json:"comment"`
	Public  json.RawMessage `json:"public"`
	Private json.RawMessage `json:"private"` // of symmetric keys, and beside a public one
}

func (g jwsGroup) key() json.RawMessage {
	if g.Public != nil {
		return g.Public
	}
	return g.Private
}

// accepted is the outcome of a vector that passes; the others are reasons.
const accepted = "accepted"

// judge takes a vector through this package's own steps: parse, the key set, the
// signature. Nothing of Wycheproof is an Entra ID token, so that parse stops at
// the latest at the header's missing type; what it has not looked at by then is
// the key id. From there on the vector goes the way of a token.
func judge(jws string, keySet []byte) string {
	_, err := parse(jws)
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		return "not refused by parse"
	}
	if refusal.Reason != ReasonType {
		return refusal.Reason
	}
	dot := strings.LastIndexByte(jws, '.')
	first, _, _ := strings.Cut(jws, ".")
	decoded, err := decodePart(first)
	if err != nil {
		return "undecodable header"
	}
	var h header
	if err := json.Unmarshal(decoded, &h); err != nil {
		return "unreadable header"
	}
	if !isKeyID(h.KeyID) {
		return ReasonKeyIDMalformed
	}
	keys, err := parseKeySet(keySet)
	if err != nil {
		return err.Error()
	}
	key, known := keys[h.KeyID]
	if !known {
		return ReasonKeyUnknown
	}
	signature, err := decodePart(jws[dot+1:])
	if err != nil {
		return "undecodable signature"
	}
	if err := (&token{signed: jws[:dot], signature: signature}).verify(key.Public); err != nil {
		return ReasonSignature
	}
	return accepted
}

// asPublished puts a vector's key into a set as Entra ID publishes one: with an
// issuer, and with a use where the vector's key says nothing of its use.
func asPublished(t *testing.T, keys ...json.RawMessage) []byte {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	for _, raw := range keys {
		var k map[string]any
		if err := json.Unmarshal(raw, &k); err != nil {
			t.Fatal(err)
		}
		k["issuer"] = "https://issuer.example"
		if k["use"] == nil && k["key_ops"] == nil {
			k["use"] = "sig"
		}
		set.Keys = append(set.Keys, k)
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWycheproofJWS: of all signatures, those by RS256 and a key with a usable
// id are accepted if valid, and nothing else is. Valid ones of the algorithms
// that this API refuses by design are counted by what refuses them.
func TestWycheproofJWS(t *testing.T) {
	groups, err := vectors.Read[jwsGroup, jwsVector]("json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthenticator(t, staticKeys{key: Key{Public: &newKey(t).PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	var taken []int
	refusedValid, refusedInvalid := map[string]int{}, map[string]int{}
	for _, g := range groups {
		set := asPublished(t, g.Shared.key())
		for _, v := range g.Tests {
			if _, err := a.Authenticate(t.Context(), []string{"Bearer " + v.JWS}); err == nil {
				t.Errorf("vector %d is a token of this API", v.ID)
			}
			switch outcome := judge(v.JWS, set); {
			case outcome == accepted && v.Result == vectors.Valid:
				taken = append(taken, v.ID)
			case outcome == accepted:
				t.Errorf("vector %d (%s) is invalid, and accepted", v.ID, g.Shared.Comment)
			case v.Result == vectors.Valid:
				refusedValid[outcome]++
				if outcome == ReasonBase64Malformed && strayCharacters[v.ID] == "" {
					t.Errorf("vector %d is valid, and does not decode", v.ID)
				}
			default:
				refusedInvalid[outcome]++
			}
		}
	}
	if want := []int{33, 259, 260, 261, 262, 263}; !slices.Equal(taken, want) {
		t.Errorf("accepted %v, want %v", taken, want)
	}
	// RS384, RS512, PS256, PS384, PS512, ES256, ES521, HS256; a '?' (372 and 373);
	// the address that RFC 7520 has as key id.
	if want := map[string]int{ReasonAlgorithm: 36, ReasonBase64Malformed: 2, ReasonKeyIDMalformed: 2}; !maps.Equal(refusedValid, want) {
		t.Errorf("valid and refused: %v, want %v", refusedValid, want)
	}
	if want := map[string]int{
		ReasonAlgorithm: 97, ReasonSignature: 217, ReasonNotThreeParts: 18, ReasonBase64Malformed: 12, ReasonHeaderMalformed: 6,
		ReasonHeaderMember: 1, ReasonKeyUnknown: 1, "signing keys hold no usable key": 3,
	}; !maps.Equal(refusedInvalid, want) {
		t.Errorf("invalid and refused: %v, want %v", refusedInvalid, want)
	}
}

// strayCharacters are marked valid though a '?' stands in a part: Wycheproof
// tolerates decoders that pass over it. RFC 7515 does not, and a token that has
// several spellings evades every comparison of tokens.
var strayCharacters = map[int]string{372: "a '?' in the header", 373: "a '?' behind the payload"}

// sameAsValid are marked invalid for their padding, which the file has lost:
// they are vector 357 to the byte, and its signature is good.
var sameAsValid = map[int]string{367: "padding of the MAC", 370: "padding of the payload"}

// TestWycheproofBase64 is about one spelling per token. The vectors are signed by
// HS256, which is refused whatever the spelling: here only the decoder decides.
func TestWycheproofBase64(t *testing.T) {
	groups, err := vectors.Read[jwsGroup, jwsVector]("json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	decodes := func(jws string) bool {
		return !slices.ContainsFunc(strings.Split(jws, "."), func(part string) bool {
			_, err := decodePart(part)
			return err != nil
		})
	}
	original, ran := "", 0
	for _, g := range groups {
		if g.Shared.Comment != "base64" {
			continue
		}
		for _, v := range g.Tests {
			ran++
			want := v.Result == vectors.Valid
			if v.ID == 357 {
				original = v.JWS
			}
			if why := strayCharacters[v.ID]; why != "" {
				if !want {
					t.Errorf("vector %d is no longer marked valid (%s): it needs no exception", v.ID, why)
				}
				want = false
			}
			if why := sameAsValid[v.ID]; why != "" {
				if v.JWS != original {
					t.Errorf("vector %d has its fault back (%s): it needs no exception", v.ID, why)
				}
				want = true
			}
			if got := decodes(v.JWS); got != want {
				t.Errorf("vector %d is %s; decodes: %v", v.ID, v.Result, got)
			}
		}
	}
	if ran != 21 {
		t.Errorf("%d vectors", ran)
	}
}

// TestWycheproofJWK: key sets. Each is refused or accepted as its authors say,
// unless it needs another algorithm than this API has.
func TestWycheproofJWK(t *testing.T) {
	type group struct {
		Public  *struct{ Keys []json.RawMessage } `json:"public"`
		Private struct{ Keys []json.RawMessage }  `json:"private"`
	}
	groups, err := vectors.Read[group, jwsVector]("json_web_key_test.json")
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string][]int{}
	for _, g := range groups {
		keys := g.Shared.Private.Keys
		if g.Shared.Public != nil {
			keys = g.Shared.Public.Keys
		}
		for _, v := range g.Tests {
			outcome := judge(v.JWS, asPublished(t, keys...))
			if outcome == accepted && v.Result != vectors.Valid {
				t.Errorf("vector %d is invalid, and accepted", v.ID)
			}
			outcomes[outcome] = append(outcomes[outcome], v.ID)
		}
	}
	const (
		unusable  = "signing keys hold no usable key"
		duplicate = "signing keys have a key id twice"
	)
	want := map[string][]int{
		accepted: {5},
		// Wrong use, ROCA, 1024 bits, exponent 1.
		unusable: {6, 7, 8, 9},
		// 2, 13, 14 and 15 are valid, and HS256, HS384 and HS512.
		ReasonAlgorithm: {1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26},
	}
	if fmt.Sprint(outcomes) != fmt.Sprint(want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
	// Vector 4 stands for a key id that stands twice; its algorithm refuses it
	// first. The set alone is refused as well.
	for _, g := range groups {
		if g.Tests[0].ID != 4 {
			continue
		}
		if _, err := parseKeySet(asPublished(t, g.Shared.Private.Keys...)); err == nil || err.Error() != duplicate {
			t.Errorf("a key id twice: %v", err)
		}
	}
}

// TestROCAFingerprint: no other key is taken for one that can be factored.
func TestROCAFingerprint(t *testing.T) {
	for range 4 {
		if fromInfineon(newKey(t).N) {
			t.Error("a good key was refused")
		}
	}
	if !isPower(10, 11) || !isPower(1, 11) || isPower(2, 11) || isPower(0, 11) {
		t.Error("modulo 11, the powers of 65537 are 1 and 10")
	}
}
