package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"

	"secureapi/scripts/auditverify/verify"
)

// keyFiles is the flag that may stand several times.
type keyFiles []*ecdsa.PublicKey

func (*keyFiles) String() string { return "" }

func (k *keyFiles) Set(name string) error {
	text, err := os.ReadFile(name) // #nosec G304 -- the caller names the file
	if err != nil {
		return fmt.Errorf("reading the key: %w", err)
	}
	keys, err := publicKeys(text)
	if err != nil {
		return err
	}
	*k = append(*k, keys...)
	return nil
}

// check is the command verify.
func check(flags *flag.FlagSet, args []string, w world) (code int, err error) {
	var keys keyFiles
	flags.Var(&keys, "key", "`file` with public keys of the vault's key sign, PEM or JWK; may stand several times")
	if err := parse(flags, args); err != nil {
		return exitUnable, err
	}
	if flags.NArg() != 1 || len(keys) == 0 {
		return exitUnable, errors.New("one folder and at least one -key are needed\n" + usage)
	}
	archive, err := verify.Read(flags.Arg(0))
	if err != nil {
		return exitUnable, err
	}
	report := verify.Verify(archive, keys...)
	for _, f := range report.Findings {
		if _, err := fmt.Fprintln(w.out, f); err != nil {
			return exitUnable, err
		}
	}
	if _, err := fmt.Fprintf(w.out, "%d sealed entries, %d signed checkpoints up to size %d, %d findings\n",
		report.Entries, report.Checkpoints, report.Size, len(report.Findings)); err != nil {
		return exitUnable, err
	}
	if len(report.Findings) > 0 {
		return exitFindings, nil
	}
	return 0, nil
}

var errKey = errors.New("not public keys on P-256, as PEM or JWK")

// publicKeys reads one JWK, or one PEM block after the other and nothing else.
func publicKeys(text []byte) (keys []*ecdsa.PublicKey, err error) {
	block, rest := pem.Decode(text)
	if block == nil {
		key, err := jsonKey(text)
		return []*ecdsa.PublicKey{key}, err
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(*ecdsa.PublicKey)
		if err != nil || !ok || key.Curve != elliptic.P256() {
			return nil, errKey
		}
		keys, text = append(keys, key), rest
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errKey
	}
	return keys, nil
}

func jsonKey(text []byte) (*ecdsa.PublicKey, error) {
	var jwk struct {
		Curve string `json:"crv"`
		X     string `json:"x"`
		Y     string `json:"y"`
	}
	if json.Unmarshal(text, &jwk) != nil || jwk.Curve != "P-256" {
		return nil, errKey
	}
	x, xErr := base64.RawURLEncoding.DecodeString(jwk.X)
	y, yErr := base64.RawURLEncoding.DecodeString(jwk.Y)
	if xErr != nil || yErr != nil || len(x) != 32 || len(y) != 32 {
		return nil, errKey
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, errKey
	}
	return key, nil
}
