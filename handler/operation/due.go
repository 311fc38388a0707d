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
}

type dueBody struct {
	Since time.Time `json:"since"`
}

// Add puts an operation on the list; it may be there already.
func (l *DueList) Add(ctx context.Context, kind, tenant, id string) error {
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
		Action: rowstore.Insert,
		Row:    rowstore.Row{Partition: duePartition, Key: place.Key, Body: body},
	}})
	if err != nil && !errors.Is(err, rowstore.ErrExists) {
		return fmt.Errorf("listing operation as due: %w", err)
	}
	return nil
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
	_, err = l.store.Apply(ctx, duePartition, []rowstore.Mutation{{
		Action: rowstore.Delete,
		Row:    rowstore.Row{Partition: duePartition, Key: place.Key, Version: row.Version},
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
	for {
		rows, next, err := l.store.List(ctx, duePartition, page)
		if err != nil {
			return fmt.Errorf("listing due operations: %w", err)
		}
		for _, row := range rows {
			tenant, id, _ := strings.Cut(strings.TrimPrefix(row.Key, kind+"|"), "|")
			var body dueBody
			if err := rowseal.Open(keys.RowSeal(), l.place(kind, tenant, id), row.Body, &body); err != nil {
				bad(err)
				continue
			}
			if l.now().Sub(body.Since) < minAge {
				continue
			}
			if err := visit(Due{Tenant: tenant, Operation: id}); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page.From = next
	}
}

func (l *DueList) place(kind, tenant, id string) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: duePartition, Key: kind + "|" + tenant + "|" + id, Kind: "due",
	}
}
