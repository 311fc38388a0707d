package keyring

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"secureapi/handler/envelope"
	"secureapi/handler/rowstore"
)

// Bootstrap makes generation 1 where there is no keyring, and reports whether
// it did. It is a step of the deployment, safe to repeat and to run twice at
// once: the row is insert-if-absent. A keyring that is there is verified, never
// replaced: ErrForged says that somebody else put it there.
func Bootstrap(ctx context.Context, o Options) (created bool, err error) {
	k, err := New(o)
	if err != nil {
		return false, err
	}
	if err := k.enter(ctx); err != nil {
		return false, err
	}
	created, err = k.bootstrap(ctx)
	k.leave()
	return created, k.report(ctx, err)
}

func (k *Keyring) bootstrap(ctx context.Context) (bool, error) {
	_, err := k.believed(ctx)
	if !errors.Is(err, ErrMissing) {
		return false, err
	}
	document, err := k.firstGeneration(ctx)
	if err != nil {
		return false, err
	}
	mine, row, err := k.sign(ctx, document, "")
	if err != nil {
		return false, err
	}
	_, err = k.options.Store.Apply(ctx, partition, []rowstore.Mutation{{Action: rowstore.Insert, Row: row}})
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, rowstore.ErrExists) {
		return false, fmt.Errorf("storing keyring: %w", err)
	}
	// Another one was first, or this is the echo of the insert above.
	rows, err := k.believed(ctx)
	if err != nil {
		return false, err
	}
	return bytes.Equal(rows[0].bytes, mine.bytes), nil
}

// believed reads the rows and verifies them, without opening them. It needs
// the turn.
func (k *Keyring) believed(ctx context.Context) ([]*generationRow, error) {
	rows, err := readRows(ctx, k.options.Store)
	if err != nil {
		return nil, err
	}
	return rows, k.believe(ctx, rows)
}

func (k *Keyring) firstGeneration(ctx context.Context) (generation, error) {
	root := make([]byte, sha256.Size)
	_, _ = rand.Read(root) // never fails: it ends the process instead
	defer clear(root)
	var id envelope.KeyID
	_, _ = rand.Read(id[:])
	standing := newSecrets()
	defer standing.wipe()
	now := k.now()
	d := generation{
		Format: format, Generation: 1, State: stateCurrent, Counter: 1,
		WrappingID: id[:], Created: now, Updated: now,
	}
	var err error
	if d.Secrets, err = sealSecrets(d, root, standing); err != nil {
		return generation{}, err
	}
	if d.WrappedBy, d.Root, err = k.wrap(ctx, root); err != nil {
		return generation{}, err
	}
	return d, nil
}

// sealSecrets seals the standing secrets for the generation that root is of.
func sealSecrets(d generation, root []byte, standing secrets) ([]byte, error) {
	key, _, err := rootKeys(d.WrappingID, root)
	if err != nil {
		return nil, err
	}
	plaintext, err := json.Marshal(standing)
	if err != nil {
		return nil, errors.New("encoding standing secrets failed")
	}
	defer clear(plaintext)
	sealed, err := envelope.Seal(key, secretsContext(d.Generation), plaintext)
	if err != nil {
		return nil, fmt.Errorf("sealing standing secrets: %w", err)
	}
	return sealed, nil
}

// wrap wraps a root key and proves that the vault can unwrap it: a row with a
// root that nobody can unwrap would lose everything sealed under it.
func (k *Keyring) wrap(ctx context.Context, root []byte) (KeyRef, []byte, error) {
	ref, wrapped, err := k.options.Wrapper.Wrap(ctx, root)
	if err != nil {
		return KeyRef{}, nil, fmt.Errorf("wrapping root key: %w", err)
	}
	back, err := k.options.Wrapper.Unwrap(ctx, ref, wrapped)
	if err != nil {
		return KeyRef{}, nil, fmt.Errorf("unwrapping the root key just wrapped: %w", err)
	}
	defer clear(back)
	if !hmac.Equal(back, root) {
		return KeyRef{}, nil, errors.New("the root key just wrapped unwraps to another one")
	}
	return ref, wrapped, nil
}

// now is the time as documents carry it.
func (k *Keyring) now() time.Time { return k.options.Clock().UTC().Truncate(time.Second) }
