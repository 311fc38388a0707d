package tokenvault

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/dataclass"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/rowseal"
)

// Tokenized is the outcome of one item: a token, or the fields refused.
type Tokenized struct {
	Token   string
	Class   dataclass.Class
	Invalid *InvalidError
}

// Tokenize stores values and returns a token for each, in the order of the
// items. Items are independent: an invalid one is refused by itself. With an
// idempotencyKey a repeat gives the same tokens, and another request under
// the same key gives operation.ErrOtherRequest.
//
// The answer does not tell whether a value or a subject was known before.
func (v *Vault) Tokenize(
	ctx context.Context, p authz.Principal, items []Item, idempotencyKey string,
) ([]Tokenized, error) {
	if err := v.Audit.Check(ctx, p, authz.TokensCreate); err != nil {
		return nil, err
	}
	if len(items) == 0 || len(items) > MaxBatch {
		return nil, &InvalidError{Fields: []*FieldError{{
			Pointer: "/items", Code: "batch_size", Detail: fmt.Sprintf("must hold 1 to %d items", MaxBatch),
		}}}
	}
	results := make([]Tokenized, len(items))
	valid := v.parseAll(items, results)
	if len(valid) == 0 {
		return results, nil
	}
	keys, err := v.Keys.ForWrite(ctx)
	if err != nil {
		return nil, err
	}
	drawn := make(drawn)
	for _, item := range valid {
		if err := drawn.draw(item, keys, p.TenantID, rand.Reader); err != nil {
			return nil, err
		}
	}
	if err := v.store(ctx, keys, p, valid, idempotencyKey); err != nil {
		return nil, err
	}
	for _, item := range valid {
		results[item.index].Token = item.token
	}
	return results, nil
}

func (v *Vault) parseAll(items []Item, results []Tokenized) []*planned {
	valid := make([]*planned, 0, len(items))
	for i, item := range items {
		results[i].Class = item.Class
		parsed, invalid := parse(i, item, v.Clock)
		if invalid != nil {
			results[i].Invalid = invalid
			continue
		}
		valid = append(valid, parsed)
	}
	return valid
}

// store audits and writes: the entry first, then the plan, then the rows.
func (v *Vault) store(
	ctx context.Context, keys *keyring.Keys, p authz.Principal, items []*planned, idempotencyKey string,
) error {
	units, err := v.units(ctx, keys, p.TenantID, items)
	if err != nil {
		return v.tampered(ctx, p, authz.TokensCreate, err)
	}
	ticket, err := v.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.TokensCreate), Actor: audit.ActorOf(p), Objects: objects(units),
	})
	if err != nil {
		return err
	}
	units, err = v.storePlanned(ctx, keys, p, items, units, idempotencyKey)
	if err != nil {
		ticket.Failed(reasonOf(err))
		return v.tampered(ctx, p, authz.TokensCreate, err)
	}
	ticket.Completed(func(e *audit.Entry) { e.Objects = objects(units) })
	return nil
}

// tampered alarms where a row was not one that this system wrote.
func (v *Vault) tampered(ctx context.Context, p authz.Principal, permission authz.Permission, err error) error {
	if errors.Is(err, rowseal.ErrTampered) {
		return v.alarm(ctx, p, permission, err)
	}
	return err
}

func (v *Vault) storePlanned(
	ctx context.Context, keys *keyring.Keys, p authz.Principal, items []*planned, units []*unit, idempotencyKey string,
) ([]*unit, error) {
	var plan *operation.Plan[[]PlannedToken]
	var err error
	if idempotencyKey != "" {
		plan, err = v.Plans.Reserve(ctx, p, idempotencyKey, requestOf(items), planOf(items))
		if err != nil {
			return nil, err
		}
	}
	for {
		if plan != nil && plan.Repeated {
			if units, err = v.follow(ctx, keys, p, items, plan.Detail); err != nil {
				return nil, err
			}
		}
		err = v.commit(ctx, keys, units, nil)
		if !errors.Is(err, errTaken) {
			return units, err
		}
		// A format-preserving token met another row: draw again, and let
		// duplicates of this request know.
		if plan, err = v.redraw(ctx, keys, units, items, plan); err != nil {
			return nil, err
		}
	}
}

// follow makes the items those of an earlier call's plan.
func (v *Vault) follow(
	ctx context.Context, keys *keyring.Keys, p authz.Principal, items []*planned, plan []PlannedToken,
) ([]*unit, error) {
	if len(plan) != len(items) {
		return nil, fmt.Errorf("%w: idempotency plan", rowseal.ErrTampered)
	}
	for i, item := range items {
		if err := item.adopt(keys, p.TenantID, plan[i]); err != nil {
			return nil, err
		}
	}
	return v.units(ctx, keys, p.TenantID, items)
}

// redraw replaces the tokens that are taken; those stored already stay.
func (v *Vault) redraw(
	ctx context.Context, keys *keyring.Keys, units []*unit, items []*planned, plan *operation.Plan[[]PlannedToken],
) (*operation.Plan[[]PlannedToken], error) {
	for _, u := range units {
		for _, item := range u.items {
			_, err := v.isStored(ctx, u.subject, item)
			if err == nil {
				continue
			}
			if !errors.Is(err, errTaken) {
				return nil, err
			}
			if err := item.drawToken(keys, u.subject.tenant); err != nil {
				return nil, err
			}
		}
	}
	if plan == nil {
		return nil, nil
	}
	return v.Plans.Replace(ctx, plan, planOf(items))
}

func planOf(items []*planned) []PlannedToken {
	plan := make([]PlannedToken, len(items))
	for i, item := range items {
		plan[i] = item.plan()
	}
	return plan
}

// requestOf is the whole meaning of the valid items, for comparing repeats.
func requestOf(items []*planned) [][]byte {
	parts := make([][]byte, 0, 5*len(items))
	for _, item := range items {
		var index [4]byte
		binary.BigEndian.PutUint32(index[:], uint32(item.index)) //nolint:gosec // G115: below MaxBatch
		parts = append(parts, index[:], []byte(item.item.Class), item.value.Reveal(),
			[]byte(item.item.Subject), []byte(item.item.Format))
	}
	return parts
}

// objects names the first of the units' items: an entry holds audit.MaxObjects.
func objects(units []*unit) []audit.Object {
	var list []audit.Object
	for _, u := range units {
		for _, item := range u.items {
			if len(list) == audit.MaxObjects {
				return list
			}
			list = append(list, objectOf(u.subject, item.tokenHash, item.item.Class))
		}
	}
	return list
}

// reasonOf is the reason code of a failed outcome.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, operation.ErrOtherRequest):
		return "idempotency_key_reused"
	case errors.Is(err, ErrErased):
		return "subject_erased"
	case errors.Is(err, ErrBusy):
		return "subject_busy"
	case errors.Is(err, rowseal.ErrTampered), errors.Is(err, ErrIntegrity):
		return "integrity_failure"
	default:
		return "dependency_unavailable"
	}
}
