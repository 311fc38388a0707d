package keyring

import (
	"bytes"
	"testing"

	"secureapi/handler/vectors"
)

// TestWycheproofHMAC computes every vector with the pooled states that keyed
// hashes come from, all of one key on one state, so that a state which kept
// something of the message before would show.
func TestWycheproofHMAC(t *testing.T) {
	type group struct {
		TagSize int `json:"tagSize"`
	}
	type vector struct {
		ID      int            `json:"tcId"`
		Key     vectors.Bytes  `json:"key"`
		Message vectors.Bytes  `json:"msg"`
		Tag     vectors.Bytes  `json:"tag"`
		Result  vectors.Result `json:"result"`
	}
	groups, err := vectors.Read[group, vector]("hmac_sha256_test.json")
	if err != nil {
		t.Fatal(err)
	}
	valid, invalid := 0, 0
	for _, g := range groups {
		for _, v := range g.Tests {
			m := newMACs(v.Key)
			for range 2 {
				s := m.get()
				s.in = append(s.in, v.Message...)
				s.finish()
				equal := bytes.Equal(s.out[:g.Shared.TagSize/8], v.Tag)
				m.put(s)
				if equal != (v.Result == vectors.Valid) {
					t.Errorf("vector %d is %s; equal: %v", v.ID, v.Result, equal)
				}
			}
			if v.Result == vectors.Valid {
				valid++
			} else {
				invalid++
			}
		}
	}
	if valid != 66 || invalid != 108 {
		t.Errorf("%d valid, %d invalid", valid, invalid)
	}
}
