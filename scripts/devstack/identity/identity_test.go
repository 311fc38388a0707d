package identity_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"secureapi/scripts/devstack/identity"
)

func TestEndpoint(t *testing.T) {
	handler, err := identity.New(identity.Options{
		Header: "secret", ClientID: "11111111-1111-4111-8111-111111111111",
		Issue: func(resource string) (string, time.Time, error) {
			if resource != "https://vault.azure.net" {
				return "", time.Time{}, errors.New("unknown")
			}
			return "a-token", time.Unix(1_800_000_000, 0), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const good = "?api-version=2019-08-01&resource=https://vault.azure.net&client_id=11111111-1111-4111-8111-111111111111"
	for _, tt := range []struct {
		name, header, query string
		want                int
	}{
		{"as the platform's", "secret", good, http.StatusOK},
		{"without the header", "", good, http.StatusUnauthorized},
		{"with a wrong header", "Secret", good, http.StatusUnauthorized},
		{"another version", "secret", strings.Replace(good, "2019", "2017", 1), http.StatusBadRequest},
		{"another identity", "secret", strings.Replace(good, "=1111", "=2222", 1), http.StatusBadRequest},
		{"no identity", "secret", strings.Split(good, "&client_id")[0], http.StatusBadRequest},
		{"another resource", "secret", strings.Replace(good, "vault", "graph", 1), http.StatusBadRequest},
	} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, identity.Path+tt.query, http.NoBody)
		if tt.header != "" {
			req.Header.Set("X-IDENTITY-HEADER", tt.header)
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, req)
		if recorder.Code != tt.want || strings.Contains(recorder.Body.String(), "a-token") != (tt.want == http.StatusOK) {
			t.Errorf("%s: %d %s", tt.name, recorder.Code, recorder.Body)
		}
		if tt.want == http.StatusOK && !strings.Contains(recorder.Body.String(), `"expires_on":"1800000000"`) {
			t.Errorf("%s: expiry in %s", tt.name, recorder.Body)
		}
	}
}

func TestNewRefusesAnOpenEndpoint(t *testing.T) {
	if _, err := identity.New(identity.Options{ClientID: "x", Issue: func(string) (string, time.Time, error) {
		return "", time.Time{}, nil
	}}); err == nil {
		t.Error("an endpoint without a secret was made")
	}
}
