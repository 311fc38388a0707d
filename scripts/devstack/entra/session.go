package entra

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const (
	// refreshLife is how long a refresh token can be idle.
	refreshLife = 90 * 24 * time.Hour
	// maxGrants bounds the memory of each kind of grant; full, it starts anew.
	maxGrants = 10_000
)

// grants are what people have granted and clients have not yet, or may again,
// turn into tokens.
type grants struct {
	mu      sync.Mutex
	codes   map[string]*code
	devices map[string]*device // by device code
	refresh map[string]*refresh
}

func newGrants() *grants {
	return &grants{codes: map[string]*code{}, devices: map[string]*device{}, refresh: map[string]*refresh{}}
}

// family is everything that came of one sign-in. It ends as a whole, when a
// code or a refresh token is presented again that was used already: one of the
// two who had it is a thief (RFC 9700, section 4.14).
type family struct{ revoked bool }

type code struct {
	authorization
	person  Persona
	expires time.Time
	used    bool
	family  *family
}

// refresh renews tokens for what each request asks for; a person's tenant is the
// one that it serves.
type refresh struct {
	person  Persona
	expires time.Time
	used    bool
	family  *family
}

func put[T any](all map[string]*T, value *T) string {
	if len(all) >= maxGrants {
		clear(all)
	}
	id := "1." + rand.Text() + rand.Text()
	all[id] = value
	return id
}

func (g *grants) addCode(now time.Time, c *code) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.expires, c.family = now.Add(codeLife), &family{}
	return put(g.codes, c)
}

// takeCode uses a code up. A second use also ends what came of the first.
func (g *grants) takeCode(now time.Time, id, tenant string) (*code, *refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.codes[id]
	switch {
	case !ok || c.tenant != tenant:
		return nil, &refusal{"invalid_grant", "AADSTS70000: The provided value for the 'code' parameter is not valid."}
	case c.used:
		c.family.revoked = true
		return nil, &refusal{"invalid_grant", "AADSTS54005: OAuth2 Authorization code was already redeemed, please retry with a new valid code."}
	}
	c.used = true
	if now.After(c.expires) {
		return nil, &refusal{"invalid_grant", "AADSTS70008: The provided authorization code is expired."}
	}
	return c, nil
}

// takeRefresh finds a refresh token, and uses it up if spend is set: the answer
// holds the next one.
func (g *grants) takeRefresh(now time.Time, id, tenant string, spend bool) (*refresh, *refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.refresh[id]
	switch {
	case !ok || r.person.Tenant != tenant:
		return nil, &refusal{"invalid_grant", "AADSTS70000: The provided value for the 'refresh_token' parameter is not valid."}
	case r.used || r.family.revoked:
		r.family.revoked = true
		return nil, &refusal{"invalid_grant", "AADSTS50173: The provided grant has been revoked. A fresh sign-in is needed."}
	case now.After(r.expires):
		return nil, &refusal{"invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity."}
	}
	r.used = spend
	return r, nil
}

func (g *grants) addRefresh(now time.Time, r *refresh) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	r.expires = now.Add(refreshLife)
	return put(g.refresh, r)
}

// RevokeSessions ends every person's sign-ins, as an administrator can.
func (s *Server) RevokeSessions() {
	s.grants.mu.Lock()
	defer s.grants.mu.Unlock()
	for _, r := range s.grants.refresh {
		r.family.revoked = true
	}
}

// signedIn makes the token response for a person (OpenID Connect Core, section
// 3.1.3.3). Contexts and capabilities are those that this request asked for:
// what a person could meet is no sign that it was met now.
func (s *Server) signedIn(p Persona, a asked, nonce string, f *family) (map[string]any, error) {
	bare := p
	bare.Capable = false
	contexts := append([]string{}, a.acrs...) // never nil, which would mean the persona's own
	access, err := s.Sign(p.Tenant, s.PersonaClaims(bare, Grant{ACRS: contexts, Capable: a.capable}))
	if err != nil {
		return nil, err
	}
	seconds := int(lifetime.Seconds())
	body := map[string]any{
		"token_type": "Bearer", "scope": joinScopes(a.scopes), "expires_in": seconds, "ext_expires_in": seconds, "access_token": access,
	}
	if a.has("openid") {
		if body["id_token"], err = s.Sign(p.Tenant, s.idClaims(p, nonce)); err != nil {
			return nil, err
		}
	}
	if a.has("offline_access") {
		body["refresh_token"] = s.grants.addRefresh(s.now(), &refresh{person: p, family: f})
	}
	info, err := json.Marshal(map[string]string{"uid": p.OID, "utid": p.Tenant})
	if err != nil {
		return nil, fmt.Errorf("encoding client_info: %w", err)
	}
	body["client_info"] = base64.RawURLEncoding.EncodeToString(info)
	return body, nil
}

// idClaims are the claims of a v2.0 ID token: it names the person to the tool,
// and is no access token.
func (s *Server) idClaims(p Persona, nonce string) map[string]any {
	issued := s.now()
	pairwise := sha256.Sum256([]byte(p.OID + ToolClientID))
	claims := map[string]any{
		"ver": "2.0", "iss": issuerV2(p.Tenant), "aud": ToolClientID, "tid": p.Tenant, "oid": p.OID,
		"sub": base64.RawURLEncoding.EncodeToString(pairwise[:]), "name": p.Name, "preferred_username": p.username(),
		"iat": issued.Unix(), "nbf": issued.Unix(), "exp": issued.Add(lifetime).Unix(), "uti": rand.Text(),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return claims
}
