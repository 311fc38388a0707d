package httpapi_test

import (
	"io"
	"net/http"
	"testing"

	"secureapi/handler/authz"
)

// BenchmarkRefusals measures what a request costs that is refused before its
// caller is known, beside one that asks for nothing: over a socket, client and
// server together. The dearest is a token with a key's own id and a signature
// that is wrong.
func BenchmarkRefusals(b *testing.B) {
	a := newAPI(b)
	token := a.token(b, authz.Writer)
	forged := token[:len(token)-8] + "AAAAAAAA"
	for _, bb := range []struct {
		name, path, token string
		status            int
	}{
		{"health", "/api/v1/health/live", "", http.StatusOK},
		{"no token", "/api/v1/keys", "", http.StatusUnauthorized},
		{"not a token", "/api/v1/keys", "a.b.c", http.StatusUnauthorized},
		{"forged signature", "/api/v1/keys", forged, http.StatusUnauthorized},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, a.URL+bb.path, http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+bb.token)
				response, err := a.Client().Do(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil {
					b.Fatal(err)
				}
				if err := response.Body.Close(); err != nil || response.StatusCode != bb.status {
					b.Fatal(response.StatusCode, err)
				}
			}
		})
	}
}
