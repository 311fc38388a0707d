package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

// report is what a restore signs off with.
type report struct {
	Manifest string    `json:"manifest"` // SHA-256
	AsOf     time.Time `json:"asOf"`
	Files    []loaded  `json:"files"`
	// LogLost and RegisterLost: the audit account's tables were empty and came
	// from the backup too. Erasures after AsOf are then unknown to the vault, and
	// are to be made again by their cases.
	LogLost      bool `json:"logLost"`
	RegisterLost bool `json:"registerLost"`
	// Erased are the subjects that the register names, each erased again.
	Erased int `json:"erased"`
	// Unregistered are the audit entries of erasures that the register lacks.
	Unregistered []string `json:"unregistered,omitempty"`
	// LostCalls and LostValues count what was tokenized after AsOf and is gone,
	// as the audit log has it.
	LostCalls  int `json:"lostCalls"`
	LostValues int `json:"lostValues"`
}

func (r *report) print(out io.Writer) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

// restore closes the vault, writes the files, erases again, and opens it. It
// may be called again after any failure: the vault stays closed until one call
// came to the end.
func restore(ctx context.Context, o options, s *site, out io.Writer) (*report, error) {
	m, err := verify(o)
	if err != nil {
		return nil, err
	}
	rows, err := ringRows(o)
	if err != nil {
		return nil, err
	}
	ring, err := verifiedRing(ctx, s, rows)
	if err != nil {
		return nil, fmt.Errorf("the backup's keyring: %w", err)
	}
	if err := closeVault(ctx, o, s, out); err != nil {
		return nil, err
	}
	r := &report{Manifest: o.digest, AsOf: m.Started}
	if err := r.loadAll(ctx, o, s, out); err != nil {
		return nil, err
	}
	if err := r.replay(ctx, o, s, ring); err != nil {
		return nil, err
	}
	if len(r.Unregistered) > 0 && !o.acceptMissing {
		return nil, errors.Join(
			errors.New("the log tells of erasures that the register does not have: the vault stays closed; have each case erased after -accept-missing-erasures opened it"),
			r.print(out))
	}
	// The keyring last: with it the vault can be used, without it not.
	done, err := load(ctx, ringPart.path(o), ringPart.name, s.tables[keyring.Table])
	if err != nil {
		return nil, err
	}
	r.Files = append(r.Files, done)
	return r, openVault(ctx, s)
}

func ringRows(o options) (rows copied, err error) {
	_, _, err = readRows(ringPart.path(o), func(row rowstore.Row) error {
		if row.Key == keyring.RestoreKey {
			return errors.New("the backup was taken while a restore was under way")
		}
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// closeVault puts up the row that keeps every handler from its keys, and waits
// until those that run have lost theirs.
func closeVault(ctx context.Context, o options, s *site, out io.Writer) error {
	ring := s.tables[keyring.Table]
	standing, err := ring.Get(ctx, ringPartition, keyring.RestoreKey)
	switch {
	case err == nil && string(standing.Body) != o.digest:
		return errors.New("the restore of another backup is under way here")
	case err == nil: // this one's: go on
	case !errors.Is(err, rowstore.ErrNotFound):
		return fmt.Errorf("looking for a restore: %w", err)
	default:
		if err := putUp(ctx, o, s); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "The vault is closed. Waiting %s for handlers that run.\n", o.wait); err != nil {
		return err
	}
	select {
	case <-time.After(o.wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func putUp(ctx context.Context, o options, s *site) error {
	for _, name := range []string{tokenvault.Table, operation.Table, revocation.Table, keyring.Table} {
		none, err := empty(ctx, s.tables[name])
		if err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
		if !none && !o.intoNonempty {
			return fmt.Errorf("table %s is not empty", name)
		}
	}
	_, err := s.tables[keyring.Table].Apply(ctx, ringPartition, []rowstore.Mutation{{Action: rowstore.Insert, Row: rowstore.Row{
		Partition: ringPartition, Key: keyring.RestoreKey, Body: []byte(o.digest),
	}}})
	if err != nil {
		return fmt.Errorf("closing the vault: %w", err)
	}
	return nil
}

func openVault(ctx context.Context, s *site) error {
	ring := s.tables[keyring.Table]
	row, err := ring.Get(ctx, ringPartition, keyring.RestoreKey)
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	_, err = ring.Apply(ctx, ringPartition, []rowstore.Mutation{{Action: rowstore.Delete, Row: rowstore.Row{
		Partition: ringPartition, Key: keyring.RestoreKey, Version: row.Version,
	}}})
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	return nil
}

// loadAll writes every file but the keyring's. Log and register of the audit
// account are newer than the backup where they were not lost: then they stay.
func (r *report) loadAll(ctx context.Context, o options, s *site, out io.Writer) error {
	for _, p := range parts() {
		if p.table == keyring.Table {
			continue
		}
		if p.table == auditTable || p.table == tokenvault.ErasuresTable {
			none, err := empty(ctx, s.tables[p.table])
			if err != nil {
				return fmt.Errorf("table %s: %w", p.table, err)
			}
			if !none {
				continue
			}
			r.LogLost = r.LogLost || p.table == auditTable
			r.RegisterLost = r.RegisterLost || p.table == tokenvault.ErasuresTable
		}
		done, err := load(ctx, p.path(o), p.name, s.tables[p.table])
		if err != nil {
			return err
		}
		r.Files = append(r.Files, done)
		if _, err := fmt.Fprintf(out, "%s: %d rows written, %d were there\n", p.name, done.Written, done.There); err != nil {
			return err
		}
	}
	return nil
}
