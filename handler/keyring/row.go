package keyring

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secureapi/handler/rowstore"
)

const (
	format = "secureapi/keyring/v1"
	// stateCurrent seals new subjects; exactly one generation is current.
	stateCurrent = "current"
	// stateDraining and stateRetired still open what they sealed.
	stateDraining = "draining"
	stateRetired  = "retired"
	// maxGenerations bounds one read; a generation a month is 80 years.
	maxGenerations = 1000
)

// generation is the signed document of a row. Its field names are frozen.
type generation struct {
	Format     string `json:"format"`
	Generation uint32 `json:"generation"`
	State      string `json:"state"`
	// Counter grows with each version of the row.
	Counter uint64 `json:"counter"`
	// WrappedBy is the Key Vault key version that Root is wrapped under.
	WrappedBy KeyRef `json:"wrappedBy"`
	Root      []byte `json:"root"`
	// WrappingID is the id of the subject-wrapping key derived from the root.
	WrappingID []byte `json:"wrappingId"`
	// Secrets are the standing secrets, sealed under a key from the root.
	Secrets []byte `json:"secrets"`
	// Previous is the SHA-256 of this row's version before, empty in the first.
	Previous []byte    `json:"previous"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
}

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

// generationRow is a row as read: not believed before its signature is verified.
type generationRow struct {
	document  generation
	signature signature
	bytes     []byte // of the document
	version   string
}

func (r *generationRow) hash() []byte {
	h := sha256.Sum256(r.bytes)
	return h[:]
}

// digest is what is signed: the document behind a label of its own, so that
// no signature for another purpose of the same key fits.
func digest(document []byte) []byte {
	h := sha256.New()
	h.Write([]byte(format + "\x00"))
	h.Write(document)
	return h.Sum(nil)
}

func rowKey(generation uint32) string { return fmt.Sprintf("gen|%010d", generation) }

// readRows reads all generations in ascending order.
func readRows(ctx context.Context, store Store) ([]*generationRow, error) {
	var list []*generationRow
	page := rowstore.Range{Limit: maxGenerations}
	for {
		rows, next, err := store.List(ctx, partition, page)
		if err != nil {
			return nil, fmt.Errorf("reading keyring: %w", err)
		}
		for _, row := range rows {
			parsed, err := parseRow(row)
			if err != nil {
				return nil, err
			}
			list = append(list, parsed)
		}
		if next == "" || len(list) > maxGenerations {
			break
		}
		page.From = next
	}
	if len(list) == 0 {
		return nil, ErrMissing
	}
	return list, nil
}

func parseRow(row rowstore.Row) (*generationRow, error) {
	var body signedRow
	strict := json.RejectUnknownMembers(true)
	if err := json.Unmarshal(row.Body, &body, strict); err != nil {
		return nil, fmt.Errorf("%w: unreadable row", ErrForged)
	}
	r := &generationRow{signature: body.Signature, bytes: body.Document, version: row.Version}
	if err := json.Unmarshal(body.Document, &r.document, strict); err != nil {
		return nil, fmt.Errorf("%w: unreadable document", ErrForged)
	}
	if r.document.Format != format || row.Key != rowKey(r.document.Generation) {
		return nil, fmt.Errorf("%w: row stands at another generation's place", ErrForged)
	}
	return r, nil
}

// checkSequence: generations 1..n without a gap, exactly one current, and it
// is the last.
func checkSequence(rows []*generationRow) error {
	for i, row := range rows {
		d := row.document
		if uint64(d.Generation) != uint64(i)+1 {
			return fmt.Errorf("%w: a gap in the generations", ErrForged)
		}
		switch last := i == len(rows)-1; {
		case last && d.State == stateCurrent:
		case !last && (d.State == stateDraining || d.State == stateRetired):
		default:
			return fmt.Errorf("%w: generation %d has an impossible state", ErrForged, d.Generation)
		}
	}
	return nil
}

func marshalDocument(d generation) ([]byte, error) {
	b, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encoding keyring row: %w", err)
	}
	value := jsontext.Value(b)
	if err := value.Canonicalize(); err != nil {
		return nil, fmt.Errorf("canonical keyring row: %w", err)
	}
	return value, nil
}

// sign gives the table row of a document.
func sign(ctx context.Context, signer Signer, d generation, version string) (rowstore.Row, error) {
	document, err := marshalDocument(d)
	if err != nil {
		return rowstore.Row{}, err
	}
	by, value, err := signer.Sign(ctx, digest(document))
	if err != nil {
		return rowstore.Row{}, fmt.Errorf("signing keyring row: %w", err)
	}
	body, err := json.Marshal(signedRow{Document: document, Signature: signature{By: by, Value: value}})
	if err != nil {
		return rowstore.Row{}, fmt.Errorf("encoding signed keyring row: %w", err)
	}
	return rowstore.Row{Partition: partition, Key: rowKey(d.Generation), Body: body, Version: version}, nil
}

// verify checks a row's signature with the vault's public key of the version
// that the row names; the Signer answers for its own key only.
func (k *Keyring) verify(ctx context.Context, row *generationRow) error {
	k.mu.RLock()
	public := k.public[row.signature.By]
	k.mu.RUnlock()
	if public == nil {
		var err error
		if public, err = k.Signer.PublicKey(ctx, row.signature.By); err != nil {
			return fmt.Errorf("fetching keyring signer's public key: %w", err)
		}
		k.mu.Lock()
		k.public[row.signature.By] = public
		k.mu.Unlock()
	}
	if err := verifyES256(public, digest(row.bytes), row.signature.Value); err != nil {
		return fmt.Errorf("%w: generation %d: %w", ErrForged, row.document.Generation, err)
	}
	return nil
}

// verifyES256 checks a raw r||s signature (RFC 7518 section 3.4).
func verifyES256(public *ecdsa.PublicKey, digest, raw []byte) error {
	if len(raw) != 64 {
		return errors.New("signature of the wrong length")
	}
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	if !ecdsa.Verify(public, digest, r, s) {
		return errors.New("signature does not verify")
	}
	return nil
}

// madeFrom reports whether the copy was opened from exactly these rows.
func (k *Keys) madeFrom(rows []*generationRow) bool {
	if len(k.rows) != len(rows) {
		return false
	}
	for i, row := range rows {
		if !bytes.Equal(k.rows[i].bytes, row.bytes) || !bytes.Equal(k.rows[i].signature.Value, row.signature.Value) {
			return false
		}
	}
	return true
}
