package authn_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"secureapi/handler/authn"
	"secureapi/handler/authz"
	"secureapi/scripts/devstack/entra"
)

type nothingRevoked struct{}

func (nothingRevoked) Check(context.Context, authz.Principal) (authz.Revocation, error) {
	return authz.Revocation{}, nil
}

// The local issuer and this package were written apart from one another: the
// tokens of every person and application it knows are read, over TLS.
func TestTokensOfTheLocalIssuer(t *testing.T) {
	issuer, err := entra.New(entra.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(issuer)
	defer server.Close()
	client := server.Client()
	inner := client.Transport
	client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != "login.microsoftonline.com" {
			return nil, errors.New("another host was asked")
		}
		target, err := url.Parse(server.URL)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.URL.Host = net.JoinHostPort(target.Hostname(), target.Port())
		return inner.RoundTrip(r)
	})
	a, err := authn.New(authn.Config{
		TenantIDs: []string{entra.HomeTenant}, Audience: entra.APIClientID, AuthorityHost: entra.Authority,
		Scope: entra.Scope, StepUpContext: entra.StepUp,
	}, authn.NewJWKS(entra.Authority, client, time.Now, slog.New(slog.DiscardHandler)), nothingRevoked{}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, persona := range entra.Personas() {
		token, err := issuer.PersonaToken(persona.Name, entra.Grant{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.Authenticate(t.Context(), []string{"Bearer " + token})
		if persona.Tenant != entra.HomeTenant {
			if refusal, ok := errors.AsType[*authn.Refusal](err); !ok || refusal.Reason != authn.ReasonTenantNotAllowed {
				t.Errorf("%s of another tenant: %v", persona.Name, err)
			}
			continue
		}
		if err != nil || p.Kind != authz.User || !p.Scoped || p.ObjectID != persona.OID || len(p.Roles) != len(persona.Roles) || p.TokenID == "" {
			t.Errorf("%s: %+v, %v", persona.Name, p, err)
			continue
		}
		if stepped := a.RequireStepUp(p) == nil; stepped != (len(persona.ACRS) > 0) {
			t.Errorf("%s: stepped up %v", persona.Name, stepped)
		}
	}
	for _, app := range issuer.Apps() {
		token, err := issuer.Sign(app.Tenant, issuer.AppClaims(app, "2"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.Authenticate(t.Context(), []string{"Bearer " + token})
		want := app.Tenant == entra.HomeTenant && len(app.Roles) > 0
		if (err == nil) != want || want && (p.Kind != authz.App || p.ObjectID != app.OID || p.ClientID != app.ClientID) {
			t.Errorf("%s: %+v, %v", app.Name, p, err)
		}
	}
	// A token of the same issuer for Azure's own services is not for this API.
	token, _, err := issuer.ResourceToken(issuer.Apps()[0], "https://vault.azure.net", "2")
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Authenticate(t.Context(), []string{"Bearer " + token})
	if refusal, ok := errors.AsType[*authn.Refusal](err); !ok || refusal.Reason != authn.ReasonVersion {
		t.Errorf("a token for Key Vault: %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
