package authn

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// algorithm is the only one accepted. It is a constant, not a choice by the
	// token: what the header names is compared with it and then not used.
	algorithm = "RS256"
	maxDepth  = 8
	maxKeyID  = 128
)

// token is a compact JWS (RFC 7515, section 7.1) that is well-formed in every
// part and believed in none.
type token struct {
	keyID     string
	tenant    string // as claimed: it chooses the key set
	signed    string // header "." payload, as received
	payload   []byte
	signature []byte
}

// header is the JOSE header. Any other member refuses the token: each of crit,
// b64, jku, jwk, x5u, x5c, zip, enc, cty and nonce asks the verifier to do
// something that it must not. The thumbprint is allowed and means nothing.
type header struct {
	Algorithm  string `json:"alg"`
	KeyID      string `json:"kid"`
	Type       string `json:"typ"`
	Thumbprint string `json:"x5t"`
}

func parse(raw string) (*token, error) {
	// Dots are counted before anything is split: a million of them must not
	// cost a million strings.
	if strings.Count(raw, ".") != 2 {
		return nil, refuse(ReasonNotThreeParts)
	}
	dot := strings.LastIndexByte(raw, '.')
	signed := raw[:dot]
	first, second, _ := strings.Cut(signed, ".")
	var parts [3][]byte
	for i, part := range []string{first, second, raw[dot+1:]} {
		b, err := decodePart(part)
		if err != nil {
			return nil, refuse(ReasonBase64Malformed)
		}
		parts[i] = b
	}
	if tooDeep(parts[0]) || tooDeep(parts[1]) {
		return nil, refuse(ReasonTooDeep)
	}
	h, err := parseHeader(parts[0])
	if err != nil {
		return nil, err
	}
	tenant, err := claimedTenant(parts[1])
	if err != nil {
		return nil, err
	}
	return &token{keyID: h.KeyID, tenant: tenant, signed: signed, payload: parts[1], signature: parts[2]}, nil
}

// strict refuses padding and spare bits.
var strict = base64.RawURLEncoding.Strict()

// decodePart is strict base64url (RFC 7515, section 2): no padding, no white
// space, no spare bits, so that a token has one spelling. Go's decoder skips
// line ends; they are refused first.
func decodePart(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("white space")
	}
	return strict.DecodeString(part)
}

func parseHeader(b []byte) (header, error) {
	var h header
	err := json.Unmarshal(b, &h, json.RejectUnknownMembers(true))
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return header{}, refuse(ReasonHeaderDuplicate)
	case errors.Is(err, json.ErrUnknownName):
		return header{}, refuse(ReasonHeaderMember)
	case err != nil:
		return header{}, refuse(ReasonHeaderMalformed)
	case h.Algorithm != algorithm:
		return header{}, refuse(ReasonAlgorithm)
	case !strings.EqualFold(h.Type, "JWT"):
		// Entra ID never sends "at+jwt" (RFC 9068); access tokens are told from
		// ID tokens by a claim.
		return header{}, refuse(ReasonType)
	case !isKeyID(h.KeyID):
		return header{}, refuse(ReasonKeyIDMalformed)
	}
	return h, nil
}

// claimedTenant reads nothing but the tenant. In passing, the whole payload is
// checked as JSON: the signature of what no parser agrees on proves nothing.
func claimedTenant(payload []byte) (string, error) {
	var c struct {
		Tenant string `json:"tid"`
	}
	err := json.Unmarshal(payload, &c)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "", refuse(ReasonClaimsDuplicate)
	case err != nil:
		return "", refuse(ReasonClaimsMalformed)
	}
	return c.Tenant, nil
}

// verify checks the RS256 signature. crypto/rsa is used directly: a library
// would parse the token a second time, by rules of its own, and choose the
// algorithm by what the header says; one call with a fixed hash leaves nothing
// to be confused.
func (t *token) verify(key *rsa.PublicKey) error {
	digest := sha256.Sum256([]byte(t.signed))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], t.signature); err != nil {
		return refuse(ReasonSignature)
	}
	return nil
}

// tooDeep bounds nesting before a parser sees the JSON. On what is not JSON it
// may say either: the parser refuses that.
func tooDeep(b []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
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

// isKeyID admits what can be a key's name, and so no path, URL or quotation.
func isKeyID(s string) bool {
	if s == "" || len(s) > maxKeyID {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if b != '-' && b != '_' && (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') {
			return false
		}
	}
	return true
}
