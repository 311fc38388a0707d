package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"secureapi/handler/authz"
)

type erasureView struct {
	ID, Kind, State, Code string
	Receipt               *struct{ InaccessibleAt, IrrecoverableAt, AuditEntry string }
}

func TestErase(t *testing.T) {
	a := newAPI(t)
	officer, writer := a.token(t, authz.PrivacyOfficer), a.token(t, authz.Writer)
	const path, body = "/api/v1/subjects/erase", `{"subject":"c-1","reason":"CASE-2026-000017"}`
	const value = `{"class":"email","value":"anna@example.com","subject":"c-1"}`
	created := a.call(t, http.MethodPost, "/api/v1/tokens", writer, value)
	token := field(t, created.body, "token")
	first := a.call(t, http.MethodPost, path, officer, body)
	var e erasureView
	if err := json.Unmarshal([]byte(first.body), &e, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	location := "/api/v1/operations/" + e.ID
	if first.status != http.StatusAccepted || e.Kind != "erasure" || e.State != "running" || e.Receipt == nil ||
		first.header.Get("Location") != location {
		t.Errorf("%d %s", first.status, first.body)
	}
	if again := a.call(t, http.MethodPost, path, officer, body); again.body != first.body {
		t.Errorf("a repeat answers %s, not %s", again.body, first.body)
	}
	if got := a.call(t, http.MethodGet, location, officer, ""); got.status != http.StatusOK || got.body != first.body {
		t.Errorf("read: %d %s", got.status, got.body)
	}
	if got := a.call(t, http.MethodGet, location, a.token(t, authz.Operator), ""); got.status != http.StatusOK {
		t.Errorf("an operator: %d", got.status)
	}
	if got := a.call(t, http.MethodGet, location, writer, ""); got.status != http.StatusForbidden {
		t.Errorf("a writer: %d", got.status)
	}
	if got := a.call(t, http.MethodPost, "/api/v1/tokens", writer, value); got.status != http.StatusConflict || field(t, got.body, "code") != "subject_erased" {
		t.Errorf("tokenize: %d %s", got.status, got.body)
	}
	revealed := a.call(t, http.MethodPost, "/api/v1/tokens/reveal", a.token(t, authz.Revealer, "c1"),
		`{"tokens":["`+token+`"],"purpose":"fraud-review","reason":"CASE-2026-000017"}`)
	unknown := a.call(t, http.MethodPost, "/api/v1/tokens/reveal", a.token(t, authz.Revealer, "c1"),
		`{"tokens":["tok_eml_0123456789abcdefghjkmnpqrstvwxyz"],"purpose":"fraud-review","reason":"CASE-2026-000017"}`)
	if revealed.status != unknown.status ||
		strings.ReplaceAll(revealed.body, token, "") != strings.ReplaceAll(unknown.body, "tok_eml_0123456789abcdefghjkmnpqrstvwxyz", "") {
		t.Errorf("an erased token: %d %s\nan unknown one: %d %s", revealed.status, revealed.body, unknown.status, unknown.body)
	}
}

func TestEraseIsStrict(t *testing.T) {
	a := newAPI(t)
	officer := a.token(t, authz.PrivacyOfficer)
	for _, c := range [][2]string{
		{`{"subject":"c 1","reason":"CASE-1"}`, "/subject"},
		{`{"reason":"CASE-1"}`, "/subject"},
		{`{"subject":"c-1","reason":"anna@example.com asks"}`, "/reason"},
		{`{"subject":"c-1","reason":"CASE-1","force":true}`, ""},
		{`{"subject":["c-1"],"reason":"CASE-1"}`, "/subject"},
	} {
		got := a.call(t, http.MethodPost, "/api/v1/subjects/erase", officer, c[0])
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, `"pointer":"`+c[1]) && c[1] != "" || strings.Contains(got.body, "anna") {
			t.Errorf("%s: %d %s", c[0], got.status, got.body)
		}
	}
	unknownID := "/api/v1/operations/0f0f0f0f-0000-8000-8000-000000000001"
	if got := a.call(t, http.MethodGet, unknownID, officer, ""); got.status != http.StatusNotFound {
		t.Errorf("no such erasure: %d", got.status)
	}
}

func field(t *testing.T, body, name string) string {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatal(err)
	}
	text, _ := members[name].(string)
	return text
}
