package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/checkpoint"
	"secureapi/handler/rowstore"
)

// The errors of proofs.
var (
	// ErrNoEntry: the tenant has no entry of that id under a signed checkpoint.
	ErrNoEntry = errors.New("no such entry")
	// ErrSize: the newest signed checkpoint is smaller than the size asked from.
	ErrSize = errors.New("no proof from this size")
)

// maxShared bounds the entries that share one id.
const maxShared = 100

// Signed gives the newest signed checkpoint as it was published, and its tree;
// nil where there is none yet.
func (r *Reader) Signed(ctx context.Context) ([]byte, tlog.Tree, error) {
	n, c, err := r.signed(ctx)
	if err != nil || n.Size == 0 {
		return nil, tlog.Tree{}, err
	}
	return []byte(n.Note), c.Tree, nil
}

func (r *Reader) signed(ctx context.Context) (n note, c checkpoint.Checkpoint, err error) {
	key, err := r.MACKey(ctx)
	if err != nil {
		return n, c, fmt.Errorf("audit MAC key: %w", err)
	}
	return newestNote(ctx, r.Store, key)
}

// Consistency proves that the newest signed checkpoint continues the one of
// size from (RFC 6962, section 2.1.2).
func (r *Reader) Consistency(ctx context.Context, from int64) ([]byte, []tlog.Hash, error) {
	n, c, err := r.signed(ctx)
	if err != nil {
		return nil, nil, err
	}
	if from < 1 || from > c.Tree.N {
		return nil, nil, ErrSize
	}
	reader := newOverlay(ctx, r.Store, c.Tree)
	proof, err := tlog.ProveTree(c.Tree.N, from, reader)
	if err != nil {
		return nil, nil, reader.fault(err)
	}
	return []byte(n.Note), proof, nil
}

// Proof shows that an entry stands in the log (RFC 6962, section 2.1.1).
type Proof struct {
	Index int64
	// Leaf is the entry's canonical bytes: what is hashed.
	Leaf []byte
	Path []tlog.Hash
}

// Prove gives the newest signed checkpoint and a proof of each entry of the id
// that is the tenant's: an action and its outcome share one. ErrNoEntry for
// another tenant's id as for none.
func (r *Reader) Prove(ctx context.Context, tenant, id string) ([]byte, []Proof, error) {
	n, c, err := r.signed(ctx)
	if err != nil {
		return nil, nil, err
	}
	if n.Size == 0 || rowstore.ValidateKey(id) != nil {
		return nil, nil, ErrNoEntry
	}
	reader := newOverlay(ctx, r.Store, c.Tree)
	rows, _, err := r.Store.List(ctx, placesPartition(id), rowstore.Range{From: id + "|", To: id + "|a", Limit: maxShared})
	if err != nil {
		return nil, nil, fmt.Errorf("finding entry: %w", err)
	}
	var proofs []Proof
	for _, row := range rows {
		p, err := r.prove(ctx, reader, c.Tree, row, id)
		if err != nil {
			return nil, nil, err
		}
		if p == nil {
			continue
		}
		if e, err := decodeEntry(p.Leaf); err != nil || e.ID != id || e.Actor.Tenant != tenant {
			continue
		}
		proofs = append(proofs, *p)
	}
	if len(proofs) == 0 {
		return nil, nil, ErrNoEntry
	}
	return []byte(n.Note), proofs, nil
}

// prove follows a place, and checks what it gives: nil where the checkpoint does
// not cover it yet.
func (r *Reader) prove(ctx context.Context, reader *overlay, tree tlog.Tree, row rowstore.Row, id string) (*Proof, error) {
	broken := &Broken{What: "place of an entry is forged"}
	index, err := strconv.ParseInt(strings.TrimPrefix(row.Key, id+"|"), 10, 64)
	var at place
	if err != nil || index < 0 || json.Unmarshal(row.Body, &at, json.RejectUnknownMembers(true)) != nil || rowstore.ValidateKey(at.Stream) != nil {
		return nil, broken
	}
	if index >= tree.N {
		return nil, nil //nolint:nilnil // not covered yet is no error
	}
	entry, err := r.Store.Get(ctx, at.Stream, entryKey(at.Seq))
	if errors.Is(err, rowstore.ErrNotFound) {
		return nil, &Broken{Stream: at.Stream, Seq: at.Seq, What: "an entry is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("reading entry: %w", err)
	}
	path, err := tlog.ProveRecord(tree.N, index, reader)
	if err != nil {
		return nil, reader.fault(err)
	}
	if tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry.Body)) != nil {
		return nil, &Broken{Stream: at.Stream, Seq: at.Seq, What: "an entry was altered"}
	}
	return &Proof{Index: index, Leaf: entry.Body, Path: path}, nil
}
