package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"secureapi/handler/envelope"
)

// secret is one standing secret: random material with a random id.
type secret struct {
	ID       []byte `json:"id"`
	Material []byte `json:"material"`
}

// secrets are the standing secrets. Their values survive every rotation: each
// generation seals the same ones under its own root. It is what is sealed and
// lives only from opening to newStanding; nothing else may hold it.
type secrets struct {
	Locator   secret `json:"locator"`
	Index     secret `json:"index"`
	RowSeal   secret `json:"rowSeal"`
	Message   secret `json:"message"`
	Pseudonym secret `json:"pseudonym"`
	Cursor    secret `json:"cursor"`
	AuditMAC  secret `json:"auditMac"`
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

// all is in the order of the members; the order is part of the fingerprint.
func (s *secrets) all() []*secret {
	return []*secret{&s.Locator, &s.Index, &s.RowSeal, &s.Message, &s.Pseudonym, &s.Cursor, &s.AuditMAC}
}

func (s *secrets) wipe() {
	for _, one := range s.all() {
		clear(one.Material)
	}
}

// standing is what the standing secrets are worked with.
type standing struct {
	// fingerprint tells whether two generations hold the same secrets.
	fingerprint [sha256.Size]byte
	rowSeal     envelope.Key
	message     envelope.Key
	cursor      envelope.Key
	locator     *macs
	pseudonym   *macs
	auditMAC    envelope.Key
}

func newStanding(s *secrets) (*standing, error) {
	fingerprint := sha256.New()
	keys := make([]envelope.Key, 0, len(s.all()))
	ids := map[envelope.KeyID]bool{}
	for _, one := range s.all() {
		if len(one.ID) != envelope.KeyIDSize {
			return nil, errors.New("standing secret without an id")
		}
		key, err := envelope.KeyFrom(envelope.KeyID(one.ID), one.Material)
		if err != nil {
			return nil, fmt.Errorf("standing secret: %w", err)
		}
		ids[key.ID] = true
		keys = append(keys, key)
		fingerprint.Write(one.ID)
		fingerprint.Write(one.Material)
	}
	if len(ids) != len(keys) {
		return nil, errors.New("two standing secrets with one id")
	}
	locator, rowSeal, message, pseudonym, cursor, audit := keys[0], keys[2], keys[3], keys[4], keys[5], keys[6]
	auditMAC, err := subkey(audit, "audit MAC")
	if err != nil {
		return nil, err
	}
	return &standing{
		fingerprint: [sha256.Size]byte(fingerprint.Sum(nil)),
		rowSeal:     rowSeal, message: message, cursor: cursor,
		locator:   newMACs(locator.Derive("locator", sha256.Size)),
		pseudonym: newMACs(pseudonym.Derive("pseudonym", sha256.Size)),
		auditMAC:  auditMAC,
	}, nil
}

// opened is a generation that was believed and unwrapped.
type opened struct {
	row      *generationRow
	wrapping envelope.Key // the subject-wrapping key
	standing *standing
}

// open unwraps what is new in rows, which were believed, and takes the rest
// from the copy before (nil at first). It needs the turn.
func (k *Keyring) open(ctx context.Context, rows []*generationRow, before *Keys) (*Keys, error) {
	next := &Keys{wrapping: map[envelope.KeyID]envelope.Key{}}
	if before != nil {
		next.standing = before.standing
	}
	for _, row := range rows {
		g := before.reopen(row)
		if g == nil {
			var err error
			if g, err = k.unwrap(ctx, row); err != nil {
				return nil, err
			}
		}
		if next.standing == nil {
			next.standing = g.standing
		}
		if !hmac.Equal(next.standing.fingerprint[:], g.standing.fingerprint[:]) {
			return nil, fmt.Errorf("%w: generation %d has other standing secrets", ErrForged, row.document.Generation)
		}
		if _, twice := next.wrapping[g.wrapping.ID]; twice {
			return nil, fmt.Errorf("%w: two generations with one wrapping key id", ErrForged)
		}
		next.wrapping[g.wrapping.ID] = g.wrapping
		next.generations = append(next.generations, g)
	}
	return next, nil
}

// reopen gives a generation whose document did not change, or nil. Its
// signature may have; it was verified again.
func (k *Keys) reopen(row *generationRow) *opened {
	if k == nil || int(row.document.Generation) > len(k.generations) {
		return nil
	}
	g := k.generations[row.document.Generation-1]
	if g.row.hash() != row.hash() {
		return nil
	}
	return &opened{row: row, wrapping: g.wrapping, standing: g.standing}
}

func (k *Keyring) unwrap(ctx context.Context, row *generationRow) (*opened, error) {
	d := row.document
	root, err := k.options.Wrapper.Unwrap(ctx, d.WrappedBy, d.Root)
	if err != nil {
		return nil, fmt.Errorf("unwrapping root of generation %d: %w", d.Generation, err)
	}
	defer clear(root)
	g, err := openGeneration(row, root)
	if err != nil {
		return nil, fmt.Errorf("%w: generation %d: %w", ErrForged, d.Generation, err)
	}
	return g, nil
}

func openGeneration(row *generationRow, root []byte) (*opened, error) {
	d := row.document
	secretsKey, wrapping, err := rootKeys(d.WrappingID, root)
	if err != nil {
		return nil, err
	}
	plaintext, err := envelope.Open(secretsKey, secretsContext(d.Generation), d.Secrets)
	if err != nil {
		return nil, fmt.Errorf("opening standing secrets: %w", err)
	}
	defer clear(plaintext)
	var s secrets
	defer s.wipe()
	if err := json.Unmarshal(plaintext, &s, json.RejectUnknownMembers(true)); err != nil {
		// The text of err could quote the secrets.
		return nil, errors.New("standing secrets are unreadable")
	}
	standing, err := newStanding(&s)
	if err != nil {
		return nil, err
	}
	return &opened{row: row, wrapping: wrapping, standing: standing}, nil
}

// rootKeys derives a generation's two working keys from its root. They share
// the random id of the generation; the label keeps them apart.
func rootKeys(wrappingID, root []byte) (secretsKey, wrapping envelope.Key, err error) {
	id := envelope.KeyID(wrappingID)
	base, err := envelope.KeyFrom(id, root)
	if err != nil {
		return secretsKey, wrapping, fmt.Errorf("root key: %w", err)
	}
	if secretsKey, err = subkey(base, "standing secrets"); err != nil {
		return secretsKey, wrapping, err
	}
	wrapping, err = subkey(base, "subject wrapping")
	return secretsKey, wrapping, err
}

func subkey(base envelope.Key, label string) (envelope.Key, error) {
	material := base.Derive(label, sha256.Size)
	defer clear(material)
	key, err := envelope.KeyFrom(base.ID, material)
	if err != nil {
		return envelope.Key{}, fmt.Errorf("%s key: %w", label, err)
	}
	return key, nil
}

func secretsContext(generation uint32) envelope.Context {
	return envelope.Context{Label: "keyring secrets", Table: Table, Partition: partition, Row: rowKey(generation)}
}
