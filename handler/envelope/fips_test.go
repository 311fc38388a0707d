package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"strings"
	"testing"
)

// TestFIPSModeIsAsAsked: where the environment asks for enforcement it is there
// (`make fips` rests on that), so that a test which passes has used approved
// functions alone. What is not approved is refused then: a small RSA key, and
// AES-GCM with the caller's own nonces, which is why envelopes leave the nonce to
// the module.
func TestFIPSModeIsAsAsked(t *testing.T) {
	enforced := strings.Contains(os.Getenv("GODEBUG"), "fips140=only")
	if fips140.Enforced() != enforced || enforced && !fips140.Enabled() {
		t.Fatalf("enforced: %v, asked for: %v", fips140.Enforced(), enforced)
	}
	tooSmall := 1024 // a variable: the linter knows that it is
	if _, err := rsa.GenerateKey(rand.Reader, tooSmall); (err != nil) != enforced {
		t.Errorf("an RSA key of 1024 bits: %v, enforced: %v", err, enforced)
	}
	block, err := aes.NewCipher(make([]byte, keySize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cipher.NewGCM(block); (err != nil) != enforced {
		t.Errorf("nonces of the caller: %v, enforced: %v", err, enforced)
	}
	if _, err := cipher.NewGCMWithRandomNonce(block); err != nil {
		t.Errorf("nonces of the module: %v", err)
	}
}
