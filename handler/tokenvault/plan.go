package tokenvault

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"secureapi/handler/dataclass"
	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// Format is the shape of a token.
type Format string

// The formats.
const (
	Opaque     Format = "opaque"
	Preserving Format = "format-preserving"
)

// Item is one value to tokenize, as the caller sent it.
type Item struct {
	Class   dataclass.Class
	Value   string
	Subject string // opaque reference of the data subject; "" draws a random one
	Format  Format // "" is Opaque
}

// PlannedToken is what is random about one item: it is drawn once and, under
// an Idempotency-Key, remembered, so that a repeat writes the same rows.
type PlannedToken struct {
	Token   string `json:"token"`
	Subject string `json:"subject"` // the drawn subject; "" where the caller named one
	Write   []byte `json:"write"`
}

// planned is an item on its way into the table.
type planned struct {
	index   int // position in the request
	item    Item
	value   dataclass.Secret
	shape   dataclass.Definition
	subject string // reference, given or drawn
	drawn   bool   // the subject was drawn by this very call: it cannot exist yet
	hash    string // of the subject
	token   string
	// tokenHash is the row key's part; in the subject's shard.
	tokenHash string
	write     [16]byte
	source    io.Reader // that token and write id are drawn from
}

// maxDraws bounds the search for a token in the subject's shard: 16 draws are
// needed on average, and 2,048 fail once in 10^57.
const maxDraws = 2048

// subjectBytes is the randomness of a drawn subject reference.
const subjectBytes = 20

// parse checks an item. The errors' pointers are relative to the item.
func parse(index int, item Item, now dataclass.Today) (*planned, *InvalidError) {
	var invalid InvalidError
	refuse := func(pointer, code, detail string) {
		invalid.Fields = append(invalid.Fields, &FieldError{Pointer: pointer, Code: code, Detail: detail})
	}
	p := &planned{index: index, item: item, subject: item.Subject}
	shape, known := dataclass.Lookup(item.Class)
	if !known {
		refuse("/class", "class_unknown", "is not a known data class")
	} else {
		value, err := shape.Parse(item.Value, now)
		if refused, ok := errors.AsType[*dataclass.ValueError](err); ok {
			refuse("/value", refused.Code, refused.Detail)
		} else if err != nil {
			refuse("/value", "value_invalid", "cannot be read")
		}
		p.shape, p.value = shape, value
	}
	if item.Subject != "" && !validSubject(item.Subject) {
		refuse("/subject", "subject_invalid", "must be 1 to 128 of A-Z a-z 0-9 . _ : -")
	}
	switch item.Format {
	case "":
		p.item.Format = Opaque
	case Opaque:
	case Preserving:
		if known && !shape.PreservesFormat() {
			refuse("/format", "format_unsupported", "this class has no format-preserving token")
		}
	default:
		refuse("/format", "format_unknown", "must be opaque or format-preserving")
	}
	if len(invalid.Fields) > 0 {
		return nil, &invalid
	}
	return p, nil
}

// draw gives the item its subject, token and write id from a source of
// randomness: crypto/rand for requests, a keyed stream for imports.
func (p *planned) draw(keys *keyring.Keys, tenant string, source io.Reader) error {
	p.source = source
	if p.subject == "" {
		b := make([]byte, subjectBytes)
		if _, err := io.ReadFull(source, b); err != nil {
			return fmt.Errorf("drawing subject: %w", err)
		}
		p.subject, p.drawn = hex.EncodeToString(b), true
	}
	p.hash = keys.SubjectHash(tenant, p.subject)
	if _, err := io.ReadFull(source, p.write[:]); err != nil {
		return fmt.Errorf("drawing write id: %w", err)
	}
	return p.drawToken(keys, tenant)
}

// drawn are the token hashes of one call. Format-preserving tokens are short:
// two items of a call may draw the same one, and a transaction takes a row once.
type drawn map[string]struct{}

// draw draws for an item what no other item of the call has.
func (d drawn) draw(item *planned, keys *keyring.Keys, tenant string, source io.Reader) error {
	if err := item.draw(keys, tenant, source); err != nil {
		return err
	}
	for {
		if _, twice := d[item.tokenHash]; !twice {
			d[item.tokenHash] = struct{}{}
			return nil
		}
		if err := item.drawToken(keys, tenant); err != nil {
			return err
		}
	}
}

// drawToken draws until the token's hash is in the subject's shard.
func (p *planned) drawToken(keys *keyring.Keys, tenant string) error {
	for range maxDraws {
		token, err := p.oneToken(p.source)
		if err != nil {
			return fmt.Errorf("drawing token: %w", err)
		}
		if hash := keys.TokenHash(tenant, token); shardOf(hash) == shardOf(p.hash) {
			p.token, p.tokenHash = token, hash
			return nil
		}
	}
	return errors.New("drawing token: no token in the subject's shard")
}

func (p *planned) oneToken(source io.Reader) (string, error) {
	if p.item.Format == Preserving {
		return p.shape.FormatPreserving(source, p.value)
	}
	return p.shape.Token(source)
}

// adopt makes the item follow an earlier call's plan.
func (p *planned) adopt(keys *keyring.Keys, tenant string, t PlannedToken) error {
	if len(t.Write) != len(p.write) {
		return fmt.Errorf("%w: idempotency plan", rowseal.ErrTampered)
	}
	copy(p.write[:], t.Write)
	if p.item.Subject == "" {
		p.subject = t.Subject
	}
	p.drawn, p.token = false, t.Token
	p.hash, p.tokenHash = keys.SubjectHash(tenant, p.subject), keys.TokenHash(tenant, t.Token)
	return nil
}

// plan is what adopt takes.
func (p *planned) plan() PlannedToken {
	t := PlannedToken{Token: p.token, Write: p.write[:]}
	if p.item.Subject == "" {
		t.Subject = p.subject
	}
	return t
}

// unit is one subject with items of its own: what one transaction holds at least.
type unit struct {
	subject *subject
	items   []*planned
}

// units groups items by subject and puts each subject's key at hand: from the
// cache, the table, or freshly made.
func (v *Vault) units(
	ctx context.Context, keys *keyring.Keys, tenant string, items []*planned,
) ([]*unit, error) {
	var units []*unit
	bySubject := make(map[string]*unit, len(items))
	for _, item := range items {
		if u, ok := bySubject[item.hash]; ok {
			u.items = append(u.items, item)
			continue
		}
		s, err := v.subjectFor(ctx, keys, tenant, item)
		if err != nil {
			return nil, err
		}
		u := &unit{subject: s, items: []*planned{item}}
		bySubject[item.hash] = u
		units = append(units, u)
	}
	return units, nil
}

func (v *Vault) subjectFor(ctx context.Context, keys *keyring.Keys, tenant string, item *planned) (*subject, error) {
	if item.drawn {
		return v.freshSubject(keys, tenant, item.hash)
	}
	s, err := v.knownSubject(ctx, keys, tenant, item.hash)
	if errors.Is(err, rowstore.ErrNotFound) {
		return v.freshSubject(keys, tenant, item.hash)
	}
	if err != nil {
		return nil, err
	}
	// The cache's subject is everybody's: a call that writes moves its own.
	own := *s
	return &own, nil
}
