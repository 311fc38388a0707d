package entra_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/devstack/browser"
	"secureapi/scripts/devstack/entra"
)

const (
	apiScope = entra.APIAppIDURI + "/" + entra.Scope
	stepUp   = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
)

// publicApp is MSAL as a tool has it.
func publicApp(t *testing.T, client *http.Client) public.Client {
	t.Helper()
	app, err := public.New(entra.ToolClientID, public.WithAuthority(entra.Authority+"/"+entra.HomeTenant),
		public.WithHTTPClient(client), public.WithInstanceDiscovery(false), public.WithClientCapabilities([]string{"cp1"}))
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// wantClaims compares the claims that it names; nil stands for none.
func wantClaims(t *testing.T, client *http.Client, token string, want map[string]any) {
	t.Helper()
	claims := parse(t, keys(t, client, entra.HomeTenant), token)
	got := map[string]any{}
	for name := range want {
		got[name] = claims[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMSALSignsInByCode(t *testing.T) {
	_, client := serve(t)
	app := publicApp(t, client)
	as := func(person browser.Person, options ...public.AcquireInteractiveOption) (public.AuthResult, error) {
		person.Client = client
		open := func(address string) error { return person.SignIn(t.Context(), address) }
		return app.AcquireTokenInteractive(t.Context(), []string{apiScope}, append(options, public.WithOpenURL(open))...)
	}
	got, err := as(browser.Person{Persona: "revealer"})
	if err != nil {
		t.Fatal(err)
	}
	wantClaims(t, client, got.AccessToken, map[string]any{
		"aud": entra.APIClientID, "azp": entra.ToolClientID, "azpacr": "0", "idtyp": "user", "scp": entra.Scope, "tid": entra.HomeTenant,
		"roles": []any{"Vault.Revealer"}, "xms_cc": []any{"cp1"}, "acrs": nil,
	})
	wantClaims(t, client, got.IDToken.RawToken, map[string]any{
		"aud": entra.ToolClientID, "preferred_username": "revealer@dev.example", "roles": nil, "scp": nil,
	})
	if got.Account.PreferredUsername != "revealer@dev.example" || !strings.HasSuffix(got.Account.HomeAccountID, "."+entra.HomeTenant) {
		t.Errorf("account %+v", got.Account)
	}
	silent, err := app.AcquireTokenSilent(t.Context(), []string{apiScope}, public.WithSilentAccount(got.Account))
	if err != nil || silent.AccessToken != got.AccessToken {
		t.Errorf("silently: %v", err)
	}
	if _, err := app.AcquireTokenSilent(t.Context(), []string{apiScope}, public.WithSilentAccount(got.Account), public.WithClaims(stepUp)); err == nil ||
		!strings.Contains(err.Error(), "AADSTS50076") {
		t.Errorf("a step-up without a sign-in: %v", err)
	}
	stepped, err := as(browser.Person{Persona: "revealer"}, public.WithClaims(stepUp), public.WithLoginHint("revealer@dev.example"))
	if err != nil {
		t.Fatal(err)
	}
	wantClaims(t, client, stepped.AccessToken, map[string]any{"acrs": []any{"c1"}, "xms_cc": []any{"cp1"}})

	for name, tt := range map[string]struct {
		person browser.Person
		text   string
	}{
		"declined":      {browser.Person{Decline: true}, "AADSTS65004"},
		"another state": {browser.Person{Persona: "writer", Tamper: func(v url.Values) { v.Set("state", "guessed") }}, "state"},
		"no state":      {browser.Person{Persona: "writer", Tamper: func(v url.Values) { v.Del("state") }}, "state"},
		"another code":  {browser.Person{Persona: "writer", Tamper: func(v url.Values) { v.Set("code", "guessed") }}, "AADSTS70000"},
	} {
		if _, err := as(tt.person); err == nil || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, want %s", name, err, tt.text)
		}
	}
}

func TestMSALSignsInByDevice(t *testing.T) {
	_, client := serve(t)
	app := publicApp(t, client)
	for name, tt := range map[string]struct {
		person browser.Person
		text   string
	}{
		"chosen": {browser.Person{Persona: "writer"}, ""}, "declined": {browser.Person{Decline: true}, "authorization_declined"},
	} {
		asked, err := app.AcquireTokenByDeviceCode(t.Context(), []string{apiScope}, public.WithClaims(stepUp))
		if err != nil {
			t.Fatal(err)
		}
		if life := time.Until(asked.Result.ExpiresOn); life < 14*time.Minute || life > 15*time.Minute || !strings.Contains(asked.Result.Message, asked.Result.UserCode) {
			t.Errorf("%+v", asked.Result)
		}
		tt.person.Client = client
		// As a person types it.
		typed := strings.ToLower(asked.Result.UserCode[:4] + "-" + asked.Result.UserCode[4:])
		if err := tt.person.EnterCode(t.Context(), asked.Result.VerificationURL, typed); err != nil {
			t.Fatal(err)
		}
		got, err := asked.AuthenticationResult(t.Context())
		if tt.text != "" {
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantClaims(t, client, got.AccessToken, map[string]any{"roles": []any{"Vault.Writer"}, "acrs": []any{"c1"}, "scp": entra.Scope})
		if err := tt.person.EnterCode(t.Context(), asked.Result.VerificationURL, typed); err == nil {
			t.Error("a user code was taken twice")
		}
	}
}
