package envelope

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"secureapi/handler/vectors"
)

// TestWycheproofAESGCM opens every vector with the AEAD that envelopes are
// opened with. Counts are exact: a vector that is skipped would change them.
func TestWycheproofAESGCM(t *testing.T) {
	type group struct {
		IVSize  int `json:"ivSize"`
		KeySize int `json:"keySize"`
		TagSize int `json:"tagSize"`
	}
	type vector struct {
		ID         int            `json:"tcId"`
		Key        vectors.Bytes  `json:"key"`
		IV         vectors.Bytes  `json:"iv"`
		AAD        vectors.Bytes  `json:"aad"`
		Message    vectors.Bytes  `json:"msg"`
		Ciphertext vectors.Bytes  `json:"ct"`
		Tag        vectors.Bytes  `json:"tag"`
		Result     vectors.Result `json:"result"`
	}
	groups, err := vectors.Read[group, vector]("aes_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for _, g := range groups {
		ours := g.Shared == group{IVSize: 96, KeySize: 256, TagSize: 128}
		for _, v := range g.Tests {
			aead, err := newAEAD(v.Key)
			if (err == nil) != (g.Shared.KeySize == 256) {
				t.Errorf("vector %d: a key of %d bits: %v", v.ID, g.Shared.KeySize, err)
			}
			if err != nil {
				outcomes["refused: key size"]++
				continue
			}
			opened, err := aead.Open(nil, nil, slices.Concat(v.IV, v.Ciphertext, v.Tag), v.AAD)
			switch {
			case !ours && err == nil:
				t.Errorf("vector %d: a nonce of %d bits was taken", v.ID, g.Shared.IVSize)
			case !ours:
				outcomes["refused: nonce size"]++
			case (err == nil) != (v.Result == vectors.Valid):
				t.Errorf("vector %d is %s: %v", v.ID, v.Result, err)
			case err != nil:
				outcomes["refused: invalid"]++
			case !bytes.Equal(opened, v.Message):
				t.Errorf("vector %d opened as something else", v.ID)
			default:
				outcomes["opened"]++
			}
		}
	}
	want := map[string]int{"opened": 39, "refused: invalid": 27, "refused: key size": 211, "refused: nonce size": 39}
	if !maps.Equal(outcomes, want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
}

// TestWycheproofHKDF derives every vector with the derivation of record keys.
func TestWycheproofHKDF(t *testing.T) {
	type vector struct {
		ID     int            `json:"tcId"`
		Secret vectors.Bytes  `json:"ikm"`
		Salt   vectors.Bytes  `json:"salt"`
		Info   vectors.Bytes  `json:"info"`
		Size   int            `json:"size"`
		Output vectors.Bytes  `json:"okm"`
		Result vectors.Result `json:"result"`
	}
	groups, err := vectors.Read[struct{}, vector]("hkdf_sha256_test.json")
	if err != nil {
		t.Fatal(err)
	}
	derived, refused := 0, 0
	for _, g := range groups {
		for _, v := range g.Tests {
			out, err := expand(v.Secret, v.Salt, v.Info, v.Size)
			switch {
			case (err == nil) != (v.Result == vectors.Valid):
				t.Errorf("vector %d is %s: %v", v.ID, v.Result, err)
			case err != nil:
				refused++
			case !bytes.Equal(out, v.Output):
				t.Errorf("vector %d derived something else", v.ID)
			default:
				derived++
			}
		}
	}
	if derived != 83 || refused != 3 {
		t.Errorf("%d derived, %d refused", derived, refused)
	}
}
