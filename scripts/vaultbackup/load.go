package main

import (
	"context"
	"errors"
	"fmt"

	"secureapi/handler/azure/tables"
	"secureapi/handler/keyring"
	"secureapi/handler/rowstore"
)

// ringPartition is the keyring's one partition.
const ringPartition = "keyring"

// copied is a keyring as it stands in a backup, for reading.
type copied []rowstore.Row

// List implements keyring.Store.
func (c copied) List(context.Context, string, rowstore.Range) ([]rowstore.Row, string, error) {
	return c, "", nil
}

// Apply implements keyring.Store.
func (copied) Apply(context.Context, string, []rowstore.Mutation) ([]string, error) {
	return nil, rowstore.ErrInvalid
}

// loaded counts what a file's restore did.
type loaded struct {
	Name    string `json:"name"`
	Written int    `json:"written"`
	// There are rows that stood in the table already. They stay as they are.
	There int `json:"there"`
}

// load writes a file's rows, insert-if-absent. Called again it writes what is missing.
func load(ctx context.Context, path, name string, to *tables.Store) (loaded, error) {
	l := &loader{ctx: ctx, to: to, done: loaded{Name: name}}
	if _, _, err := readRows(path, l.add); err != nil {
		return l.done, fmt.Errorf("%s: %w", name, err)
	}
	return l.done, l.flush()
}

// loader fills transactions with rows of one partition.
type loader struct {
	ctx     context.Context //nolint:containedctx // lives as long as one call of load
	to      *tables.Store
	waiting []rowstore.Mutation
	size    int
	done    loaded
}

const rowOverhead = 1 << 10

func (l *loader) add(row rowstore.Row) error {
	size := len(row.Body) + rowOverhead
	for _, value := range row.Attributes {
		size += len(value)
	}
	if n := len(l.waiting); n == rowstore.MaxTransaction || n > 0 &&
		(l.waiting[0].Row.Partition != row.Partition || l.size+size > rowstore.MaxTransactionBytes) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	l.waiting = append(l.waiting, rowstore.Mutation{Action: rowstore.Insert, Row: row})
	l.size += size
	return nil
}

func (l *loader) flush() error {
	rows := l.waiting
	l.waiting, l.size = nil, 0
	if len(rows) == 0 {
		return nil
	}
	_, err := l.to.Apply(l.ctx, rows[0].Row.Partition, rows)
	if err == nil {
		l.done.Written += len(rows)
		return nil
	}
	if !errors.Is(err, rowstore.ErrExists) {
		return fmt.Errorf("%s: writing rows: %w", l.done.Name, err)
	}
	for _, m := range rows { // some are there: each by itself
		_, err := l.to.Apply(l.ctx, m.Row.Partition, []rowstore.Mutation{m})
		switch {
		case err == nil:
			l.done.Written++
		case errors.Is(err, rowstore.ErrExists):
			l.done.There++
		default:
			return fmt.Errorf("%s: writing rows: %w", l.done.Name, err)
		}
	}
	return nil
}

var errSome = errors.New("there is a row")

// empty reports whether a table has no row but the restore's own.
func empty(ctx context.Context, s *tables.Store) (bool, error) {
	err := s.Scan(ctx, "", func(row rowstore.Row) error {
		if row.Partition == ringPartition && row.Key == keyring.RestoreKey {
			return nil
		}
		return errSome
	})
	if errors.Is(err, errSome) {
		return false, nil
	}
	return err == nil, err
}
