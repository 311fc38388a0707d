package attacks

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash"
	"math/big"
	"strings"
)

// algorithms attacks the choice of the algorithm (RFC 8725, sections 2.1 and 3.1).
func (b *builder) algorithms() {
	for _, alg := range []any{"none", "None", "nOnE", "NONE", "", "RS384", "RS512", "PS256", "ES256", "EdDSA", "HS256", "rs256", "RS256 ", "RS256\x00", "A128KW", "dir"} {
		b.before("algorithm_not_allowed", fmt.Sprintf("alg %q", alg), b.mint(with(b.header(), "alg", alg), b.user(nil)))
	}
	b.before("algorithm_not_allowed", "alg missing", b.mint(with(b.header(), "alg", nil), b.user(nil)))
	b.before("algorithm_not_allowed", "alg null", b.mint(`{"alg":null,"kid":"x","typ":"JWT"}`, b.user(nil)))
	for name, alg := range map[string]any{"a list": []string{"RS256"}, "a number": 256, "an object": map[string]string{"name": "RS256"}, "true": true} {
		b.before("header_malformed", "alg "+name, b.mint(with(b.header(), "alg", alg), b.user(nil)))
	}
	none := b.part(map[string]any{"alg": "none", "kid": b.KeyID, "typ": "JWT"}) + "." + b.part(b.user(nil)) + "."
	b.before("algorithm_not_allowed", "alg none, unsigned", none)
	for name, key := range b.publicForms() {
		input := b.part(map[string]any{"alg": "HS256", "kid": b.KeyID, "typ": "JWT"}) + "." + b.part(b.user(nil))
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		b.before("algorithm_not_allowed", "HS256 keyed with the public key as "+name, input+"."+encode(mac.Sum(nil)))
		input = b.part(b.header()) + "." + b.part(b.user(nil))
		mac = hmac.New(sha256.New, key)
		mac.Write([]byte(input))
		b.before("signature_invalid", "RS256, but MACed with the public key as "+name, input+"."+encode(mac.Sum(nil)))
	}
	order := elliptic.P256().Params().N
	for name, pair := range map[string][2]*big.Int{
		"0, 0": {new(big.Int), new(big.Int)}, "1, 1": {big.NewInt(1), big.NewInt(1)}, "n, n": {order, order},
		"n-1, n-1": {new(big.Int).Sub(order, big.NewInt(1)), new(big.Int).Sub(order, big.NewInt(1))}, "0, 1": {new(big.Int), big.NewInt(1)},
	} {
		input := b.part(map[string]any{"alg": "ES256", "kid": b.KeyID, "typ": "JWT"}) + "." + b.part(b.user(nil))
		b.before("algorithm_not_allowed", "ES256 with r, s = "+name, input+"."+encode(append(pair[0].FillBytes(make([]byte, 32)), pair[1].FillBytes(make([]byte, 32))...)))
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b.note(err)
	input := b.part(map[string]any{"alg": "ES256", "kid": b.KeyID, "typ": "JWT"}) + "." + b.part(b.user(nil))
	digest := sha256.Sum256([]byte(input))
	signature, err := ecdsa.SignASN1(rand.Reader, own, digest[:])
	b.note(err)
	b.before("algorithm_not_allowed", "ES256 by a key of the attacker's", input+"."+encode(signature))
	for _, typ := range []any{"at+jwt", "application/jwt", "JWS", "", nil, "dpop+jwt", "JWT "} {
		b.before("type_not_allowed", fmt.Sprintf("typ %v", typ), b.mint(with(b.header(), "typ", typ), b.user(nil)))
	}
}

// publicForms are the bytes for which a confused verifier would take the key.
func (b *builder) publicForms() map[string][]byte {
	spki, err := x509.MarshalPKIXPublicKey(&b.Key.PublicKey)
	b.note(err)
	pkcs1 := x509.MarshalPKCS1PublicKey(&b.Key.PublicKey)
	return map[string][]byte{
		"modulus": b.Key.N.Bytes(), "SPKI in DER": spki, "PKCS#1 in DER": pkcs1,
		"SPKI in PEM":   pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}),
		"PKCS#1 in PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
		"JWK":           []byte(`{"e":"AQAB","kty":"RSA","n":"` + encode(b.Key.N.Bytes()) + `"}`),
		"nothing":       {},
	}
}

// keySources has the token bring or name its own key (RFC 7515, section 4.1).
func (b *builder) keySources() {
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	b.note(err)
	if err != nil {
		return
	}
	jwk := map[string]string{"kty": "RSA", "kid": b.KeyID, "n": encode(own.N.Bytes()), "e": "AQAB"}
	for name, member := range map[string]any{
		"jku": "https://attacker.example/keys", "x5u": "https://attacker.example/chain", "jwk": jwk, "x5c": []string{"MIIB"}, "x5t#S256": "AA",
		"crit": []string{"exp"}, "b64": false, "zip": "DEF", "enc": "A256GCM", "cty": "JWT", "nonce": "n", "epk": jwk, "url": "https://attacker.example", "KID": "x",
	} {
		b.before("header_member_not_allowed", name+" beside a signature of the attacker's", b.mintBy(own, with(b.header(), name, member), b.user(nil)))
		b.before("header_member_not_allowed", name+" beside a good signature", b.mint(with(b.header(), name, member), b.user(nil)))
	}
	b.before("header_member_not_allowed", "crit empty", b.mint(with(b.header(), "crit", []string{}), b.user(nil)))
	b.before("signature_invalid", "signed by the attacker", b.mintBy(own, b.header(), b.user(nil)))
	b.before("signature_invalid", "an application's, signed by the attacker", b.mintBy(own, b.header(), b.app(nil)))
}

// keyIDs attacks the name of the key: it is looked up, and is nothing else.
func (b *builder) keyIDs() {
	for name, kid := range map[string]any{
		"a path": "../../../dev/null", "an absolute path": "/dev/null", "a file URL": "file:///dev/null", "a URL": "https://attacker.example/key", "SQL": "x' OR '1'='1",
		"NUL": b.KeyID + "\x00", "a line more": b.KeyID + "\n", "a space": b.KeyID + " ", "empty": "", "a template": "{{kid}}", "a command": "|id", "of 129 letters": strings.Repeat("k", 129),
		"of 10,000 letters": strings.Repeat("k", 10_000), "a letter that looks alike": "\u043a" + b.KeyID, "dots": "..", "missing": nil, "percent-encoded": "%2e%2e",
	} {
		b.before("key_id_malformed", "kid "+name, b.mint(with(b.header(), "kid", kid), b.user(nil)))
	}
	for name, kid := range map[string]string{
		"unknown": "unknown", "of 128 letters": strings.Repeat("k", 128), "in another case": swapped(b.KeyID), "cut off": b.KeyID[:len(b.KeyID)-1], "longer": b.KeyID + "A", "a property's name": "__proto__", "of the neighbour": b.NeighbourID,
	} {
		b.before("key_unknown", "kid "+name, b.mint(with(b.header(), "kid", kid), b.user(nil)))
	}
	for name, kid := range map[string]any{"a list": []string{b.KeyID}, "a number": 1, "an object": map[string]string{"kid": b.KeyID}} {
		b.before("header_malformed", "kid "+name, b.mint(with(b.header(), "kid", kid), b.user(nil)))
	}
	b.before("key_unknown", "signed by the neighbour's key, under its name", b.mintBy(b.NeighbourKey, with(b.header(), "kid", b.NeighbourID), b.user(nil)))
	b.before("signature_invalid", "signed by the neighbour's key, under ours", b.mintBy(b.NeighbourKey, b.header(), b.user(nil)))
}

func swapped(s string) string {
	if upper := strings.ToUpper(s); upper != s {
		return upper
	}
	return strings.ToLower(s)
}

// signatures attacks the signature's value, and what it is made over.
func (b *builder) signatures() {
	input := b.part(b.header()) + "." + b.part(b.user(nil))
	n, size := b.Key.N, b.Key.Size()
	bad := func(name string, signature []byte) { b.before("signature_invalid", name, input+"."+encode(signature)) }
	for name, value := range map[string]*big.Int{
		"0": new(big.Int), "1": big.NewInt(1), "2": big.NewInt(2), "n-1": new(big.Int).Sub(n, big.NewInt(1)), "n": n, "n+1": new(big.Int).Add(n, big.NewInt(1)),
	} {
		bad("signature "+name, value.FillBytes(make([]byte, size)))
	}
	good := b.sign(sha256.New, crypto.SHA256, input)
	bad("signature all ones", bytes.Repeat([]byte{0xff}, size))
	bad("signature a byte short", good[:size-1])
	bad("signature a byte long", append(bytes.Clone(good), 0))
	bad("signature with a zero in front", append([]byte{0}, good...))
	bad("signature twice", append(bytes.Clone(good), good...))
	bad("signature of one byte", []byte{1})
	for _, at := range []int{0, size / 2, size - 1} {
		flipped := bytes.Clone(good)
		flipped[at] ^= 0x01
		bad(fmt.Sprintf("signature with bit 0 of byte %d flipped", at), flipped)
	}
	bad("signature plus the modulus", new(big.Int).Add(new(big.Int).SetBytes(good), n).Bytes())
	bad("RS384 under the name of RS256", b.sign(sha512.New384, crypto.SHA384, input))
	bad("RS512 under the name of RS256", b.sign(sha512.New, crypto.SHA512, input))
	digest := sha256.Sum256([]byte(input))
	pss, err := rsa.SignPSS(rand.Reader, b.Key, crypto.SHA256, digest[:], nil)
	b.note(err)
	bad("PS256 under the name of RS256", pss)
	head, body, _ := strings.Cut(input, ".")
	bad("a signature of the header alone", b.sign(sha256.New, crypto.SHA256, head))
	bad("a signature of the claims alone", b.sign(sha256.New, crypto.SHA256, body))
	bad("a signature without the dot", b.sign(sha256.New, crypto.SHA256, head+body))
	altered := b.part(b.user(map[string]any{"roles": []string{"Vault.Operator"}}))
	b.before("signature_invalid", "claims altered behind the signature", head+"."+altered+"."+encode(good))
	b.before("signature_invalid", "another's claims", head+"."+b.part(b.app(nil))+"."+encode(good))
	reordered := `{"typ":"JWT","kid":"` + b.KeyID + `","alg":"RS256"}`
	b.before("signature_invalid", "header in another order than signed", b.part(reordered)+"."+body+"."+encode(good))
	bad("a signature of another token", b.sign(sha256.New, crypto.SHA256, b.part(b.header())+"."+b.part(b.user(map[string]any{"roles": []string{"Vault.Reader"}}))))
}

func (b *builder) sign(with func() hash.Hash, id crypto.Hash, input string) []byte {
	h := with()
	h.Write([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, b.Key, id, h.Sum(nil))
	b.note(err)
	return signature
}

// paddings are signatures that verifiers with a lax reading of PKCS#1 v1.5 have
// taken (CVE-2006-4339 and its kin). They are made with the private key, so that
// only the padding is wrong.
func (b *builder) paddings() {
	input := b.part(b.header()) + "." + b.part(b.user(nil))
	digest := sha256.Sum256([]byte(input))
	info := append([]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, digest[:]...)
	withoutNull := append([]byte{0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20}, digest[:]...)
	sha1 := append([]byte{0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}, digest[:20]...)
	longLength := append([]byte{0x30, 0x81, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, digest[:]...)
	size := b.Key.Size()
	full := func(kind, fill byte, tail []byte) []byte {
		m := append([]byte{0, kind}, bytes.Repeat([]byte{fill}, size-3-len(tail))...)
		return append(append(m, 0), tail...)
	}
	short := func(tail []byte) []byte {
		m := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 8)...)
		m = append(append(m, 0), tail...)
		return append(m, make([]byte, size-len(m))...)
	}
	for name, message := range map[string][]byte{
		"garbage behind the hash": short(info), "the hash alone": full(1, 0xff, digest[:]), "block type 0": full(0, 0x00, info), "block type 2": full(2, 0xff, info),
		"padding of zeros": full(1, 0x00, info), "padding of 0xfe": full(1, 0xfe, info), "no parameters": full(1, 0xff, withoutNull), "SHA-1's name": full(1, 0xff, sha1),
		"a length in long form": full(1, 0xff, longLength), "garbage inside": full(1, 0xff, append([]byte{0x30, 0x33, 0x04, 0x00}, info...)), "a byte behind the hash": full(1, 0xff, append(bytes.Clone(info), 0)),
	} {
		m := new(big.Int).SetBytes(message)
		signature := new(big.Int).Exp(m, b.Key.D, b.Key.N).FillBytes(make([]byte, size))
		b.before("signature_invalid", "padding: "+name, input+"."+encode(signature))
	}
}
