package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// AssertionType is the one kind of client assertion (RFC 7523, section 2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ExchangeAudience is what a federated assertion must be issued for.
const ExchangeAudience = "api://AzureADTokenExchange"

var errAssertion = errors.New("client assertion is not valid")

// Certificate is the credential of every application of the directory.
type Certificate struct {
	Leaf *x509.Certificate
	Key  *rsa.PrivateKey
}

func newCertificate() (Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return Certificate{}, fmt.Errorf("making the applications' key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "secureapi local applications"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Certificate{}, fmt.Errorf("making the applications' certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("reading back the applications' certificate: %w", err)
	}
	return Certificate{leaf, key}, nil
}

// PEM is the certificate followed by its key: what AZURE_CLIENT_CERTIFICATE_PATH
// names. It is as secret as the key.
func (c Certificate) PEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("encoding the applications' key: %w", err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Leaf.Raw})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

// Certificate is the credential of the applications.
func (s *Server) Certificate() Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.certificate
}

// RotateCertificate registers a new certificate with every application and
// removes the former one, the end of a rotation in Entra.
func (s *Server) RotateCertificate() (Certificate, error) {
	fresh, err := newCertificate()
	if err != nil {
		return Certificate{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certificate = fresh
	return fresh, nil
}

// Federation is a trust in another issuer: its tokens for subject are taken as
// the application's assertion, as with a workload identity.
type Federation struct {
	ClientID, Issuer, Subject string
	Key                       *rsa.PublicKey
}

// Federate adds a trust. An application trusts an issuer's subject once, as in
// Entra: a second trust in the same one takes the place of the first, with what
// may be another key.
func (s *Server) Federate(f Federation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.federations = slices.DeleteFunc(s.federations, func(old Federation) bool {
		return old.ClientID == f.ClientID && old.Issuer == f.Issuer && old.Subject == f.Subject
	})
	s.federations = append(s.federations, f)
}

// checkAssertion takes an assertion signed with the registered certificate, or
// one of a trusted issuer.
func (s *Server) checkAssertion(a App, assertion string) error {
	parsed, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		return fmt.Errorf("%w: parsing", errAssertion)
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return fmt.Errorf("%w: decoding", errAssertion)
	}
	if claims.Issuer == a.ClientID {
		return s.checkCertificate(a, parsed)
	}
	return s.checkFederated(a, parsed, claims.Issuer, claims.Subject)
}

func (s *Server) checkCertificate(a App, parsed *jwt.JSONWebToken) error {
	certificate := s.Certificate()
	if !certificate.named(parsed.Headers[0]) {
		return fmt.Errorf("%w: certificate is not registered", errAssertion)
	}
	if now := s.now(); now.Before(certificate.Leaf.NotBefore) || now.After(certificate.Leaf.NotAfter) {
		return fmt.Errorf("%w: certificate is not valid now", errAssertion)
	}
	var claims jwt.Claims
	if err := parsed.Claims(certificate.Key.Public(), &claims); err != nil {
		return fmt.Errorf("%w: signature", errAssertion)
	}
	tokenEndpoint := Authority + "/" + a.Tenant + "/oauth2/v2.0/token"
	if !claims.Audience.Contains(tokenEndpoint) && !claims.Audience.Contains(issuerV2(a.Tenant)) {
		return fmt.Errorf("%w: audience", errAssertion)
	}
	if claims.ID == "" || !s.firstUse(claims.ID) {
		return fmt.Errorf("%w: jti is missing or was used", errAssertion)
	}
	return s.checkTimes(claims, jwt.Expected{Issuer: a.ClientID, Subject: a.ClientID, Time: s.now()})
}

func (s *Server) checkFederated(a App, parsed *jwt.JSONWebToken, issuer, subject string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.federations {
		if f.ClientID != a.ClientID || f.Issuer != issuer || f.Subject != subject {
			continue
		}
		var claims jwt.Claims
		if err := parsed.Claims(f.Key, &claims); err != nil {
			return fmt.Errorf("%w: signature", errAssertion)
		}
		return s.checkTimes(claims, jwt.Expected{
			Issuer: issuer, Subject: subject, AnyAudience: jwt.Audience{ExchangeAudience}, Time: s.now(),
		})
	}
	return fmt.Errorf("%w: issuer and subject are not trusted", errAssertion)
}

func (s *Server) checkTimes(claims jwt.Claims, expected jwt.Expected) error {
	if claims.Expiry == nil {
		return fmt.Errorf("%w: no expiry", errAssertion)
	}
	if err := claims.ValidateWithLeeway(expected, skew); err != nil {
		return fmt.Errorf("%w: issuer, subject, audience or times", errAssertion)
	}
	return nil
}

// named reports whether the header's thumbprint (x5t#S256) is the certificate's.
// MSAL writes it in padded standard base64, RFC 7515 in base64url.
func (c Certificate) named(h jose.Header) bool {
	given, ok := h.ExtraHeaders["x5t#S256"].(string)
	sum := sha256.Sum256(c.Leaf.Raw)
	return ok && (given == base64.StdEncoding.EncodeToString(sum[:]) || given == base64.RawURLEncoding.EncodeToString(sum[:]))
}

// maxAssertions bounds the memory of used assertions; full, it starts anew.
const maxAssertions = 10_000

func (s *Server) firstUse(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[id] {
		return false
	}
	if len(s.used) >= maxAssertions {
		clear(s.used)
	}
	s.used[id] = true
	return true
}
