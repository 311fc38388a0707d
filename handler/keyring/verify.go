package keyring

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"secureapi/handler/envelope"
)

// The states of a generation, in the only order it takes them.
const (
	// stateCurrent seals new subject keys; exactly one generation, the last, is.
	stateCurrent = "current"
	// stateDraining and stateRetired still open what they sealed.
	stateDraining = "draining"
	stateRetired  = "retired"
)

// stateRank orders the states; -1 is no state.
func stateRank(state string) int {
	switch state {
	case stateCurrent:
		return 0
	case stateDraining:
		return 1
	case stateRetired:
		return 2
	default:
		return -1
	}
}

// mark is what this process remembers of a row that it believed.
type mark struct {
	counter uint64
	rank    int
	hash    [sha256.Size]byte
}

func (r *generationRow) mark() mark {
	return mark{counter: r.document.Counter, rank: stateRank(r.document.State), hash: r.hash()}
}

// believe decides whether rows are this system's newest keyring, as far as
// this process can know. It needs the turn.
func (k *Keyring) believe(ctx context.Context, rows []*generationRow) error {
	if err := checkSequence(rows); err != nil {
		return err
	}
	for _, row := range rows {
		if err := k.verify(ctx, row); err != nil {
			return err
		}
	}
	return k.checkHistory(rows)
}

// checkSequence: generations 1..n without a gap, exactly one current, and it
// is the last.
func checkSequence(rows []*generationRow) error {
	for i, row := range rows {
		d := row.document
		if uint64(d.Generation) != uint64(i)+1 {
			return fmt.Errorf("%w: a gap in the generations", ErrForged)
		}
		rank, last := stateRank(d.State), i == len(rows)-1
		if rank < 0 || last != (rank == 0) {
			return fmt.Errorf("%w: generation %d has an impossible state", ErrForged, d.Generation)
		}
	}
	return nil
}

// checkHistory refuses what goes back behind what this process has seen, and
// what branches off from it.
func (k *Keyring) checkHistory(rows []*generationRow) error {
	if len(rows) < len(k.seen) {
		return fmt.Errorf("%w: the newest generation is gone", ErrForged)
	}
	for _, row := range rows {
		d := row.document
		last, known := k.seen[d.Generation]
		if !known {
			continue
		}
		now := row.mark()
		switch {
		case now.counter < last.counter:
			return fmt.Errorf("%w: generation %d has a lower counter than before", ErrForged, d.Generation)
		case now.rank < last.rank:
			return fmt.Errorf("%w: generation %d has an earlier state than before", ErrForged, d.Generation)
		case now.counter == last.counter && now.hash != last.hash:
			return fmt.Errorf("%w: generation %d has a second row of one counter", ErrForged, d.Generation)
		case now.counter == last.counter+1 && !bytes.Equal(d.Previous, last.hash[:]):
			return fmt.Errorf("%w: generation %d does not follow the row before it", ErrForged, d.Generation)
		}
	}
	return nil
}

// verify checks a row's signature with the public key of the version that the
// row names, of the one vault key that may sign. It needs the turn.
func (k *Keyring) verify(ctx context.Context, row *generationRow) error {
	by := row.signature.By
	if by.Name != k.options.SignName || !validVersion(by.Version) {
		return fmt.Errorf("%w: generation %d is signed by another key", ErrForged, row.document.Generation)
	}
	public := k.public[by]
	if public == nil {
		var err error
		// Not ErrForged: the vault may be down, or the version disabled there.
		if public, err = k.options.Signer.PublicKey(ctx, by); err != nil {
			return fmt.Errorf("fetching the public key of the keyring's signer: %w", err)
		}
		k.public[by] = public
	}
	if err := verifyES256(public, digest(row.bytes), row.signature.Value); err != nil {
		return fmt.Errorf("%w: generation %d: %w", ErrForged, row.document.Generation, err)
	}
	return nil
}

// validVersion holds a version that came from storage to the characters of
// Key Vault's versions, since it becomes part of a URL.
func validVersion(version string) bool {
	if version == "" || len(version) > 64 {
		return false
	}
	for i := range len(version) {
		c := version[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// verifyES256 checks a raw r||s signature (RFC 7518 section 3.4).
func verifyES256(public *ecdsa.PublicKey, digest, raw []byte) error {
	if public == nil || public.Curve != elliptic.P256() {
		return errors.New("signing key is not on P-256")
	}
	if len(raw) != 64 {
		return errors.New("signature of the wrong length")
	}
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	if !ecdsa.Verify(public, digest, r, s) {
		return errors.New("signature does not verify")
	}
	return nil
}

// checkDocument: the members that every version 1 document has. The counter is
// bounded because the canonical form writes numbers as doubles (RFC 8785).
func checkDocument(d generation) error {
	const maxCounter = 1 << 53
	switch {
	case d.Format != format:
		return errors.New("unknown format")
	case d.Counter == 0 || d.Counter >= maxCounter:
		return errors.New("impossible counter")
	case len(d.WrappingID) != envelope.KeyIDSize:
		return errors.New("no id of the wrapping key")
	case d.Counter == 1 && len(d.Previous) != 0, d.Counter > 1 && len(d.Previous) != sha256.Size:
		return errors.New("no hash of the row before it")
	default:
		return nil
	}
}
