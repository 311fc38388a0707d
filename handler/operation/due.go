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
	Kind  string    `json:"kind"`
	Since time.Time `json:"since"`
}

// Add puts an operation on the list; it may be there already.
func (l *DueList) Add(ctx context.Context, kind, tenant, id string) error {
	keys, err := l.keys.ForWrite(ctx)
	if err != nil {
		return err
	}
	place := l.place(tenant, id)
	body, err := rowseal.Seal(keys.RowSeal(), place, dueBody{Kind: kind, Since: l.now().UTC()})
	if err != nil {
		return err
	}
	_, err = l.store.Apply(ctx, duePartition, []rowstore.Mutation{{
		Action: rowstore.Insert,
		Row:    rowstore.Row{Partition: duePartition, Key: place.Key, Body: body},
	}})
	if err != nil && !errors.Is(err, rowstore.ErrExists) {
		return fmt.Errorf("listing operation as due: %w", err)
	}
	return nil
}

// Remove takes an operation off the list.
func (l *DueList) Remove(ctx context.Context, tenant, id string) error {
	row, err := l.store.Get(ctx, duePartition, l.place(tenant, id).Key)
	if errors.Is(err, rowstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading due row: %w", err)
	}
	return l.remove(ctx, Due{Tenant: tenant, Operation: id, version: row.Version})
}

func (l *DueList) remove(ctx context.Context, d Due) error {
	_, err := l.store.Apply(ctx, duePartition, []rowstore.Mutation{{
		Action: rowstore.Delete,
		Row:    rowstore.Row{Partition: duePartition, Key: l.place(d.Tenant, d.Operation).Key, Version: d.version},
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
	page := rowstore.Range{Limit: rowstore.MaxPage}
	for {
		rows, next, err := l.store.List(ctx, duePartition, page)
		if err != nil {
			return fmt.Errorf("listing due operations: %w", err)
		}
		for _, row := range rows {
			tenant, id, _ := strings.Cut(row.Key, "|")
			var body dueBody
			if err := rowseal.Open(keys.RowSeal(), l.place(tenant, id), row.Body, &body); err != nil {
				bad(err)
				continue
			}
			if body.Kind != kind || l.now().Sub(body.Since) < minAge {
				continue
			}
			if err := visit(Due{Tenant: tenant, Operation: id, version: row.Version}); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page.From = next
	}
}

func (l *DueList) place(tenant, id string) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: duePartition, Key: tenant + "|" + id, Kind: "due",
	}
}
