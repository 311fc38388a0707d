package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/checkpoint"
	"secureapi/scripts/auditverify/verify"
)

// files writes an export with one checkpoint that no entry stands behind, or an
// empty one, and the key as PEM and as JWK.
func files(t *testing.T, withCheckpoint bool) (dir, pemFile, jwkFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(map[string]string{
		"kty": "EC", "crv": "P-256",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	archive := verify.Archive{Notes: map[string][]byte{}}
	if withCheckpoint {
		tree := tlog.Tree{N: 1}
		r, s, err := ecdsa.Sign(rand.Reader, key, checkpoint.Digest("a", tree))
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 64)
		c, err := checkpoint.Sign("a", tree, &key.PublicKey, append(r.FillBytes(raw[:32]), s.FillBytes(raw[32:])...))
		if err != nil {
			t.Fatal(err)
		}
		if archive.Notes["00000000000000000001"], err = c.Marshal(); err != nil {
			t.Fatal(err)
		}
	}
	dir = t.TempDir()
	pemFile, jwkFile = filepath.Join(dir, "sign.pem"), filepath.Join(dir, "sign.jwk")
	for name, text := range map[string][]byte{
		pemFile: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), jwkFile: jwk,
	} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir = filepath.Join(dir, "export")
	if err := archive.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir, pemFile, jwkFile
}

func with(args []string, more ...string) []string { return slices.Concat(args, more) }

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func noEnv(string) string { return "" }

func TestExitCodes(t *testing.T) {
	empty, emptyPEM, emptyJWK := files(t, false)
	bad, badPEM, badJWK := files(t, true)
	unreadable, unreadablePEM, _ := files(t, false)
	if err := os.WriteFile(filepath.Join(unreadable, "rows.ndjson"), []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	both, more := filepath.Join(t.TempDir(), "both.pem"), filepath.Join(t.TempDir(), "more.pem")
	two := slices.Concat(read(t, emptyPEM), read(t, badPEM))
	write(t, both, two)
	write(t, more, append(two, "and more"...))
	account := []string{"export", "-account", "acme", "-credential"}
	for name, tt := range map[string]struct {
		args         []string
		code         int
		stdout, errs string
	}{
		"export, no folder":      {[]string{"export", "-account", "acme"}, 2, "", "one folder"},
		"export, no account":     {[]string{"export", empty + "x"}, 2, "", "-account"},
		"export, not empty":      {with(account, "azure-cli", empty), 2, "", "not empty"},
		"export, on a file":      {with(account, "azure-cli", emptyPEM), 2, "", "looking at the folder"},
		"export, by a secret":    {with(account, "client-secret", empty+"x"), 2, "", "no such kind"},
		"export, not a vault":    {with(account, "azure-cli", "-vault", "http://v", empty+"x"), 2, "", "endpoints"},
		"export, not a key":      {with(account, "azure-cli", "-vault", "https://v.example", "-sign-name", "a/b", empty+"x"), 2, "", "not a key name"},
		"export, not an account": {[]string{"export", "-account", "a/b", empty + "x"}, 2, "", "endpoints"},
		"export, help":           {[]string{"export", "-h"}, 0, "", "-sign-name"},
		"holds, by PEM":          {[]string{"-key", emptyPEM, empty}, 0, "0 findings", ""},
		"holds, by JWK":          {[]string{"-key", emptyJWK, empty}, 0, "0 findings", ""},
		"finding, by PEM":        {[]string{"-key", badPEM, bad}, 1, "tail_truncated: checkpoint of size 1", ""},
		"finding, by JWK":        {[]string{"-key", badJWK, bad}, 1, "tail_truncated: checkpoint of size 1", ""},
		"another key":            {[]string{"-key", emptyPEM, bad}, 1, "checkpoint_forged: checkpoint of size 1", ""},
		"verify, by name":        {[]string{"verify", "-key", emptyPEM, empty}, 0, "0 findings", ""},
		"several in a file":      {[]string{"-key", both, bad}, 1, "tail_truncated: checkpoint of size 1", ""},
		"more than keys":         {[]string{"-key", more, bad}, 2, "", "not public keys"},
		"help":                   {[]string{"-h"}, 0, "", "-key"},
		"no such flag":           {[]string{"-keys", emptyPEM, empty}, 2, "", "not defined: -keys"},
		"no key":                 {[]string{empty}, 2, "", "-key"},
		"no folder":              {[]string{"-key", emptyPEM}, 2, "", "folder"},
		"folder is missing":      {[]string{"-key", emptyPEM, empty + "x"}, 2, "", "reading the export"},
		"not an export":          {[]string{"-key", unreadablePEM, unreadable}, 2, "", "line 1"},
		"key is no key":          {[]string{"-key", filepath.Join(empty, "rows.ndjson"), empty}, 2, "", "not public keys"},
		"key is missing":         {[]string{"-key", empty + "/none", empty}, 2, "", "reading the key"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), tt.args, world{noEnv, &stdout, &stderr})
			if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.errs) {
				t.Errorf("code %d, said %q and %q", code, stdout.String(), stderr.String())
			}
		})
	}
}
