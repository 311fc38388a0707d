package authn

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"
)

// forge makes tokens that are good but for what was done to them, so that a
// verifier is asked about what lies beside the good ones, and not about noise.
type forge struct {
	key, other *rsa.PrivateKey
	verifier   *Authenticator
	// accepted and refused count what the verifier said.
	accepted, refused atomic.Int64
}

func newForge(t testing.TB) *forge {
	t.Helper()
	key := newKey(t)
	return &forge{
		key: key, other: newKey(t),
		verifier: newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}}),
	}
}

// member is a name and the text of its value: maps could not repeat a name.
type member struct{ name, value string }

func membersOf(t *rapid.T, m map[string]any) []member {
	var list []member
	for _, name := range slices.Sorted(maps.Keys(m)) {
		text, err := json.Marshal(m[name])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, member{name, string(text)})
	}
	return list
}

// write gives the JSON text, in any order of names and with any white space.
func write(t *rapid.T, label string, members []member) string {
	members = rapid.Permutation(members).Draw(t, label+" order")
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r\n"}).Draw(t, label+" space")
	var b strings.Builder
	b.WriteString(space + "{" + space)
	for i, m := range members {
		if i > 0 {
			b.WriteString("," + space)
		}
		name := m.name
		if name != "" && rapid.IntRange(0, 30).Draw(t, label+" escape") == 0 {
			name = `\u00` + hexOf(name[0]) + name[1:]
		}
		b.WriteString(`"` + name + `":` + space + m.value)
	}
	b.WriteString(space + "}" + space)
	return b.String()
}

func hexOf(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// headerValues and claimValues are what a member is set to: values that are as
// good, on the edge, and wrong. "" takes the member out.
var headerValues = map[string][]string{
	"alg": {`"RS256"`, `"none"`, `"rs256"`, `"RS384"`, `"HS256"`, `["RS256"]`, `null`, ``},
	"kid": {`"k1"`, `"k2"`, `"K1"`, `"../k1"`, `1`, ``},
	"typ": {`"JWT"`, `"jwt"`, `"at+jwt"`, `"JOSE"`, ``},
	"x5t": {`"AA"`, `""`, `7`},
	"jku": {`"https://attacker.example/keys"`}, "crit": {`["exp"]`, `[]`}, "b64": {`false`, `true`}, "Alg": {`"none"`}, "zip": {`"DEF"`},
}

var claimValues = map[string][]string{
	"aud":   {`"` + testAPI + `"`, `["` + testAPI + `"]`, `"` + testAPI + `/"`, `"` + testUser + `"`, `null`, ``},
	"iss":   {`"` + testHost + `/` + testTenant + `/v2.0"`, `"` + testHost + `/` + testTenant + `/v2.0/"`, `"https://sts.windows.net/` + testTenant + `/"`, ``},
	"tid":   {`"` + testTenant + `"`, `"` + testUser + `"`, ``},
	"exp":   {`1793538000`, `1793534401`, `1793534341`, `1793534340`, `1793534000`, `1793538000.0`, `1.7935380e9`, `"1793538000"`, `1e400`, ``},
	"nbf":   {`1793534400`, `1793534460`, `1793534461`, `0`, `-1`, ``},
	"iat":   {`1793534400`, `1793534460`, `1793534461`, `1793534399`, ``},
	"scp":   {`"Vault.Access"`, `"openid Vault.Access"`, `["Vault.Access"]`, `""`, ``},
	"roles": {`["Vault.Writer"]`, `[]`, `"Vault.Writer"`, `[1]`, ``},
	"oid":   {`"` + testUser + `"`, `"x"`, ``},
	"idtyp": {`"user"`, `"app"`, `""`, ``},
	"ver":   {`"2.0"`, `"1.0"`, `2.0`},
	"sub":   {`"somebody"`, `null`, `{"a":[1,2,{"b":null}]}`}, "name": {`"Anna"`, `"\ud83d\ude00"`, `"\ud800"`}, "AUD": {`"x"`}, "xms_cc": {`["cp1"]`, `"x"`},
}

// mutate changes, adds or repeats one member.
func mutate(t *rapid.T, label string, members []member, values map[string][]string) []member {
	name := rapid.SampledFrom(sortedNames(values)).Draw(t, label+" name")
	value := rapid.SampledFrom(values[name]).Draw(t, label+" value")
	if rapid.IntRange(0, 15).Draw(t, label+" repeated") == 0 && value != "" {
		return append(members, member{name, value})
	}
	changed := make([]member, 0, len(members)+1)
	for _, m := range members {
		if m.name != name {
			changed = append(changed, m)
		}
	}
	if value == "" {
		return changed
	}
	return append(changed, member{name, value})
}

func sortedNames(values map[string][]string) []string {
	return slices.Sorted(maps.Keys(values))
}

// sign signs by the right key, unless the fault is there.
func (f *forge) sign(t *rapid.T, signed, fault string) string {
	key := f.key
	if fault == "another key" {
		key = f.other
	}
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	switch fault {
	case "a bit":
		signature[rapid.IntRange(0, len(signature)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case "short":
		signature = signature[:len(signature)-1]
	case "long":
		signature = append([]byte{0}, signature...)
	case "empty":
		signature = nil
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// token draws a token and says what the header and claims are.
func (f *forge) token(t *rapid.T) (raw, header, claims string) {
	base := userClaims()
	if rapid.Bool().Draw(t, "app") {
		base = appClaims()
	}
	h, c := membersOf(t, goodHeader()), membersOf(t, base)
	// Half of the tokens have no fault but those of their spelling.
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2}).Draw(t, "header faults") {
		h = mutate(t, "header", h, headerValues)
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 1, 2, 3}).Draw(t, "claim faults") {
		c = mutate(t, "claim", c, claimValues)
	}
	header, claims = write(t, "header", h), write(t, "claims", c)
	fault := rapid.SampledFrom([]string{"", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "a bit", "short", "long", "empty", "another key"}).Draw(t, "signature fault")
	raw = f.sign(t, b64([]byte(header))+"."+b64([]byte(claims)), fault)
	switch rapid.SampledFrom([]string{"", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "=", "\n", ".", "+", " "}).Draw(t, "spelling") {
	case "=":
		raw += "="
	case "\n":
		raw = strings.Replace(raw, ".", "\n.", 1)
	case ".":
		raw += "."
	case "+":
		raw = strings.NewReplacer("-", "+", "_", "/").Replace(raw)
	case " ":
		raw += " "
	}
	return raw, header, claims
}

// check: what is accepted here, golang-jwt and go-jose accept too, and the
// identity in it is the one that go-jose's payload has by encoding/json.
func (f *forge) check(t *rapid.T) {
	raw, header, claims := f.token(t)
	p, err := f.verifier.Authenticate(t.Context(), []string{"Bearer " + raw})
	if err != nil {
		f.refused.Add(1)
		return
	}
	f.accepted.Add(1)
	if err := secondOpinions(raw, &f.key.PublicKey); err != nil {
		t.Fatalf("accepted header %s, claims %s; %v", header, claims, err)
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Tenant string `json:"tid"`
		Object string `json:"oid"`
		Client string `json:"azp"`
		Kind   string `json:"idtyp"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &read); err != nil {
		t.Fatal(err)
	}
	if p.TenantID != read.Tenant || p.ObjectID != read.Object || p.ClientID != read.Client || string(p.Kind) != read.Kind {
		t.Fatalf("%+v is read as %+v from %s", p, read, claims)
	}
}

// TestMutatedTokensAreJudgedAsByOtherLibraries. A property of accepted tokens
// holds of anything when none is accepted: the shares are part of the test.
func TestMutatedTokensAreJudgedAsByOtherLibraries(t *testing.T) {
	f := newForge(t)
	const each = 10
	rapid.Check(t, func(t *rapid.T) {
		for range each {
			f.check(t)
		}
	})
	accepted, refused := f.accepted.Load(), f.refused.Load()
	t.Logf("%d accepted, %d refused", accepted, refused)
	if all := accepted + refused; accepted*10 < all || refused*10 < all {
		t.Errorf("%d accepted and %d refused: less than a tenth", accepted, refused)
	}
}

// FuzzVerifierAgainstLibraries is the same property, with the fuzzer choosing.
func FuzzVerifierAgainstLibraries(f *testing.F) {
	forge := newForge(f)
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x00", 512)))
	f.Add([]byte(strings.Repeat("\x07\x01\x00\x00\x00\x00\x00\x00", 200)))
	f.Fuzz(rapid.MakeFuzz(forge.check))
}
