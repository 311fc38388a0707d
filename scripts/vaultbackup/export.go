package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"secureapi/handler/clock"
)

// export copies what is missing. Files that were finished are kept: what comes
// later in the order may be younger, never older.
func export(ctx context.Context, o options, s *site, now clock.Clock) (*manifest, error) {
	for _, dir := range []string{o.dir, o.keys} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	m, err := readManifest(o.dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		m = &manifest{Format: format, Account: o.account, AuditAccount: o.audit, Started: now().UTC()}
	case err != nil:
		return nil, err
	case m.Account != o.account || m.AuditAccount != o.audit:
		return nil, errors.New("the folder holds the backup of another deployment")
	case !m.Ended.IsZero():
		return nil, errors.New("the folder holds a finished backup: take a new one")
	}
	for _, p := range parts()[len(m.Files):] {
		w, err := create(p.path(o))
		if err != nil {
			return nil, err
		}
		if err := s.tables[p.table].Scan(ctx, p.prefix, w.add); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", p.name, err), w.file.Close())
		}
		rows, sum, err := w.finish()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		m.Files = append(m.Files, entry{p.name, p.table, rows, sum})
		if len(m.Files) == len(parts()) {
			m.Ended = now().UTC()
		}
		if err := m.save(o.dir); err != nil {
			return nil, err
		}
	}
	if err := m.save(o.keys); err != nil {
		return nil, err
	}
	return m, nil
}
