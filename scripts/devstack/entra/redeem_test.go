package entra_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secureapi/scripts/devstack/entra"
)

func TestCodeIsRedeemedOnce(t *testing.T) {
	f := newFlow(t)
	for name, tt := range map[string]struct {
		change url.Values
		detail string
	}{
		"another verifier": {url.Values{"code_verifier": {verifier + "x"}}, "AADSTS501481"},
		"no verifier":      {url.Values{"code_verifier": {""}}, "AADSTS501481"},
		"another port":     {url.Values{"redirect_uri": {"http://localhost:4712"}}, "AADSTS500112"},
		"another loopback": {url.Values{"redirect_uri": {"http://127.0.0.1:4711"}}, "AADSTS500112"},
		"no redirect":      {url.Values{"redirect_uri": {""}}, "AADSTS500112"},
		"a code of nobody": {url.Values{"code": {"1.guessed"}}, "AADSTS70000"},
		"no code":          {url.Values{"code": {""}}, "AADSTS70000"},
		"the other tenant": {nil, "AADSTS70000"},
	} {
		code, target := f.code(request(nil)), base+"token"
		if name == "the other tenant" {
			target = strings.Replace(target, entra.HomeTenant, entra.OtherTenant, 1)
		}
		f.wantRefused(name, f.token(target, redemption(code, tt.change)), "invalid_grant", tt.detail)
		if strings.HasSuffix(name, "verifier") {
			f.wantRefused("the right verifier after a wrong one", f.token(target, redemption(code, nil)), "invalid_grant", "AADSTS54005")
		}
	}
	code := f.code(request(url.Values{"nonce": {"n"}}))
	first := f.token(base+"token", redemption(code, url.Values{"client_info": {"1"}}))
	if first.status != http.StatusOK || first.Access == "" || first.Refresh == "" || first.ClientInfo == "" || !strings.Contains(first.Scope, apiScope) {
		t.Fatalf("%+v", first)
	}
	id := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(first.ID, id); err != nil || id["nonce"] != "n" {
		t.Errorf("ID token %v, %v", id, err)
	}
	f.wantRefused("a second time", f.token(base+"token", redemption(code, nil)), "invalid_grant", "AADSTS54005")
	f.wantRefused("what came of the first", f.token(base+"token", renewal(first.Refresh, nil)), "invalid_grant", "AADSTS50173")

	late := f.code(request(nil))
	forward(t, 61*time.Second)
	f.wantRefused("late", f.token(base+"token", redemption(late, nil)), "invalid_grant", "AADSTS70008")
}

func TestRefreshTokensRotate(t *testing.T) {
	f := newFlow(t)
	first := f.token(base+"token", redemption(f.code(request(nil)), nil))
	f.wantRefused("a step-up", f.token(base+"token", renewal(first.Refresh, url.Values{"claims": {stepUp}})), "invalid_grant", "AADSTS50076")
	second := f.token(base+"token", renewal(first.Refresh, nil))
	if second.status != http.StatusOK || second.Refresh == "" || second.Refresh == first.Refresh || second.Access == first.Access {
		t.Fatalf("%+v", second)
	}
	f.wantRefused("the first again", f.token(base+"token", renewal(first.Refresh, nil)), "invalid_grant", "AADSTS50173")
	f.wantRefused("the second after that", f.token(base+"token", renewal(second.Refresh, nil)), "invalid_grant", "AADSTS50173")

	for name, change := range map[string]url.Values{
		"a guess": {"refresh_token": {"1.guessed"}}, "an access token": {"refresh_token": {second.Access}}, "nothing": {"refresh_token": {""}},
	} {
		f.wantRefused(name, f.token(base+"token", renewal("", change)), "invalid_grant", "AADSTS70000")
	}
	idle := f.token(base+"token", redemption(f.code(request(nil)), nil))
	forward(t, 91*24*time.Hour)
	f.wantRefused("an idle one", f.token(base+"token", renewal(idle.Refresh, nil)), "invalid_grant", "AADSTS700082")
	revoked := f.token(base+"token", redemption(f.code(request(nil)), nil))
	f.server.RevokeSessions()
	f.wantRefused("a revoked one", f.token(base+"token", renewal(revoked.Refresh, nil)), "invalid_grant", "AADSTS50173")
	quiet := f.token(base+"token", redemption(f.code(request(url.Values{"scope": {apiScope}})), nil))
	if quiet.status != http.StatusOK || quiet.Refresh != "" || quiet.ID != "" || quiet.ClientInfo != "" {
		t.Errorf("without being asked for: %+v", quiet)
	}
}

func TestPublicClientHasNoSecret(t *testing.T) {
	f := newFlow(t)
	for _, name := range []string{"client_secret", "client_assertion"} {
		got := f.token(base+"token", redemption(f.code(request(nil)), url.Values{name: {"x"}}))
		if got.status != http.StatusUnauthorized || got.Detail != "AADSTS700025" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	got := f.token(base+"token", url.Values{"grant_type": {"client_credentials"}, "client_id": {entra.ToolClientID}, "scope": {entra.APIClientID + "/.default"}})
	if got.status != http.StatusBadRequest || got.Access != "" {
		t.Errorf("client credentials of the public client: %+v", got)
	}
	f.wantRefused("an app's grant of a person", f.token(base+"token", redemption("x", url.Values{"client_id": {entra.HandlerClientID}})), "unauthorized_client", "AADSTS700016")
	f.wantRefused("a parameter twice", f.token(base+"token", redemption("x", url.Values{"code": {"x", "y"}})), "invalid_request", "AADSTS9000411")
}

func TestDevicePolling(t *testing.T) {
	f := newFlow(t)
	begin := func() (device, user string) {
		answer := f.do(http.MethodPost, base+"devicecode", url.Values{"client_id": {entra.ToolClientID}, "scope": {apiScope}})
		var body struct {
			Device string `json:"device_code"`
			User   string `json:"user_code"`
		}
		if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.Device == "" {
			t.Fatalf("%d, %v", answer.Code, err)
		}
		return body.Device, body.User
	}
	poll := func(device string) tokens {
		return f.token(base+"token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {entra.ToolClientID}, "device_code": {device},
		})
	}
	device, user := begin()
	f.wantRefused("at first", poll(device), "authorization_pending", "AADSTS70016")
	f.wantRefused("at once again", poll(device), "slow_down", "AADSTS70016")
	forward(t, 2*time.Second)
	f.wantRefused("in time", poll(device), "authorization_pending", "AADSTS70016")
	if got := f.do(http.MethodPost, "/devicelogin", url.Values{"user_code": {user}, "persona": {"writer"}}); got.Code != http.StatusOK {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if got := f.do(http.MethodPost, "/devicelogin", url.Values{"user_code": {user}, "persona": {"revealer"}}); got.Code == http.StatusOK {
		t.Error("another person answered after the first")
	}
	forward(t, 2*time.Second)
	if got := poll(device); got.status != http.StatusOK || got.Access == "" {
		t.Errorf("%+v", got)
	}
	f.wantRefused("a second time", poll(device), "bad_verification_code", "AADSTS70018")
	f.wantRefused("a guess", poll("1.guessed"), "bad_verification_code", "AADSTS70018")

	refused, user := begin()
	f.do(http.MethodPost, "/devicelogin", url.Values{"user_code": {user}, "decline": {"1"}})
	f.wantRefused("declined", poll(refused), "authorization_declined", "AADSTS65004")
	late, user := begin()
	forward(t, 16*time.Minute)
	f.wantRefused("late", poll(late), "expired_token", "AADSTS70019")
	if got := f.do(http.MethodPost, "/devicelogin", url.Values{"user_code": {user}, "persona": {"writer"}}); got.Code == http.StatusOK {
		t.Error("an expired code was answered")
	}
	got := f.token(base+"devicecode", url.Values{"client_id": {entra.HandlerClientID}, "scope": {apiScope}})
	f.wantRefused("another client", got, "unauthorized_client", "AADSTS700016")
}
