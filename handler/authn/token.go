package authn

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// header is the JOSE header. Any other member refuses the token: each of
// crit, b64, jku, jwk, x5u, x5c, zip, enc, cty asks the verifier to do
// something that it must not.
type header struct {
	Algorithm  string `json:"alg"`
	KeyID      string `json:"kid"`
	Type       string `json:"typ"`
	Thumbprint string `json:"x5t"`
}

// claims are the members this API decides on; others are ignored.
type claims struct {
	Version      string         `json:"ver"`
	Issuer       string         `json:"iss"`
	Audience     string         `json:"aud"`
	Tenant       string         `json:"tid"`
	ObjectID     string         `json:"oid"`
	Client       string         `json:"azp"`
	ClientAuth   string         `json:"azpacr"`
	IDType       string         `json:"idtyp"`
	Scopes       string         `json:"scp"`
	Roles        []string       `json:"roles"`
	AuthContexts []string       `json:"acrs"`
	TokenID      string         `json:"uti"`
	Expires      *int64         `json:"exp"`
	NotBefore    *int64         `json:"nbf"`
	IssuedAt     *int64         `json:"iat"`
	ClaimNames   jsontext.Value `json:"_claim_names"`
	ClaimSources jsontext.Value `json:"_claim_sources"`
	HasGroups    bool           `json:"hasgroups"`
}

type token struct {
	header    header
	claims    claims
	signed    string // header "." payload, as received
	signature []byte
}

const (
	algorithm = "RS256"
	maxDepth  = 8
)

var keyIDShape = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// parse reads a compact JWS. Nothing of it is believed yet.
func parse(raw string) (*token, error) {
	// Dots are counted before anything is split: a million of them must not
	// cost a million strings.
	if strings.Count(raw, ".") != 2 {
		return nil, refuse("not_three_parts")
	}
	dot := strings.LastIndexByte(raw, '.')
	first, second, _ := strings.Cut(raw[:dot], ".")
	head, err := decodePart(first)
	if err != nil {
		return nil, err
	}
	body, err := decodePart(second)
	if err != nil {
		return nil, err
	}
	signature, err := decodePart(raw[dot+1:])
	if err != nil {
		return nil, err
	}
	t := &token{signed: raw[:dot], signature: signature}
	if err := json.Unmarshal(head, &t.header, json.RejectUnknownMembers(true)); err != nil {
		return nil, refuse("header_not_accepted")
	}
	switch {
	case t.header.Algorithm != algorithm:
		return nil, refuse("algorithm_not_accepted")
	case !strings.EqualFold(t.header.Type, "JWT"):
		return nil, refuse("type_not_accepted")
	case !keyIDShape.MatchString(t.header.KeyID):
		return nil, refuse("key_id_not_accepted")
	case tooDeep(body):
		return nil, refuse("claims_too_deep")
	}
	if err := json.Unmarshal(body, &t.claims); err != nil {
		return nil, refuse("claims_malformed")
	}
	return t, nil
}

// decodePart is strict base64url (RFC 7515 section 2): no padding, no white
// space, no spare bits. Go's decoder skips line ends; they are refused first.
func decodePart(part string) ([]byte, error) {
	if part == "" || strings.ContainsAny(part, "\r\n") {
		return nil, refuse("base64_malformed")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, refuse("base64_malformed")
	}
	return b, nil
}

// tooDeep bounds nesting before the claims are decoded.
func tooDeep(body []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			if depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// verify checks the RS256 signature. crypto/rsa is used directly: the strict
// parsing is done, and one call leaves no room for algorithm confusion.
func (t *token) verify(key *rsa.PublicKey) error {
	digest := sha256.Sum256([]byte(t.signed))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], t.signature); err != nil {
		return refuse("signature_invalid")
	}
	return nil
}
