package keyring

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"secureapi/handler/envelope"
	"secureapi/handler/rowstore"
)

// Bootstrap makes generation 1 where there is no keyring, and reports whether
// it did. It is a step of the deployment, safe to repeat and to run twice at
// once: the row is insert-if-absent.
func Bootstrap(ctx context.Context, o Options) (created bool, err error) {
	if err := o.check(); err != nil {
		return false, err
	}
	_, err = readRows(ctx, o.Store)
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, ErrMissing) {
		return false, err
	}
	document, err := firstGeneration(ctx, o)
	if err != nil {
		return false, err
	}
	row, err := sign(ctx, o.Signer, document, "")
	if err != nil {
		return false, err
	}
	_, err = o.Store.Apply(ctx, partition, []rowstore.Mutation{{Action: rowstore.Insert, Row: row}})
	if errors.Is(err, rowstore.ErrExists) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("storing keyring: %w", err)
	}
	return true, nil
}

func firstGeneration(ctx context.Context, o Options) (generation, error) {
	root := make([]byte, sha256.Size)
	_, _ = rand.Read(root) // never fails: it ends the process instead
	defer clear(root)
	now := o.Clock().UTC()
	id := envelope.NewKey().ID
	d := generation{
		Format: format, Generation: 1, State: stateCurrent, Counter: 1, WrappingID: id[:], Created: now, Updated: now,
	}
	rootKey, _, err := rootKeys(d, root)
	if err != nil {
		return generation{}, err
	}
	plaintext, err := json.Marshal(newSecrets())
	if err != nil {
		return generation{}, fmt.Errorf("encoding standing secrets: %w", err)
	}
	defer clear(plaintext)
	if d.Secrets, err = envelope.Seal(rootKey, secretsContext(d.Generation), plaintext); err != nil {
		return generation{}, fmt.Errorf("sealing standing secrets: %w", err)
	}
	if d.WrappedBy, d.Root, err = o.Wrapper.Wrap(ctx, root); err != nil {
		return generation{}, fmt.Errorf("wrapping root key: %w", err)
	}
	return d, nil
}

func newSecrets() secrets {
	draw := func() secret {
		key := envelope.NewKey()
		return secret{ID: key.ID[:], Material: key.Material()}
	}
	return secrets{
		Locator: draw(), Index: draw(), RowSeal: draw(), Message: draw(),
		Pseudonym: draw(), Cursor: draw(), AuditMAC: draw(),
	}
}

// Adoption is what Adopt did.
type Adoption struct {
	Generation uint32 `json:"generation"`
	From       KeyRef `json:"from"`
	To         KeyRef `json:"to"`
	Changed    bool   `json:"changed"`
}

// Adopt rewraps every generation's root under the newest version of the vault
// key: no value, no subject key and no standing secret changes. Concurrent
// adopters converge: the row is compare-and-swap.
func (k *Keyring) Adopt(ctx context.Context) ([]Adoption, error) {
	newest, err := k.Wrapper.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading newest key version: %w", err)
	}
	rows, err := readRows(ctx, k.Store)
	if err != nil {
		return nil, err
	}
	if err := k.checkOrder(rows); err != nil {
		return nil, err
	}
	var list []Adoption
	for _, row := range rows {
		adoption := Adoption{
			Generation: row.document.Generation, From: row.document.WrappedBy, To: newest,
			Changed: row.document.WrappedBy != newest,
		}
		if adoption.Changed {
			if adoption.To, err = k.rewrap(ctx, row); err != nil {
				return nil, err
			}
		}
		list = append(list, adoption)
	}
	return list, k.Load(ctx)
}

func (k *Keyring) rewrap(ctx context.Context, row *generationRow) (KeyRef, error) {
	if err := k.verify(ctx, row); err != nil {
		return KeyRef{}, err
	}
	root, err := k.Wrapper.Unwrap(ctx, row.document.WrappedBy, row.document.Root)
	if err != nil {
		return KeyRef{}, fmt.Errorf("unwrapping root of generation %d: %w", row.document.Generation, err)
	}
	defer clear(root)
	next := row.document
	if next.WrappedBy, next.Root, err = k.Wrapper.Wrap(ctx, root); err != nil {
		return KeyRef{}, fmt.Errorf("wrapping root of generation %d: %w", next.Generation, err)
	}
	next.Counter++
	next.Previous = row.hash()
	next.Updated = k.Clock().UTC()
	signed, err := sign(ctx, k.Signer, next, row.version)
	if err != nil {
		return KeyRef{}, err
	}
	_, err = k.Store.Apply(ctx, partition, []rowstore.Mutation{{Action: rowstore.Replace, Row: signed}})
	// ErrChanged: another adopter was first, or this call's own lost answer;
	// the load that follows verifies whatever stands there now.
	if err != nil && !errors.Is(err, rowstore.ErrChanged) {
		return KeyRef{}, fmt.Errorf("storing rewrapped generation: %w", err)
	}
	return next.WrappedBy, nil
}
