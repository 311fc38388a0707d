package keyring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secureapi/handler/rowstore"
)

const (
	format    = "secureapi/keyring/v1"
	partition = "keyring"
	// maxGenerations bounds one read; a generation a month is 80 years.
	maxGenerations = 1000
	// maxRow bounds what is parsed before anything is verified; a row has 3 KiB.
	maxRow = 32 << 10
)

// generation is the signed document of a row, in canonical JSON (RFC 8785).
// Its member names are frozen (testdata/row.golden.json).
type generation struct {
	Format     string `json:"format"`
	Generation uint32 `json:"generation"`
	State      string `json:"state"`
	// Counter grows by one with each version of the row.
	Counter uint64 `json:"counter"`
	// WrappedBy is the Key Vault key version that Root is wrapped under.
	WrappedBy KeyRef `json:"wrappedBy"`
	Root      []byte `json:"root"`
	// WrappingID is the id of the keys derived from the root.
	WrappingID []byte `json:"wrappingId"`
	// Secrets are the standing secrets, sealed under a key from the root.
	Secrets []byte `json:"secrets"`
	// Previous is the SHA-256 of this row's document before, empty in the first.
	Previous []byte    `json:"previous"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
}

// RestoreKey is the key of a row that a restore of a backup writes before all
// else and removes after all else. While it stands, no process takes the
// keyring: what is restored is not used before it is complete.
const RestoreKey = "restore"

type signature struct {
	By    KeyRef `json:"by"`
	Value []byte `json:"value"`
}

// signedRow is the body of a row: the document's exact bytes, so that what is
// verified is what is parsed.
type signedRow struct {
	Document  []byte    `json:"document"`
	Signature signature `json:"signature"`
}

// generationRow is a row as read: not believed before Keyring.believe.
type generationRow struct {
	document  generation
	signature signature
	bytes     []byte // of the document
	version   string
}

func (r *generationRow) hash() [sha256.Size]byte { return sha256.Sum256(r.bytes) }

// digest is what is signed: the document behind a label of its own, so that
// no signature that the same key made for another purpose fits.
func digest(document []byte) []byte {
	h := sha256.New()
	h.Write([]byte(format + "\x00"))
	h.Write(document)
	return h.Sum(nil)
}

func rowKey(generation uint32) string { return fmt.Sprintf("gen|%010d", generation) }

// readRows reads all generations in ascending order. The keys have a fixed
// width, so that the order of keys is the order of generations.
func readRows(ctx context.Context, store Store) ([]*generationRow, error) {
	var list []*generationRow
	page := rowstore.Range{Limit: maxGenerations}
	for {
		rows, next, err := store.List(ctx, partition, page)
		if err != nil {
			return nil, fmt.Errorf("reading keyring: %w", err)
		}
		for _, row := range rows {
			if row.Key == RestoreKey {
				return nil, fmt.Errorf("%w: a restore is under way", ErrForged)
			}
			parsed, err := parseRow(row)
			if err != nil {
				return nil, err
			}
			list = append(list, parsed)
		}
		if len(list) > maxGenerations {
			return nil, fmt.Errorf("%w: too many rows", ErrForged)
		}
		if next == "" {
			break
		}
		page.From = next
	}
	if len(list) == 0 {
		return nil, ErrMissing
	}
	return list, nil
}

// parseRow reads a row of an untrusted table. Errors quote nothing of it.
func parseRow(row rowstore.Row) (*generationRow, error) {
	if len(row.Body) > maxRow {
		return nil, fmt.Errorf("%w: a row of %d bytes", ErrForged, len(row.Body))
	}
	var body signedRow
	strict := json.RejectUnknownMembers(true)
	if err := json.Unmarshal(row.Body, &body, strict); err != nil {
		return nil, fmt.Errorf("%w: unreadable row", ErrForged)
	}
	r := &generationRow{signature: body.Signature, bytes: body.Document, version: row.Version}
	if err := json.Unmarshal(body.Document, &r.document, strict); err != nil {
		return nil, fmt.Errorf("%w: unreadable document", ErrForged)
	}
	if err := checkDocument(r.document); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	if row.Key != rowKey(r.document.Generation) {
		return nil, fmt.Errorf("%w: row stands at another generation's place", ErrForged)
	}
	return r, nil
}

func marshalDocument(d generation) ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encoding keyring row: %w", err)
	}
	value := jsontext.Value(b)
	if err := value.Canonicalize(); err != nil {
		return nil, fmt.Errorf("canonical keyring row: %w", err)
	}
	return value, nil
}

// sign makes the row of a document, to be stored where version stands now (""
// for a new row). It verifies as every reader will: a row that no process can
// believe must not replace one that they do. It needs the turn.
func (k *Keyring) sign(ctx context.Context, d generation, version string) (*generationRow, rowstore.Row, error) {
	document, err := marshalDocument(d)
	if err != nil {
		return nil, rowstore.Row{}, err
	}
	by, value, err := k.options.Signer.Sign(ctx, digest(document))
	if err != nil {
		return nil, rowstore.Row{}, fmt.Errorf("signing keyring row: %w", err)
	}
	body, err := json.Marshal(signedRow{Document: document, Signature: signature{By: by, Value: value}})
	if err != nil {
		return nil, rowstore.Row{}, fmt.Errorf("encoding signed keyring row: %w", err)
	}
	row := rowstore.Row{Partition: partition, Key: rowKey(d.Generation), Body: body, Version: version}
	parsed, err := parseRow(row)
	if err == nil {
		err = k.verify(ctx, parsed)
	}
	if err != nil {
		// The text only: nobody forged this row.
		return nil, rowstore.Row{}, fmt.Errorf("checking the row before it is stored: %s", err.Error())
	}
	return parsed, row, nil
}

// same reports whether o is r to the byte, signature and entity tag included.
func (r *generationRow) same(o *generationRow) bool {
	return r.version == o.version && bytes.Equal(r.bytes, o.bytes) && r.signature.By == o.signature.By &&
		bytes.Equal(r.signature.Value, o.signature.Value)
}
