package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"secureapi/handler/rowstore"
)

// Adoption is what Adopt did to one generation.
type Adoption struct {
	Generation uint32 `json:"generation"`
	From       KeyRef `json:"from"`
	To         KeyRef `json:"to"`
	// Changed: this call made the change. False where To was in use already,
	// and where another process made the change first.
	Changed bool `json:"changed"`
}

// adoptRounds bounds how often Adopt starts again after another adopter.
const adoptRounds = 4

// Adopt rewraps every generation's root under the newest version of the vault
// key: no value, no subject key and no standing secret changes. Concurrent
// adopters converge: each row is compare-and-swap. An error leaves every row
// either as it was or rewrapped; calling again finishes the rest.
func (k *Keyring) Adopt(ctx context.Context) ([]Adoption, error) {
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	list, err := k.adopt(ctx)
	k.leave()
	return list, k.report(ctx, err)
}

func (k *Keyring) adopt(ctx context.Context) ([]Adoption, error) {
	target, err := k.options.Wrapper.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading newest key version: %w", err)
	}
	var list []Adoption
	mine := map[uint32][sha256.Size]byte{}
	for range adoptRounds {
		// The refresh holds the rows against what this process has seen, and
		// opens them: nothing is rewrapped that does not open.
		if err := k.refresh(ctx); err != nil {
			return nil, err
		}
		generations := k.held.Load().keys.generations
		if list == nil {
			list = startAdoption(generations)
		}
		left := 0
		for _, g := range generations {
			if g.row.document.WrappedBy == target {
				continue
			}
			left++
			written, err := k.rewrap(ctx, g.row)
			if err != nil {
				return nil, err
			}
			// The vault may have got a newer version since Newest.
			target = written.document.WrappedBy
			mine[written.document.Generation] = written.hash()
		}
		if left == 0 {
			return finishAdoption(list, generations, mine), nil
		}
	}
	return nil, fmt.Errorf("adopting the newest key version: others keep changing the keyring: %w", rowstore.ErrChanged)
}

func startAdoption(generations []*opened) []Adoption {
	list := make([]Adoption, 0, len(generations))
	for _, g := range generations {
		list = append(list, Adoption{Generation: g.row.document.Generation, From: g.row.document.WrappedBy})
	}
	return list
}

func finishAdoption(list []Adoption, generations []*opened, mine map[uint32][sha256.Size]byte) []Adoption {
	for i := range list {
		row := generations[i].row
		hash, wrote := mine[list[i].Generation]
		list[i].To, list[i].Changed = row.document.WrappedBy, wrote && hash == row.hash()
	}
	return list
}

// rewrap writes the row that follows row, and returns it whether or not
// another adopter was first: the round after it looks at what stands there.
func (k *Keyring) rewrap(ctx context.Context, row *generationRow) (*generationRow, error) {
	next := row.document
	root, err := k.options.Wrapper.Unwrap(ctx, next.WrappedBy, next.Root)
	if err != nil {
		return nil, fmt.Errorf("unwrapping root of generation %d: %w", next.Generation, err)
	}
	defer clear(root)
	if next.WrappedBy, next.Root, err = k.wrap(ctx, root); err != nil {
		return nil, fmt.Errorf("generation %d: %w", next.Generation, err)
	}
	if next.WrappedBy == row.document.WrappedBy {
		return nil, errors.New("the vault wraps under another version than it names as its newest")
	}
	previous := row.hash()
	next.Counter, next.Previous, next.Updated = next.Counter+1, previous[:], k.now()
	written, stored, err := k.sign(ctx, next, row.version)
	if err != nil {
		return nil, err
	}
	_, err = k.options.Store.Apply(ctx, partition, []rowstore.Mutation{{Action: rowstore.Replace, Row: stored}})
	// ErrChanged: another adopter was first, or the echo of this very call.
	if err != nil && !errors.Is(err, rowstore.ErrChanged) {
		return nil, fmt.Errorf("storing rewrapped generation %d: %w", next.Generation, err)
	}
	return written, nil
}
