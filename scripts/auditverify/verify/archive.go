// Package verify checks an export of the audit log with nothing but public keys:
// it holds entries, seals, tree and signed checkpoints against each other, and
// says what is wrong and where.
//
// It is a second implementation on purpose: of the handler it shares the form of
// signed checkpoints alone. Tree hashes are golang.org/x/mod/sumdb/tlog's.
//
// Trust boundary: everything in an export is outside data, as whoever can write
// the accounts may have made it. What is believed is a signature by a key that
// the caller brings from elsewhere. MACs are not checked: their key is the
// system's secret. A bad export is a finding, and never a panic.
package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// The files of an export.
const (
	rowsFile    = "rows.ndjson"
	notesFolder = "checkpoints"
	// maxLine bounds a row in its file.
	maxLine = 4 << 20
)

// Row is a row of table "audit", as exported.
type Row struct {
	Partition  string            `json:"partition"`
	Key        string            `json:"key"`
	Body       []byte            `json:"body"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Archive is an export: all rows, and the blobs of the write-once container by
// name. A checkpoint kept elsewhere may stand beside them under any other name.
type Archive struct {
	Rows  []Row
	Notes map[string][]byte
}

// Write stores an export in a folder, which it makes.
func (a Archive) Write(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, notesFolder), 0o700); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	slices.SortFunc(a.Rows, func(x, y Row) int {
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Key, y.Key))
	})
	var rows bytes.Buffer
	for _, row := range a.Rows {
		line, err := json.Marshal(row)
		if err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
		rows.Write(append(line, '\n'))
	}
	if err := os.WriteFile(filepath.Join(dir, rowsFile), rows.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	for name, note := range a.Notes {
		if filepath.Base(name) != name {
			return errors.New("writing the export: a blob's name is no file's")
		}
		if err := os.WriteFile(filepath.Join(dir, notesFolder, name), note, 0o600); err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
	}
	return nil
}

// Read reads an export.
func Read(dir string) (a Archive, err error) {
	file, err := os.Open(filepath.Join(dir, rowsFile)) // #nosec G304 -- the caller's own export
	if err != nil {
		return a, fmt.Errorf("reading the export: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if a.Rows, err = readRows(file); err != nil {
		return a, err
	}
	a.Notes = map[string][]byte{}
	files, err := os.ReadDir(filepath.Join(dir, notesFolder))
	if err != nil {
		return a, fmt.Errorf("reading the export: %w", err)
	}
	for _, f := range files {
		note, err := os.ReadFile(filepath.Join(dir, notesFolder, f.Name())) // #nosec G304 -- the caller's own export
		if err != nil {
			return a, fmt.Errorf("reading the export: %w", err)
		}
		a.Notes[f.Name()] = note
	}
	return a, nil
}

func readRows(r io.Reader) (rows []Row, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var row Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("reading the export: %s, line %d: %w", rowsFile, n, err)
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the export: %w", err)
	}
	return rows, nil
}
