package tokenvault

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

const (
	// maxUnitItems keeps one subject's items of a call inside a transaction:
	// a head, and a member and a token for each.
	maxUnitItems = (rowstore.MaxTransaction - 1) / 2
	// maxAttempts bounds the fight for a head that others write at once.
	maxAttempts = 12
	// backoff is the first pause of that fight; it doubles up to 16 times.
	backoff = 4 * time.Millisecond
)

// errTaken: a drawn token is somebody else's. Only format-preserving tokens
// are short enough for that to happen.
var errTaken = errors.New("drawn token is taken")

// commit writes every item of the units, each unit's in one transaction and
// small units together. It returns when all items are stored; on error some
// may be, and the same call repeated stores the rest: every row is
// insert-if-absent and knows the write that made it.
//
// Where a drawn token is taken, redraw gives the unit another and it is tried
// again; without redraw the error is errTaken.
func (v *Vault) commit(ctx context.Context, keys *keyring.Keys, units []*unit, redraw func(*unit) error) error {
	for _, batch := range pack(units) {
		if len(batch) > 1 {
			err := v.commitTogether(ctx, keys, batch)
			if err == nil {
				continue
			}
			if !conflict(err) {
				return err
			}
			// One unit met a row that is there: each goes by itself.
		}
		for _, u := range batch {
			err := v.commitUnit(ctx, keys, u)
			for redraw != nil && errors.Is(err, errTaken) {
				if err = redraw(u); err == nil {
					err = v.commitUnit(ctx, keys, u)
				}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// pack fills transactions with units of one partition, in the order given.
func pack(units []*unit) [][]*unit {
	var batches [][]*unit
	open := make(map[string]int) // partition -> index of its batch with room
	load := make(map[int][2]int) // batch -> mutations, bytes
	for _, u := range split(units) {
		partition := partitionOf(u.subject.tenant, u.subject.hash)
		mutations, size := 1+2*len(u.items), u.size()
		i, ok := open[partition]
		if ok && (load[i][0]+mutations > rowstore.MaxTransaction || load[i][1]+size > rowstore.MaxTransactionBytes ||
			sameSubject(batches[i], u)) {
			ok = false
		}
		if !ok {
			i = len(batches)
			batches = append(batches, nil)
			open[partition] = i
		}
		batches[i] = append(batches[i], u)
		load[i] = [2]int{load[i][0] + mutations, load[i][1] + size}
	}
	return batches
}

// split cuts units that are too large for one transaction. The parts share
// the subject, so that each starts from the head version of the one before.
func split(units []*unit) []*unit {
	out := make([]*unit, 0, len(units))
	for _, u := range units {
		items := u.items
		for len(items) > maxUnitItems {
			out = append(out, &unit{subject: u.subject, items: items[:maxUnitItems]})
			items = items[maxUnitItems:]
		}
		out = append(out, &unit{subject: u.subject, items: items})
	}
	return out
}

func sameSubject(batch []*unit, u *unit) bool {
	for _, other := range batch {
		if other.subject == u.subject {
			return true
		}
	}
	return false
}

// rowOverhead is a generous estimate of what seals, keys and attributes add.
const rowOverhead = 1024

func (u *unit) size() int {
	size := rowOverhead
	for _, item := range u.items {
		size += 2*rowOverhead + item.value.Len()
	}
	return size
}

// commitTogether applies several units in one transaction, once.
func (v *Vault) commitTogether(ctx context.Context, keys *keyring.Keys, batch []*unit) error {
	var mutations []rowstore.Mutation
	heads := make([]int, len(batch))
	for i, u := range batch {
		heads[i] = len(mutations)
		own, err := v.mutations(keys, u.subject, u.items)
		if err != nil {
			return err
		}
		mutations = append(mutations, own...)
	}
	started := v.Clock()
	versions, err := v.Store.Apply(ctx, mutations[0].Row.Partition, mutations)
	if err != nil {
		return fmt.Errorf("storing tokens: %w", err)
	}
	for i, u := range batch {
		v.advance(u.subject, versions[heads[i]], started)
	}
	return nil
}

// commitUnit stores one unit's items. After any failure that leaves doubt it
// reads back what is there: rows of this write are done, rows of another are
// taken, the rest is written again on the head's present version.
func (v *Vault) commitUnit(ctx context.Context, keys *keyring.Keys, u *unit) error {
	missing := u.items
	for attempt := range maxAttempts {
		err := v.apply(ctx, keys, u, missing)
		if err == nil {
			return nil
		}
		if !conflict(err) && !errors.Is(err, rowstore.ErrUnavailable) {
			return err
		}
		if waitErr := v.pause(ctx, attempt); waitErr != nil {
			return fmt.Errorf("storing tokens: %w: %w", err, waitErr)
		}
		missing, err = v.readBack(ctx, keys, u, missing)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			return nil
		}
	}
	return ErrBusy
}

func (v *Vault) apply(ctx context.Context, keys *keyring.Keys, u *unit, items []*planned) error {
	mutations, err := v.mutations(keys, u.subject, items)
	if err != nil {
		return err
	}
	started := v.Clock()
	versions, err := v.Store.Apply(ctx, mutations[0].Row.Partition, mutations)
	if err != nil {
		return fmt.Errorf("storing tokens: %w", err)
	}
	v.advance(u.subject, versions[0], started)
	return nil
}

// advance notes the head's new version. The transaction proved that the
// subject was active, so its age starts anew.
func (v *Vault) advance(s *subject, version string, read time.Time) {
	next := *s
	next.version, next.sealed, next.read = version, nil, read
	*s = next
	v.subjects.put(&next)
}

// readBack finds out which items are stored, after a transaction whose
// outcome is unknown or that met rows that are there.
func (v *Vault) readBack(ctx context.Context, keys *keyring.Keys, u *unit, items []*planned) ([]*planned, error) {
	head, err := v.readSubject(ctx, keys, u.subject.tenant, u.subject.hash)
	switch {
	case err == nil:
		*u.subject = *head
	case errors.Is(err, rowstore.ErrNotFound) && u.subject.stored():
		return nil, ErrErased
	case errors.Is(err, rowstore.ErrNotFound):
		// Nothing was applied: the head is inserted again.
	default:
		return nil, err
	}
	var missing []*planned
	for _, item := range items {
		there, err := v.isStored(ctx, u.subject, item)
		if err != nil {
			return nil, err
		}
		if !there {
			missing = append(missing, item)
		}
	}
	return missing, nil
}

// isStored reports whether the item's token row is there and of this write;
// errTaken where the row is another's.
func (v *Vault) isStored(ctx context.Context, s *subject, item *planned) (bool, error) {
	row, err := v.Store.Get(ctx, partitionOf(s.tenant, item.tokenHash), tokenKey(item.tokenHash))
	if errors.Is(err, rowstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading token back: %w", err)
	}
	if marksErased(row) {
		return false, errTaken // a tombstone: the token was an erased subject's
	}
	there, err := readTokenRow(s.tenant, item.tokenHash, row)
	if err != nil {
		return false, fmt.Errorf("%w: %w", rowseal.ErrTampered, err)
	}
	if there.subjectHash != s.hash {
		return false, errTaken
	}
	r, err := there.open(s.key, item.token)
	if err != nil {
		return false, fmt.Errorf("%w: %w", rowseal.ErrTampered, err)
	}
	if r.write != item.write || subtle.ConstantTimeCompare(r.value, item.value.Reveal()) != 1 {
		return false, errTaken
	}
	return true, nil
}

// mutations seals a unit: the head first, then member and token of each item.
func (v *Vault) mutations(keys *keyring.Keys, s *subject, items []*planned) ([]rowstore.Mutation, error) {
	mutations := make([]rowstore.Mutation, 0, 1+2*len(items))
	mutations = append(mutations, s.headMutation(hex.EncodeToString(items[0].write[:])))
	now := v.Clock().UTC().Truncate(time.Second)
	for _, item := range items {
		place := memberPlace(s.tenant, s.hash, item.tokenHash)
		body, err := rowseal.Seal(keys.RowSeal(), place, memberDocument{Class: item.item.Class, Created: now})
		if err != nil {
			return nil, err
		}
		row := tokenRow{
			tenant: s.tenant, tokenHash: item.tokenHash, subjectHash: s.hash, class: item.item.Class, counter: 1,
		}
		sealed, err := row.seal(s.key, record{
			token: item.token, write: item.write, created: now, value: item.value.Reveal(),
		})
		if err != nil {
			return nil, err
		}
		mutations = append(mutations,
			rowstore.Mutation{Action: rowstore.Insert, Row: rowstore.Row{
				Partition: place.Partition, Key: place.Key, Body: body,
			}},
			rowstore.Mutation{Action: rowstore.Insert, Row: sealed},
		)
	}
	return mutations, nil
}

func conflict(err error) bool {
	return errors.Is(err, rowstore.ErrExists) || errors.Is(err, rowstore.ErrChanged) || errors.Is(err, rowstore.ErrNotFound)
}

// pause waits a random time that doubles with the attempts, so that writers
// of one subject do not meet again and again.
func (v *Vault) pause(ctx context.Context, attempt int) error {
	var b [2]byte
	_, _ = rand.Read(b[:])
	longest := backoff << min(attempt, 4)
	wait := longest/2 + longest*time.Duration(binary.BigEndian.Uint16(b[:]))/(2<<16)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
