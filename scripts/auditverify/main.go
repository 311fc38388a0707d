// Command auditverify checks an export of the audit log offline, with public keys
// alone, and says what is wrong and where.
//
//	go run ./scripts/auditverify -key sign.pem DIR
//
// DIR is what `go run ./scripts/vaultbackup log` wrote: rows.ndjson, one row of
// table "audit" a line ({"partition","key","body" in base64,"attributes"}), and
// checkpoints/, the blobs of the write-once container by name. A checkpoint that was kept elsewhere may stand beside them
// under another name, and is held against them. -key names a file with a public
// key of the vault's key "sign", as PEM or JWK, once for each version; take them
// from the vault, not from who gives the export:
//
//	az keyvault key download --vault-name <vault> --name sign --file sign.pem
//
// Exit code 0: everything holds. 1: something does not; a line each says what.
// 2: the check could not be made.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"secureapi/scripts/auditverify/verify"
)

const (
	exitFindings = 1
	exitUnable   = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// keyFiles is the flag that may stand several times.
type keyFiles []*ecdsa.PublicKey

func (*keyFiles) String() string { return "" }

func (k *keyFiles) Set(name string) error {
	text, err := os.ReadFile(name) // #nosec G304 -- the caller names the file
	if err != nil {
		return fmt.Errorf("reading the key: %w", err)
	}
	key, err := publicKey(text)
	if err != nil {
		return err
	}
	*k = append(*k, key)
	return nil
}

func run(args []string, stdout, stderr io.Writer) int {
	unable := func(err error) int {
		_, _ = fmt.Fprintln(stderr, "auditverify:", err)
		return exitUnable
	}
	flags := flag.NewFlagSet("auditverify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var keys keyFiles
	flags.Var(&keys, "key", "file with a public key, PEM or JWK; once for each")
	if err := flags.Parse(args); err != nil {
		return exitUnable // flag has said why
	}
	if flags.NArg() != 1 || len(keys) == 0 {
		return unable(errors.New("one folder and at least one -key are needed"))
	}
	archive, err := verify.Read(flags.Arg(0))
	if err != nil {
		return unable(err)
	}
	report := verify.Verify(archive, keys...)
	for _, f := range report.Findings {
		if _, err := fmt.Fprintln(stdout, f); err != nil {
			return unable(err)
		}
	}
	_, err = fmt.Fprintf(stdout, "%d sealed entries, %d signed checkpoints up to size %d, %d findings\n",
		report.Entries, report.Checkpoints, report.Size, len(report.Findings))
	switch {
	case err != nil:
		return unable(err)
	case len(report.Findings) > 0:
		return exitFindings
	default:
		return 0
	}
}

var errKey = errors.New("not a public key on P-256, as PEM or JWK")

func publicKey(text []byte) (*ecdsa.PublicKey, error) {
	if block, _ := pem.Decode(text); block != nil {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		key, ok := parsed.(*ecdsa.PublicKey)
		if err != nil || !ok || key.Curve != elliptic.P256() {
			return nil, errKey
		}
		return key, nil
	}
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
