package bulkimport

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/envelope"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

// maxTries bounds how often a change of the operation row is tried anew when
// other uploads of the same import changed it meanwhile.
const maxTries = 8

// Uploaded is the outcome of PutPart.
type Uploaded struct {
	Number, Rows, Chunks int
	// Repeated: the same content was there already.
	Repeated bool
}

// PutPart stores one part of the file: CSV with a header row. Its rows are
// checked for form only; what is wrong with a value is found by the job and
// told in the result. The same content again is no error.
func (s *Imports) PutPart(ctx context.Context, p authz.Principal, id string, number int, body []byte) (Uploaded, error) {
	o, err := s.own(ctx, p, id)
	if err != nil {
		return Uploaded{}, err
	}
	if number < 1 || number > MaxParts {
		return Uploaded{}, invalidFile("/number", "part_number", fmt.Sprintf("must be 1 to %d", MaxParts))
	}
	if len(body) > MaxPartBytes {
		return Uploaded{}, ErrTooLarge
	}
	digest, err := s.digest(ctx, o, body)
	if err != nil {
		return Uploaded{}, err
	}
	if there, err := s.uploaded(ctx, o, number, digest); err == nil || !errors.Is(err, operation.ErrNotFound) {
		return there, err
	}
	if o.State != operation.Receiving {
		return Uploaded{}, operation.ErrState
	}
	f, err := readFile(body, o.Detail)
	if err != nil {
		return Uploaded{}, err
	}
	ticket, err := s.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.ImportsManage), Actor: audit.ActorOf(p), Operation: id, Reason: "upload", Count: len(f.rows),
	})
	if err != nil {
		return Uploaded{}, err
	}
	done, err := s.storePart(ctx, o, number, f, digest)
	if err != nil {
		ticket.Failed(reasonOf(err))
		return Uploaded{}, s.tampered(ctx, o.Tenant, o.ID, err)
	}
	ticket.Completed(nil)
	return done, nil
}

func (s *Imports) digest(ctx context.Context, o *op, body []byte) ([]byte, error) {
	keys, err := s.Keys.ForWrite(ctx)
	if err != nil {
		return nil, err
	}
	digest := keys.Digest("import part", []byte(o.Tenant), []byte(o.ID), body)
	return digest[:], nil
}

// uploaded finds a part that is there: operation.ErrNotFound where none is.
func (s *Imports) uploaded(ctx context.Context, o *op, number int, digest []byte) (Uploaded, error) {
	there, err := s.parts.Get(ctx, o.Tenant, o.ID, partName(number))
	if err != nil {
		return Uploaded{}, s.tampered(ctx, o.Tenant, o.ID, err)
	}
	if subtle.ConstantTimeCompare(there.Detail.Digest, digest) != 1 {
		return Uploaded{}, ErrPartExists
	}
	return Uploaded{Number: number, Rows: there.Detail.Rows, Chunks: there.Detail.Chunks, Repeated: true}, nil
}

// storePart writes the sealed chunks first and then, in one transaction, the
// rows that say that they are there. Blobs that no row names, after a crash
// between, are under the operation's key and go with it.
func (s *Imports) storePart(ctx context.Context, o *op, number int, f *file, digest []byte) (Uploaded, error) {
	chunks, err := s.putChunks(ctx, o, number, f)
	if err != nil {
		return Uploaded{}, err
	}
	for range maxTries {
		if o.State != operation.Receiving {
			return Uploaded{}, operation.ErrState
		}
		if o.Detail.Chunks+len(chunks) > MaxChunks {
			return Uploaded{}, ErrTooLarge
		}
		rows, err := s.partRows(ctx, o, number, part{Digest: digest, Rows: len(f.rows), Chunks: len(chunks)}, chunks)
		if err != nil {
			return Uploaded{}, err
		}
		o.Detail.Parts++
		o.Detail.Chunks += len(chunks)
		o.Detail.Rows += len(f.rows)
		err = s.ops.Update(ctx, o, rows...)
		if err == nil {
			return Uploaded{Number: number, Rows: len(f.rows), Chunks: len(chunks)}, nil
		}
		if !errors.Is(err, operation.ErrChanged) {
			return Uploaded{}, err
		}
		// Another upload was first, or this very one whose answer was lost.
		there, err := s.uploaded(ctx, o, number, digest)
		if err == nil || !errors.Is(err, operation.ErrNotFound) {
			there.Repeated = false
			return there, err
		}
		if o, err = s.read(ctx, o.Tenant, o.ID); err != nil {
			return Uploaded{}, err
		}
	}
	return Uploaded{}, tokenvault.ErrBusy
}

// putChunks seals the rows in blobs. Their names hold a random upload id, so
// that two uploads of one part never write the same blob.
func (s *Imports) putChunks(ctx context.Context, o *op, number int, f *file) ([]chunk, error) {
	upload := operation.NewID()
	var chunks []chunk
	for first := 0; first < len(f.rows); first += tokenvault.MaxImportRows {
		rows := f.rows[first:min(first+tokenvault.MaxImportRows, len(f.rows))]
		c := chunk{
			State: pending, Part: number, First: first + 1, Rows: len(rows),
			Blob: fmt.Sprintf("%s/%s/%s/%04d", o.Tenant, o.ID, upload, len(chunks)+1),
		}
		plaintext, err := encodeRows(rows)
		if err != nil {
			return nil, err
		}
		sealed, err := sealBlob(o, c.Blob, plaintext)
		if err != nil {
			return nil, err
		}
		// The name is this call's own: what exists is its own lost answer.
		if err := s.Blobs.Create(ctx, c.Blob, sealed); err != nil && !errors.Is(err, rowstore.ErrExists) {
			return nil, fmt.Errorf("storing a chunk: %w", err)
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

func (s *Imports) partRows(ctx context.Context, o *op, number int, row part, chunks []chunk) ([]rowstore.Mutation, error) {
	m, err := s.parts.Insertion(ctx, o.Tenant, o.ID, partName(number), row)
	if err != nil {
		return nil, err
	}
	mutations := append(make([]rowstore.Mutation, 0, 1+len(chunks)), m)
	for i, c := range chunks {
		m, err := s.chunks.Insertion(ctx, o.Tenant, o.ID, chunkName(number, i+1), c)
		if err != nil {
			return nil, err
		}
		mutations = append(mutations, m)
	}
	return mutations, nil
}

func partName(number int) string { return fmt.Sprintf("%04d", number) }

// chunkName orders chunks as the file's rows are.
func chunkName(part, n int) string { return fmt.Sprintf("%04d-%04d", part, n) }

// resultBlob is the name of the result that belongs to a chunk's blob.
func resultBlob(name string) string { return name + "-result" }

func sealBlob(o *op, name string, plaintext []byte) ([]byte, error) {
	key, err := keyOf(o)
	if err != nil {
		return nil, err
	}
	sealed, err := envelope.Seal(key, blobContext(o, name), plaintext)
	if err != nil {
		return nil, fmt.Errorf("sealing a blob: %w", err)
	}
	return sealed, nil
}

func openBlob(o *op, name string, sealed []byte) ([]byte, error) {
	key, err := keyOf(o)
	if err != nil {
		return nil, err
	}
	plaintext, err := envelope.Open(key, blobContext(o, name), sealed)
	if err != nil {
		return nil, fmt.Errorf("opening a blob: %w", err)
	}
	return plaintext, nil
}

func blobContext(o *op, name string) envelope.Context {
	class := "rows"
	if strings.HasSuffix(name, resultBlob("")) {
		class = "result"
	}
	return envelope.Context{Label: "chunk", Tenant: o.Tenant, Table: Container, Partition: o.ID, Row: name, Class: class}
}
