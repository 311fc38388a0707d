package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

const (
	format       = "secureapi/backup/v1"
	manifestName = "manifest.json"
)

// part is one file: rows of a table whose keys begin with prefix.
type part struct {
	name, table, prefix string
	keys                bool // it goes into the folder of keys
}

// ringPart is written last by a restore.
var ringPart = part{"keyring.rows", keyring.Table, "", true}

// parts lists the files in the order of their export. The tables are in use
// meanwhile, so that the order is what makes the copy consistent:
//
//   - tokens before members before heads: rows of one transaction, none of
//     which is ever removed alone. Each token copied has its member, which an
//     erasure needs, and its head, without which it would not open;
//   - heads before the keyring: no head is wrapped under a generation that is
//     younger than the copy;
//   - records before operations: a token's idempotency plan is older than the
//     token and so is copied;
//   - register and log last: an entry is durable before what it allows, so that
//     the log covers all that was copied.
func parts() []part {
	return []part{
		{"tokens.rows", tokenvault.Table, "t|", false},
		{"members.rows", tokenvault.Table, "m|", false},
		{"heads.rows", tokenvault.Table, "s|", true},
		{"operations.rows", operation.Table, "", false},
		{"revocations.rows", revocation.Table, "", false},
		ringPart,
		{"erasures.rows", tokenvault.ErasuresTable, "", false},
		{"audit.rows", auditTable, "", false},
	}
}

func (p part) path(o options) string {
	if p.keys {
		return filepath.Join(o.keys, p.name)
	}
	return filepath.Join(o.dir, p.name)
}

// entry is a file in the manifest.
type entry struct {
	Name   string `json:"name"`
	Table  string `json:"table"`
	Rows   int    `json:"rows"`
	SHA256 string `json:"sha256"`
}

// manifest is written after each file, so that an export can go on.
type manifest struct {
	Format       string    `json:"format"`
	Account      string    `json:"account"`
	AuditAccount string    `json:"auditAccount"`
	Started      time.Time `json:"started"`
	// Ended is zero while files are missing.
	Ended time.Time `json:"ended,omitzero"`
	Files []entry   `json:"files"`
}

func (m *manifest) bytes() ([]byte, error) { return json.MarshalIndent(m, "", "  ") }

func (m *manifest) digest() (string, error) {
	text, err := m.bytes()
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

func (m *manifest) save(dir string) error {
	text, err := m.bytes()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, manifestName)
	if err := os.WriteFile(path+".part", text, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".part", path), syncDir(dir))
}

// readManifest gives what is there, strictly read; os.ErrNotExist where nothing is.
func readManifest(dir string) (*manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	var m manifest
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	again, err := m.bytes()
	if err != nil || !bytes.Equal(again, text) || m.Format != format {
		return nil, errors.New("reading the manifest: not one that export wrote")
	}
	return &m, nil
}

func (m *manifest) print(out io.Writer) error {
	digest, err := m.digest()
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		if _, err := fmt.Fprintf(out, "%9d rows  %s  %s\n", f.Rows, f.SHA256, f.Name); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "as of %s; keep this apart from the files:\nsha256 %s\n", m.Started.Format(time.RFC3339), digest)
	return err
}

// verify checks every file against the manifest, and the manifest against the
// SHA-256 that the caller kept. It needs no network.
func verify(o options) (*manifest, error) {
	m, err := readManifest(o.dir)
	if err != nil {
		return nil, err
	}
	digest, err := m.digest()
	if err != nil {
		return nil, err
	}
	if o.digest != "" && o.digest != digest {
		return nil, errors.New("the manifest is not the one of this SHA-256")
	}
	list := parts()
	if m.Ended.IsZero() || len(m.Files) != len(list) {
		return nil, errors.New("the export did not end: call it again")
	}
	for i, p := range list {
		rows, sum, err := readRows(p.path(o), func(rowstore.Row) error { return nil })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if f := m.Files[i]; f != (entry{Name: p.name, Table: p.table, Rows: rows, SHA256: sum}) {
			return nil, fmt.Errorf("%s is not the file that was exported", p.name)
		}
	}
	return m, nil
}
