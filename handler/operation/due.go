package operation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"secureapi/handler/clock"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

const duePartition = "due"

// DueList names the operations that a job still owes work. A row is written
// before the operation starts to run and taken away after it ends, so that no
// crash between leaves an operation that nobody wakes; a row too many costs
// one look at the operation.
type DueList struct {
	store Store
	keys  Keys
	now   clock.Clock
}

// NewDueList returns the list of all tenants' due operations.
func NewDueList(store Store, keys Keys, now clock.Clock) *DueList {
	return &DueList{store: store, keys: keys, now: now}
}

// Due is one entry.
type Due struct {
	Tenant    string
	Operation string

	version string
}

type dueBody struct {
	Since time.Time `json:"since"`
}

// Add puts an operation on the list; it may be there already.
func (l *DueList) Add(ctx context.Context, kind, tenant, id string) error {
	err := l.write(ctx, kind, tenant, id, rowstore.Insert, "")
	if errors.Is(err, rowstore.ErrExists) {
		return nil
	}
	return err
}

// maxAnnounced bounds the tries of an Announce that others get in front of.
const maxAnnounced = 5

// Announce puts an operation on the list that is about to be written. Where it
// is there already, from a call that died, it is listed anew, as of now: no Each
// and no Drop of before the operation was there may take it off.
func (l *DueList) Announce(ctx context.Context, kind, tenant, id string) error {
	key := l.place(kind, tenant, id).Key
	for range maxAnnounced {
		err := l.write(ctx, kind, tenant, id, rowstore.Insert, "")
		if !errors.Is(err, rowstore.ErrExists) {
			return err
		}
		row, err := l.store.Get(ctx, duePartition, key)
		if errors.Is(err, rowstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading due row: %w", err)
		}
		err = l.write(ctx, kind, tenant, id, rowstore.Replace, row.Version)
		if !errors.Is(err, rowstore.ErrChanged) && !errors.Is(err, rowstore.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("listing operation as due: %w", rowstore.ErrUnavailable)
}

func (l *DueList) write(ctx context.Context, kind, tenant, id string, action rowstore.Action, version string) error {
	keys, err := l.keys.ForWrite(ctx)
	if err != nil {
		return err
	}
	place := l.place(kind, tenant, id)
	body, err := rowseal.Seal(keys.RowSeal(), place, dueBody{Since: l.now().UTC()})
	if err != nil {
		return err
	}
	_, err = l.store.Apply(ctx, duePartition, []rowstore.Mutation{{
		Action: action,
		Row:    rowstore.Row{Partition: duePartition, Key: place.Key, Body: body, Version: version},
	}})
	if err != nil {
		return fmt.Errorf("listing operation as due: %w", err)
	}
	return nil
}

// Drop takes an entry off the list as Each gave it: not where it was announced
// again meanwhile. It is for an operation that is not there.
func (l *DueList) Drop(ctx context.Context, kind string, d Due) error {
	return l.remove(ctx, l.place(kind, d.Tenant, d.Operation).Key, d.version)
}

// Remove takes an operation off the list; it may be off already.
func (l *DueList) Remove(ctx context.Context, kind, tenant, id string) error {
	place := l.place(kind, tenant, id)
	row, err := l.store.Get(ctx, duePartition, place.Key)
	if errors.Is(err, rowstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading due row: %w", err)
	}
	return l.remove(ctx, place.Key, row.Version)
}

func (l *DueList) remove(ctx context.Context, key, version string) error {
	_, err := l.store.Apply(ctx, duePartition, []rowstore.Mutation{{
		Action: rowstore.Delete,
		Row:    rowstore.Row{Partition: duePartition, Key: key, Version: version},
	}})
	if err != nil && !errors.Is(err, rowstore.ErrNotFound) && !errors.Is(err, rowstore.ErrChanged) {
		return fmt.Errorf("removing due row: %w", err)
	}
	return nil
}

// Each calls visit for every entry of a kind that stands longer than minAge.
// A row that does not open is reported through bad and passed over: it must
// not keep the honest ones waiting.
func (l *DueList) Each(
	ctx context.Context, kind string, minAge time.Duration, visit func(Due) error, bad func(error),
) error {
	keys, err := l.keys.ForRead(ctx)
	if err != nil {
		return err
	}
	page := rowstore.Range{From: kind + "|", To: kind + "|" + afterNames, Limit: rowstore.MaxPage}
	for row, err := range rowstore.All(ctx, l.store, duePartition, page) {
		if err != nil {
			return fmt.Errorf("listing due operations: %w", err)
		}
		tenant, id, _ := strings.Cut(strings.TrimPrefix(row.Key, kind+"|"), "|")
		var body dueBody
		if err := rowseal.Open(keys.RowSeal(), l.place(kind, tenant, id), row.Body, &body); err != nil {
			bad(err)
			continue
		}
		if l.now().Sub(body.Since) < minAge {
			continue
		}
		if err := visit(Due{Tenant: tenant, Operation: id, version: row.Version}); err != nil {
			return err
		}
	}
	return nil
}

func (l *DueList) place(kind, tenant, id string) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: duePartition, Key: kind + "|" + tenant + "|" + id, Kind: "due",
	}
}
