package entra

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// skew is how far the clocks of the local services may differ.
const skew = time.Minute

// ErrToken: a token that this issuer did not issue for that resource, or not
// for now.
var ErrToken = errors.New("token is not valid for this resource")

// Resource is what a verified resource token says of its bearer.
type Resource struct {
	Tenant, OID, ClientID string
}

// VerifyResource checks a v1 resource token as Key Vault or Monitor do: our
// signature, the resource as audience, the issuer of the tenant, and the times.
func (s *Server) VerifyResource(token, audience string) (Resource, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return Resource{}, fmt.Errorf("%w: parsing", ErrToken)
	}
	var claims struct {
		jwt.Claims
		Tenant   string `json:"tid"`
		OID      string `json:"oid"`
		ClientID string `json:"appid"`
	}
	// The tenant selects the keys; nothing is believed before one has verified.
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return Resource{}, fmt.Errorf("%w: decoding", ErrToken)
	}
	key, ok := s.ring.find(claims.Tenant, parsed.Headers[0].KeyID)
	if !ok {
		return Resource{}, fmt.Errorf("%w: unknown key", ErrToken)
	}
	if err := parsed.Claims(key, &claims); err != nil {
		return Resource{}, fmt.Errorf("%w: signature", ErrToken)
	}
	expected := jwt.Expected{Issuer: issuerV1(claims.Tenant), Time: s.now()}
	if err := claims.ValidateWithLeeway(expected, skew); err != nil || claims.Expiry == nil || claims.NotBefore == nil {
		return Resource{}, fmt.Errorf("%w: issuer or times", ErrToken)
	}
	if len(claims.Audience) != 1 || strings.TrimSuffix(claims.Audience[0], "/") != audience {
		return Resource{}, fmt.Errorf("%w: audience", ErrToken)
	}
	return Resource{Tenant: claims.Tenant, OID: claims.OID, ClientID: claims.ClientID}, nil
}
