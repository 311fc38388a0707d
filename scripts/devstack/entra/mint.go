package entra

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

const (
	algorithm = "RS256"
	// lifetime is what an access token without continuous evaluation has.
	lifetime = 65 * time.Minute

	// actor strengths of azpacr.
	actorPublic      = "0"
	actorSecret      = "1"
	actorCertificate = "2"
)

// Authority is the host of the issuer, as in Azure's public cloud.
const Authority = "https://login.microsoftonline.com"

func issuerV1(tenant string) string { return "https://sts.windows.net/" + tenant + "/" }
func issuerV2(tenant string) string { return Authority + "/" + tenant + "/v2.0" }

// Grant says how a token for a person differs from the default.
type Grant struct {
	// ACRS are the authentication contexts met; nil: those of the persona.
	ACRS []string
	// Age is how long ago the token was issued.
	Age time.Duration
	// Capable tells that the client understands claims challenges (xms_cc cp1),
	// whatever that of the persona does.
	Capable bool
}

// PersonaClaims are the claims of a delegated token for the API.
func (s *Server) PersonaClaims(p Persona, g Grant) map[string]any {
	claims := s.claims(p.Tenant, p.OID, g.Age)
	pairwise := sha256.Sum256([]byte(p.OID + APIClientID))
	acrs := g.ACRS
	if acrs == nil {
		acrs = p.ACRS
	}
	maps.Copy(claims, map[string]any{
		"sub": base64.RawURLEncoding.EncodeToString(pairwise[:]), "idtyp": "user", "scp": Scope,
		"azp": ToolClientID, "azpacr": actorPublic,
		"name": p.Name, "preferred_username": p.username(),
	})
	if len(p.Roles) > 0 {
		claims["roles"] = p.Roles
	}
	if len(acrs) > 0 {
		claims["acrs"] = acrs
	}
	if p.Capable || g.Capable {
		claims["xms_cc"] = []string{"cp1"}
	}
	return claims
}

// AppClaims are the claims of an application's own token for the API. strength
// is its azpacr: "1" for a secret, "2" for a certificate or a federation.
func (s *Server) AppClaims(a App, strength string) map[string]any {
	claims := s.claims(a.Tenant, a.OID, 0)
	maps.Copy(claims, map[string]any{
		"sub": a.OID, "idtyp": "app", "azp": a.ClientID, "azpacr": strength,
	})
	if len(a.Roles) > 0 {
		claims["roles"] = a.Roles
	}
	return claims
}

// claims are those that every token for the API has.
func (s *Server) claims(tenant, oid string, age time.Duration) map[string]any {
	issued := s.now().Add(-age)
	return map[string]any{
		"aud": APIClientID, "iss": issuerV2(tenant), "tid": tenant, "oid": oid, "ver": "2.0",
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": issued.Add(lifetime).Unix(),
		"uti": rand.Text(), "aio": rand.Text(), "rh": "1." + rand.Text(),
	}
}

// ResourceToken issues a v1 token for an Azure resource, as Key Vault, Storage
// and Monitor take them. It answers when the token ends.
func (s *Server) ResourceToken(a App, resource, strength string) (token string, expires time.Time, err error) {
	issued := s.now()
	expires = issued.Add(lifetime).Truncate(time.Second)
	token, err = s.Sign(a.Tenant, map[string]any{
		"aud": resource, "iss": issuerV1(a.Tenant), "tid": a.Tenant, "oid": a.OID, "sub": a.OID, "ver": "1.0",
		"appid": a.ClientID, "appidacr": strength, "idp": issuerV1(a.Tenant), "idtyp": "app",
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": expires.Unix(), "uti": rand.Text(),
	})
	return token, expires, err
}

// Sign makes a token of the claims as the tenant signs it now.
func (s *Server) Sign(tenant string, claims map[string]any) (string, error) {
	key, ok := s.ring.current(tenant)
	if !ok {
		return "", errors.New("signing a token: no such tenant")
	}
	header := map[string]any{"typ": "JWT", "alg": algorithm, "kid": key.id, "x5t": key.id}
	return MintToken(header, claims, func(input []byte) ([]byte, error) { return s.SignRS256(tenant, input) })
}

// MintToken makes a token of any header and claims, signed in any way: for the
// tests that attack the API with tokens that no issuer would give out.
func MintToken(header, claims map[string]any, sign func(input []byte) ([]byte, error)) (string, error) {
	head, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("encoding a token's header: %w", err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding a token's claims: %w", err)
	}
	input := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	signature, err := sign([]byte(input))
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// PersonaToken is a token as the person would get it.
func (s *Server) PersonaToken(name string, g Grant) (string, error) {
	p, ok := s.Persona(name)
	if !ok {
		return "", fmt.Errorf("minting a token: no persona %q", name)
	}
	return s.Sign(p.Tenant, s.PersonaClaims(p, g))
}
