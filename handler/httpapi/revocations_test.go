package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
)

const (
	uniform = `Bearer error="invalid_token"`
	value   = `{"class":"email","value":"a@example.com"}`
	bob     = "aaaaaaaa-0000-4000-8000-000000000002"
)

// tokenWith mints a writer's token of Bob's.
func (a *api) tokenWith(t *testing.T, uti string, issued time.Time, capabilities ...string) string {
	t.Helper()
	claims := claimsOf(authz.Writer, capabilities)
	claims["uti"], claims["oid"] = uti, bob
	claims["iat"], claims["nbf"], claims["exp"] = issued.Unix(), issued.Unix(), issued.Unix()+3600
	return a.sign(t, claims)
}

// tokenizes wants the status of a tokenize call, and gives its challenge.
func (a *api) tokenizes(t *testing.T, step, token string, status int) (challenge string) {
	t.Helper()
	r := a.call(t, "POST", "/api/v1/tokens", token, value)
	if r.status != status {
		t.Errorf("%s: %d, want %d: %s", step, r.status, status, r.body)
	}
	return r.header.Get("WWW-Authenticate")
}

func (a *api) revoke(t *testing.T, body string) {
	t.Helper()
	if r := a.call(t, "POST", "/api/v1/revocations", a.token(t, authz.Operator), body); r.status != http.StatusOK {
		t.Fatalf("revoke: %d %s", r.status, r.body)
	}
}

func TestARevokedTokenIsRefusedThoughCached(t *testing.T) {
	a := newAPI(t)
	token := a.tokenWith(t, "uti-1", time.Now(), "cp1")
	for range 2 {
		a.tokenizes(t, "before", token, http.StatusCreated)
	}
	for range 2 {
		a.revoke(t, `{"tokenId":"uti-1"}`)
		if got := a.tokenizes(t, "revoked", token, http.StatusUnauthorized); got != uniform {
			t.Errorf("challenge %q", got)
		}
	}
	a.tokenizes(t, "another token of the subject", a.tokenWith(t, "uti-2", time.Now(), "cp1"), http.StatusCreated)
	r := a.call(t, "GET", "/api/v1/revocations", a.token(t, authz.Operator), "")
	if r.status != http.StatusOK || strings.Count(r.body, `"tokenId":"uti-1"`) != 1 {
		t.Errorf("list: %d %s", r.status, r.body)
	}
	a.wantsDenied(t, "token_revoked", 2)
}

// wantsDenied looks into the audit log for the caller's refusals.
func (a *api) wantsDenied(t *testing.T, reason string, n int) {
	t.Helper()
	r := a.call(t, "GET", "/api/v1/audit/events?limit=500&action=tokens.create", a.token(t, authz.Auditor), "")
	found := 0
	for _, e := range r.decode(t).Events {
		if e.Phase == "denied" && e.ReasonCode == reason {
			found++
		}
	}
	if found != n {
		t.Errorf("%d denied entries with %s, want %d: %s", found, reason, n, r.body)
	}
}

func TestARevokedSubjectIsAskedToSignInAgain(t *testing.T) {
	a := newAPI(t)
	issued := time.Now().Add(-10 * time.Minute)
	capable, old := a.tokenWith(t, "uti-1", issued, "cp1"), a.tokenWith(t, "uti-2", issued)
	a.tokenizes(t, "before", capable, http.StatusCreated)
	a.tokenizes(t, "before", old, http.StatusCreated)
	before := issued.Add(time.Minute).Truncate(time.Second)
	a.revoke(t, `{"objectId":"`+bob+`","issuedBefore":"`+before.UTC().Format(time.RFC3339)+`"}`)
	claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, before.Unix())
	want := `Bearer realm="", authorization_uri="` + authority + `/common/oauth2/v2.0/authorize", error="insufficient_claims", claims="` +
		base64.StdEncoding.EncodeToString([]byte(claims)) + `"`
	if got := a.tokenizes(t, "a client that declares cp1", capable, http.StatusUnauthorized); got != want {
		t.Errorf("challenge %q, want %q", got, want)
	}
	if got := a.tokenizes(t, "another client", old, http.StatusUnauthorized); got != uniform {
		t.Errorf("challenge %q", got)
	}
	a.tokenizes(t, "a token issued since", a.tokenWith(t, "uti-3", before, "cp1"), http.StatusCreated)
	a.wantsDenied(t, "subject_revoked", 2)
}

func TestAnExpiredTokenIsRefusedThoughCached(t *testing.T) {
	a := newAPI(t)
	token := a.tokenWith(t, "uti-1", time.Now())
	a.tokenizes(t, "before", token, http.StatusCreated)
	a.ahead.Store(int64(time.Hour + 2*time.Minute))
	if got := a.tokenizes(t, "expired", token, http.StatusUnauthorized); got != uniform {
		t.Errorf("challenge %q", got)
	}
	a.ahead.Store(0) // the auditor's token is good again
	a.wantsDenied(t, "expired", 1)
}

func TestWithoutTheListOfRevocationsTheAnswerIs503(t *testing.T) {
	a := newAPI(t)
	token := a.tokenWith(t, "uti-1", time.Now())
	a.tokenizes(t, "with the list", token, http.StatusCreated)
	a.revocations.OnRead(func(string, string) error { return rowstore.ErrUnavailable })
	a.tokenizes(t, "with a copy", token, http.StatusCreated)
	a.ahead.Store(int64(revocation.MaxAge))
	r := a.call(t, "POST", "/api/v1/tokens", token, value)
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.header.Get("WWW-Authenticate") != "" {
		t.Errorf("with an old copy: %d %v %s", r.status, r.header, r.body)
	}
	a.tokenizes(t, "a token that is none", "x.y.z", http.StatusUnauthorized)
	for _, path := range []string{"/", "/api/v1/health/live", "/api/v1/health/ready"} {
		if r := a.call(t, "GET", path, "", ""); r.status != http.StatusOK {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	a.revocations.OnRead(nil)
	a.tokenizes(t, "with the list again", token, http.StatusCreated)
}

func TestBadRevocationsAreRefusedWithTheirPointer(t *testing.T) {
	a := newAPI(t)
	operator := a.token(t, authz.Operator)
	for _, tt := range []struct{ body, pointer, code string }{
		{`{}`, "", "target_ambiguous"},
		{`{"tokenId":"a","objectId":"` + bob + `"}`, "", "target_ambiguous"},
		{`{"tokenId":"123-45-6789"}`, "/tokenId", "token_id_invalid"},
		{`{"objectId":"bob@example.com"}`, "/objectId", "object_id_invalid"},
		{`{"objectId":"` + bob + `","issuedBefore":"2999-01-01T00:00:00Z"}`, "/issuedBefore", "time_range"},
		{`{"objectId":"` + bob + `","issuedBefore":"yesterday"}`, "/issuedBefore", "type_mismatch"},
		{`{"tokenId":5}`, "/tokenId", "type_mismatch"},
		{`{"tokenId":"a","tokenId":"b"}`, "", "name_repeated"},
		{`{"tokenId":"a","tenant":"` + tenant + `"}`, "", "name_unknown"},
		{``, "", ""},
	} {
		r := a.call(t, "POST", "/api/v1/revocations", operator, tt.body)
		if tt.body == "" {
			if r.status != http.StatusUnsupportedMediaType {
				t.Errorf("no body: %d", r.status)
			}
			continue
		}
		got := r.decode(t)
		if r.status != http.StatusBadRequest || len(got.Errors) != 1 || got.Errors[0].Pointer != tt.pointer || got.Errors[0].Code != tt.code {
			t.Errorf("%s: %d %s", tt.body, r.status, r.body)
		}
		if strings.Contains(r.body, "6789") || strings.Contains(a.out.String(), "6789") {
			t.Errorf("%s: the answer or the log repeats it", tt.body)
		}
	}
}
