package vectors_test

import (
	"bytes"
	"testing"

	"secureapi/handler/vectors"
)

type group struct {
	KeySize int `json:"keySize"`
}

type test struct {
	ID     int            `json:"tcId"`
	Key    vectors.Bytes  `json:"key"`
	Result vectors.Result `json:"result"`
}

func TestFilesAreReadWhole(t *testing.T) {
	groups, err := vectors.Read[group, test]("aes_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, g := range groups {
		for _, v := range g.Tests {
			if seen[v.ID] || 8*len(v.Key) != g.Shared.KeySize || v.Result == "" {
				t.Errorf("vector %d is not read whole", v.ID)
			}
			seen[v.ID] = true
		}
	}
	if len(seen) != 316 {
		t.Errorf("%d vectors", len(seen))
	}
	if first := groups[0].Tests[0]; !bytes.HasPrefix(first.Key, []byte{0x5b, 0x96}) {
		t.Errorf("the first key is %x", first.Key)
	}
}

func TestWhatIsNotAVectorFileIsRefused(t *testing.T) {
	if _, err := vectors.Read[group, test]("no_such_test.json"); err == nil {
		t.Error("a missing file gave vectors")
	}
	// The member is an object there: a type that does not fit must not give zeros.
	if _, err := vectors.Read[group, struct {
		JWS []string `json:"jws"`
	}]("json_web_signature_test.json"); err == nil {
		t.Error("vectors of another form were read")
	}
}
