package operation

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/clock"
	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// PlanLife is how long an Idempotency-Key is remembered.
const PlanLife = 24 * time.Hour

// ErrOtherRequest: the Idempotency-Key was used for another request body.
var ErrOtherRequest = errors.New("idempotency key was used for another request")

// Plans remembers, under a caller's Idempotency-Key, everything random that a
// request drew before it took effect. Whoever repeats the request carries out
// the same plan: every write of it is insert-if-absent, so that concurrent
// and later duplicates, whatever was killed between, converge on one answer.
// The answer itself is not stored, nor is any failure. D is the plan.
type Plans[D any] struct {
	kind  string
	store Store
	keys  Keys
	now   clock.Clock
}

// NewPlans returns the plans of one kind of request.
func NewPlans[D any](kind string, store Store, keys Keys, now clock.Clock) *Plans[D] {
	return &Plans[D]{kind: kind, store: store, keys: keys, now: now}
}

// Plan is a reserved plan.
type Plan[D any] struct {
	Detail D
	// Repeated: the plan was there before this call.
	Repeated bool

	place   rowseal.Place
	version string
	digest  []byte
	expires time.Time
}

type planBody[D any] struct {
	// Digest is the keyed hash of the request this plan belongs to.
	Digest  []byte    `json:"digest"`
	Expires time.Time `json:"expires"`
	Detail  D         `json:"detail"`
}

// Reserve stores the drawn plan under the caller's key, or returns the plan
// that is there already. request is the whole meaning of the request;
// ErrOtherRequest where the stored plan is another request's.
func (s *Plans[D]) Reserve(
	ctx context.Context, p authz.Principal, key string, request [][]byte, drawn D,
) (*Plan[D], error) {
	keys, err := s.keys.ForWrite(ctx)
	if err != nil {
		return nil, err
	}
	digest := keys.Digest("idempotent request", request...)
	plan := &Plan[D]{
		Detail: drawn, place: s.place(keys, p, key), digest: digest[:], expires: s.now().UTC().Add(PlanLife),
	}
	err = s.write(ctx, keys, plan)
	if err == nil {
		return plan, nil
	}
	if !errors.Is(err, rowstore.ErrExists) {
		return nil, fmt.Errorf("reserving idempotency key: %w", err)
	}
	return s.existing(ctx, keys, plan)
}

// Replace stores a changed plan: a drawn token turned out to be taken. Where
// another duplicate did so first, its plan is returned instead.
func (s *Plans[D]) Replace(ctx context.Context, plan *Plan[D], drawn D) (*Plan[D], error) {
	keys, err := s.keys.ForWrite(ctx)
	if err != nil {
		return nil, err
	}
	next := *plan
	next.Detail = drawn
	err = s.write(ctx, keys, &next)
	if err == nil {
		return &next, nil
	}
	if !errors.Is(err, rowstore.ErrChanged) {
		return nil, fmt.Errorf("changing idempotency plan: %w", err)
	}
	return s.existing(ctx, keys, plan)
}

func (s *Plans[D]) existing(ctx context.Context, keys *keyring.Keys, mine *Plan[D]) (*Plan[D], error) {
	row, err := s.store.Get(ctx, mine.place.Partition, mine.place.Key)
	if err != nil {
		return nil, fmt.Errorf("reading idempotency plan: %w", err)
	}
	var body planBody[D]
	if err := rowseal.Open(keys.RowSeal(), mine.place, row.Body, &body); err != nil {
		return nil, err
	}
	if s.now().After(body.Expires) {
		renewed := *mine
		renewed.version = row.Version
		if err := s.write(ctx, keys, &renewed); err != nil {
			return nil, fmt.Errorf("renewing idempotency plan: %w", err)
		}
		return &renewed, nil
	}
	if subtle.ConstantTimeCompare(body.Digest, mine.digest) != 1 {
		return nil, ErrOtherRequest
	}
	return &Plan[D]{
		Detail: body.Detail, Repeated: true, place: mine.place, version: row.Version,
		digest: body.Digest, expires: body.Expires,
	}, nil
}

func (s *Plans[D]) write(ctx context.Context, keys *keyring.Keys, plan *Plan[D]) error {
	body, err := rowseal.Seal(keys.RowSeal(), plan.place,
		planBody[D]{Digest: plan.digest, Expires: plan.expires, Detail: plan.Detail})
	if err != nil {
		return err
	}
	m := rowstore.Mutation{Action: rowstore.Insert, Row: rowstore.Row{
		Partition: plan.place.Partition, Key: plan.place.Key, Body: body, Version: plan.version,
	}}
	if plan.version != "" {
		m.Action = rowstore.Replace
	}
	versions, err := s.store.Apply(ctx, plan.place.Partition, []rowstore.Mutation{m})
	if err != nil {
		return err
	}
	plan.version = versions[0]
	return nil
}

// place hides caller and key in a keyed hash; one of 16 partitions a tenant
// keeps the plans clear of a single partition's limit.
func (s *Plans[D]) place(keys *keyring.Keys, p authz.Principal, key string) rowseal.Place {
	hash := keys.Digest("idempotency key", []byte(p.TenantID), []byte(p.ID()), []byte(s.kind), []byte(key))
	name := hex.EncodeToString(hash[:])
	return rowseal.Place{
		Tenant: p.TenantID, Table: Table, Partition: "i|" + p.TenantID + "|" + name[:1], Key: name,
		Kind: "plan/" + s.kind,
	}
}
