package vault_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"secureapi/scripts/devstack/vault"
)

func open(t *testing.T, file string) *vault.Server {
	t.Helper()
	s, err := vault.New(vault.Options{
		Host: "devvault.vault.azure.net", Authority: "https://login.microsoftonline.com/tenant", StateFile: file,
		Authorize: func(token string) error {
			if token != "good" {
				return errors.New("refused")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vault.json")
	s := open(t, file)
	version := s.Versions(vault.WrapKey)[0]
	for _, tt := range []struct {
		method, path, token, body string
		want                      int
		code                      string
	}{
		{"GET", "/keys/kek", "good", "", 200, ""},
		{"GET", "/keys/kek/" + version, "good", "", 200, ""},
		{"GET", "/keys/kek", "", "", 401, "Unauthorized"},
		{"GET", "/keys/kek", "bad", "", 401, "Unauthorized"},
		{"GET", "/keys/other", "good", "", 404, "KeyNotFound"},
		{"GET", "/secrets/kek", "good", "", 404, "NotFound"},
		{"DELETE", "/keys/kek", "good", "", 405, "MethodNotAllowed"},
		{"POST", "/keys/kek//wrapkey", "good", `{"alg":"RSA-OAEP-256","value":"AAAA"}`, 200, ""},
		{"POST", "/keys/kek/wrapkey", "good", `{"alg":"RSA-OAEP-256","value":"AAAA"}`, 200, ""},
		{"POST", "/keys/kek//wrapkey", "good", `{"alg":"RSA1_5","value":"AAAA"}`, 400, "BadParameter"},
		{"POST", "/keys/kek//wrapkey", "good", `{"alg":"RSA-OAEP-256","value":"!"}`, 400, "BadParameter"},
		{"POST", "/keys/kek//unwrapkey", "good", `{"alg":"RSA-OAEP-256","value":"AAAA"}`, 400, "BadParameter"},
		{"POST", "/keys/kek//sign", "good", `{"alg":"ES256","value":"AAAA"}`, 400, "BadParameter"},
		{"POST", "/keys/sign//sign", "good", `{"alg":"ES256","value":"AAAA"}`, 400, "BadParameter"},
	} {
		req := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path+"?api-version=7.6", strings.NewReader(tt.body))
		if tt.token != "" {
			req.Header.Set("Authorization", "Bearer "+tt.token)
		}
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, req)
		if recorder.Code != tt.want || !strings.Contains(recorder.Body.String(), tt.code) {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, recorder.Code, recorder.Body, tt.want, tt.code)
		}
		challenge := `Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`
		if tt.want == http.StatusUnauthorized && recorder.Header().Get("WWW-Authenticate") != challenge {
			t.Errorf("challenge %q", recorder.Header().Get("WWW-Authenticate"))
		}
	}
	if s.Counts()["unauthorized"] != 2 || s.Counts()["sign"] != 2 {
		t.Errorf("counts %v", s.Counts())
	}
	if _, err := s.AddVersion(vault.WrapKey); err != nil {
		t.Fatal(err)
	}
	// What was made is there in the next run, and readable by its owner alone.
	if again := open(t, file); !slices.Equal(again.Versions(vault.WrapKey), s.Versions(vault.WrapKey)) {
		t.Error("the versions changed from one run to the next")
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
