// Package vectors reads Project Wycheproof's test vectors, which tests hold the
// handler's own cryptographic code against. It is for tests only: no package of
// the product imports it, and the binary does not link it.
//
// A file is read strictly and is refused unless it holds the number of vectors
// that it claims, so that a test cannot pass by reading nothing.
package vectors

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/c2sp/wycheproof"
)

// Result is what a vector's authors expect.
type Result string

// The results. Acceptable is for what is legacy or weak, and may be either.
const (
	Valid      Result = "valid"
	Invalid    Result = "invalid"
	Acceptable Result = "acceptable"
)

// Bytes are written in hex.
type Bytes []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	decoded, err := hex.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("reading bytes: %w", err)
	}
	*b = decoded
	return nil
}

// Group is a group of vectors: G has what they share, T is one vector.
type Group[G, T any] struct {
	Shared G
	Tests  []T
}

// UnmarshalJSON implements json.Unmarshaler: what is shared stands beside the list.
func (g *Group[G, T]) UnmarshalJSON(b []byte) error {
	var tests struct {
		Tests []T `json:"tests"`
	}
	if err := json.Unmarshal(b, &tests); err != nil {
		return fmt.Errorf("reading the group's vectors: %w", err)
	}
	g.Tests = tests.Tests
	if err := json.Unmarshal(b, &g.Shared); err != nil {
		return fmt.Errorf("reading the group: %w", err)
	}
	return nil
}

// Read gives the groups of a file of testvectors_v1.
func Read[G, T any](name string) ([]Group[G, T], error) {
	b, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		return nil, fmt.Errorf("reading vectors: %w", err)
	}
	var file struct {
		Number int           `json:"numberOfTests"`
		Groups []Group[G, T] `json:"testGroups"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("reading vectors of %s: %w", name, err)
	}
	found := 0
	for _, g := range file.Groups {
		found += len(g.Tests)
	}
	if found == 0 || found != file.Number {
		return nil, errors.New("vectors of " + name + " are not as many as the file says")
	}
	return file.Groups, nil
}
