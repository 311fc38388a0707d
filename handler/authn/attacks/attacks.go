// Package attacks lists access tokens that must be refused, each with the reason
// that the audit log must give for it. The same list is run against package authn
// in one process and against the built handler behind the Functions host.
//
// An attacker has less than what stands here: many of these tokens are signed with
// the tenant's own key, as only the authority could. They show that each check
// holds by itself, and not only because another one came first.
//
// Sources: RFC 7515, RFC 7518, RFC 8725, the claims reference of Entra ID, and the
// published faults of JWT libraries. For tests only.
package attacks

import (
	"crypto"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// World is what the tokens are made of.
type World struct {
	// Tenant is on the allow-list; Key signs for it under KeyID.
	Tenant string
	Key    *rsa.PrivateKey
	KeyID  string
	// Neighbour is another tenant of the allow-list.
	Neighbour    string
	NeighbourKey *rsa.PrivateKey
	NeighbourID  string
	// Audience, Authority and V1Host are those of the configuration.
	Audience, Authority, V1Host string
	// User and App give the claims of tokens that are accepted, made anew.
	User, App func() map[string]any
	// Now is the verifier's time, Margin how far beyond each bound tokens go.
	Now    time.Time
	Margin time.Duration
}

// Case is one attack.
type Case struct {
	Name string
	// Header holds the values of the Authorization header.
	Header []string
	// Reason is the code that the audit log must have.
	Reason string
	// Verified: the signature is good, so that the refusal has an entry of its
	// own. ID is then its token id (uti), by which the entry is found; "" where
	// the attack is on the claims' form.
	Verified bool
	ID       string
}

// builder collects cases.
type builder struct {
	World
	cases []Case
	fault error
}

// Cases makes every attack.
func Cases(w World) ([]Case, error) {
	b := &builder{World: w}
	for _, add := range []func(){
		b.authorization, b.structure, b.algorithms, b.keySources, b.keyIDs, b.signatures, b.paddings, b.payloads,
		b.versions, b.audiences, b.times, b.grants, b.subjects, b.clients,
	} {
		// An attacker's cryptography is not held to FIPS 140-3.
		fips140.WithoutEnforcement(add)
	}
	return b.cases, b.fault
}

// Controls are tokens that must be accepted, so that refusing everything does not
// pass.
func Controls(w World) (map[string]string, error) {
	b := &builder{World: w}
	return map[string]string{
		"user":                  b.mint(b.header(), b.user(nil)),
		"application":           b.mint(b.header(), b.app(nil)),
		"typ in lower case":     b.mint(with(b.header(), "typ", "jwt"), b.user(nil)),
		"with a thumbprint":     b.mint(with(b.header(), "x5t", w.KeyID), b.user(nil)),
		"claims of no interest": b.mint(b.header(), b.user(map[string]any{"wids": []string{"x"}, "deep": [][]int{{1}}})),
		"just within the skew":  b.mint(b.header(), b.user(map[string]any{"nbf": w.Now.Add(30 * time.Second).Unix(), "iat": w.Now.Add(30 * time.Second).Unix()})),
	}, b.fault
}

// before adds an attack that is refused before the signature is verified.
func (b *builder) before(reason, name, token string) {
	b.cases = append(b.cases, Case{Name: name, Header: []string{"Bearer " + token}, Reason: reason})
}

// after adds a token of good signature and bad claims; they get an id of their own.
func (b *builder) after(reason, name string, claims map[string]any) {
	id := fmt.Sprintf("attack-%03d", len(b.cases))
	if _, own := claims["uti"]; !own {
		claims["uti"] = id
	} else {
		id = ""
	}
	if reason == "claim_type_wrong" {
		id = "" // claims that cannot be read name no token
	}
	b.cases = append(b.cases, Case{
		Name: name, Header: []string{"Bearer " + b.mint(b.header(), claims)}, Reason: reason, Verified: true, ID: id,
	})
}

func (b *builder) header() map[string]any {
	return map[string]any{"alg": "RS256", "kid": b.KeyID, "typ": "JWT"}
}

// user and app are accepted claims with some changed; a nil takes one out.
func (b *builder) user(change map[string]any) map[string]any { return changed(b.User(), change) }
func (b *builder) app(change map[string]any) map[string]any  { return changed(b.App(), change) }

func changed(claims, change map[string]any) map[string]any {
	delete(claims, "uti")
	for name, value := range change {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

func with(m map[string]any, name string, value any) map[string]any {
	return changed(maps.Clone(m), map[string]any{name: value})
}

// mint signs with the tenant's key. Header and claims are maps, or JSON as text.
func (b *builder) mint(header, claims any) string {
	return b.mintBy(b.Key, header, claims)
}

func (b *builder) mintBy(key *rsa.PrivateKey, header, claims any) string {
	input := b.part(header) + "." + b.part(claims)
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	b.note(err)
	return input + "." + encode(signature)
}

func (b *builder) part(v any) string {
	if text, ok := v.(string); ok {
		return encode([]byte(text))
	}
	text, err := json.Marshal(v)
	b.note(err)
	return encode(text)
}

func (b *builder) note(err error) {
	if err != nil && b.fault == nil {
		b.fault = fmt.Errorf("making an attack: %w", err)
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
