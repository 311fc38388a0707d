package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/httpapi"
)

// Whoever holds a token that this tenant's key has signed, an old one or one for
// another API, can send it for ever: without a limit each would be an entry that
// the log has to make durable, in everybody's way.
func TestAFloodOfSignedTokensDoesNotFillTheLog(t *testing.T) {
	const flood, told = 150, 20
	a := newAPI(t, func(o *httpapi.Options) { o.Limits.PerMinute, o.Limits.Burst = 60, told })
	foreign := claimsOf(authz.Operator, nil)
	foreign["aud"] = "bbbbbbbb-0000-4000-8000-00000000000b"
	stolen := a.sign(t, foreign)
	for range flood {
		if got := a.call(t, http.MethodGet, "/api/v1/keys", stolen, ""); got.status != http.StatusUnauthorized {
			t.Fatalf("answered %d", got.status)
		}
	}
	// Nobody else pays: neither the same caller with a good token, nor another
	// one who is refused.
	if got := a.call(t, http.MethodGet, "/api/v1/keys", a.token(t, authz.Operator), ""); got.status != http.StatusOK {
		t.Errorf("a good token of the same caller is answered %d", got.status)
	}
	foreign["oid"] = "aaaaaaaa-0000-4000-8000-000000000002"
	_ = a.call(t, http.MethodGet, "/api/v1/keys", a.sign(t, foreign), "")
	if err := a.audit.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	denied, counted := map[string]int{}, 0
	for _, e := range a.entries(t) {
		switch {
		case e.ReasonCode != "audience_mismatch":
		case e.Phase == audit.Denied:
			denied[e.Actor.ID]++
		case e.Phase == audit.Counted:
			counted += e.Count
		}
	}
	first := denied["aaaaaaaa-0000-4000-8000-000000000001"]
	if first < told || first > told+30 { // the allowance grows while the test runs
		t.Errorf("%d entries of one caller's refusals", first)
	}
	if first+counted != flood {
		t.Errorf("%d entries and %d counted, of %d", first, counted, flood)
	}
	if denied["aaaaaaaa-0000-4000-8000-000000000002"] != 1 {
		t.Error("the refusal of another caller is not told")
	}
}

// Each request's entries have a name of their own, which its log lines have too.
func TestEntriesNameTheirRequest(t *testing.T) {
	a := newAPI(t)
	for range 2 {
		if got := a.call(t, http.MethodGet, "/api/v1/revocations", a.token(t, authz.Operator), ""); got.status != http.StatusOK {
			t.Fatalf("answered %d", got.status)
		}
	}
	if err := a.audit.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, e := range a.entries(t) {
		if id, there := ids[e.SpanID]; e.SpanID == "" || there && id != e.ID {
			t.Errorf("entry %+v", e)
		}
		ids[e.SpanID] = e.ID
	}
	if len(ids) != 2 {
		t.Errorf("%d requests", len(ids))
	}
}

// entries are all that the log holds.
func (a *api) entries(t *testing.T) (list []audit.Entry) {
	t.Helper()
	for _, row := range a.log.All() {
		if !strings.HasPrefix(row.Key, "e|") {
			continue
		}
		var e audit.Entry
		if err := json.Unmarshal(row.Body, &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}
