package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/checkpoint"
	"secureapi/handler/keyring"
	"secureapi/handler/rowstore"
)

// Container is the name of the write-once container of signed checkpoints.
const Container = "checkpoints"

const notesPartition = "notes"

// Blobs is what this package needs of the write-once container. Create gives
// rowstore.ErrExists where the blob exists, which may be the echo of this very
// call; Get gives rowstore.ErrNotFound.
type Blobs interface {
	Create(ctx context.Context, name string, data []byte) error
	Get(ctx context.Context, name string) ([]byte, error)
}

// Publication is where and how the tree's heads are signed; all is required.
type Publication struct {
	Signer keyring.Signer
	Blobs  Blobs
	// Origin names the log, for ever: an URL without its scheme.
	Origin string
}

func (p Publication) check() error {
	if p.Signer == nil || p.Blobs == nil || !checkpoint.ValidOrigin(p.Origin) {
		return errors.New("audit: a part of the publication is missing")
	}
	return nil
}

// Fork: two histories of the log exist, of which one is signed already. It is
// worse than Broken: no repair of the tables undoes it.
type Fork struct {
	Size uint64
	What string
}

// Error implements error.
func (f *Fork) Error() string {
	return fmt.Sprintf("audit log is forked at size %d: %s", f.Size, f.What)
}

// note is the row of a signed checkpoint. Its insertion decides which of several
// sealers' signatures of one size counts.
type note struct {
	Note string `json:"note"`
	Size uint64 `json:"size"`
}

// noteKey puts the newest first.
func noteKey(size uint64) string { return fmt.Sprintf("%020d", math.MaxUint64-size) }

// BlobName is the name of the checkpoint of a size. All have one length, so that
// a listing is in order.
func BlobName(size uint64) string { return fmt.Sprintf("%020d", size) }

// newestNote reads the newest signed checkpoint; Size 0 where there is none.
func newestNote(ctx context.Context, store Store, key []byte) (n note, c checkpoint.Checkpoint, err error) {
	rows, _, err := store.List(ctx, notesPartition, rowstore.Range{Limit: 1})
	if err != nil {
		return n, c, fmt.Errorf("reading signed checkpoint: %w", err)
	}
	if len(rows) == 0 {
		return n, c, nil
	}
	return openNote(key, rows[0])
}

func openNote(key []byte, row rowstore.Row) (n note, c checkpoint.Checkpoint, err error) {
	forged := &Broken{What: "row of a signed checkpoint is forged"}
	if err := openRow(key, row, &n); err != nil {
		return note{}, c, forged
	}
	c, err = checkpoint.Parse([]byte(n.Note))
	if err != nil || uint64(c.Tree.N) != n.Size || row.Key != noteKey(n.Size) { //nolint:gosec // G115: Parse gives no negative size
		return note{}, c, forged
	}
	return n, c, nil
}

// publish signs the tree's head and puts it into the container, unless it is
// there. Nothing is signed that does not continue what was signed before.
func (s *Sealer) publish(ctx context.Context, key []byte, t treeHead) error {
	newest, last, err := newestNote(ctx, s.Store, key)
	if err != nil {
		return err
	}
	if signed := max(newest.Size, s.published.Load()); signed > t.Size {
		return s.behind(ctx, key, signed)
	}
	// A sealer may have been killed between signing and publishing.
	if newest.Size > 0 {
		if err := s.release(ctx, newest); err != nil {
			return err
		}
		reader := newOverlay(ctx, s.Store, t.tree())
		root, err := tlog.TreeHash(last.Tree.N, reader)
		if err != nil {
			return reader.fault(err)
		}
		if root != last.Tree.Hash {
			return &Fork{Size: newest.Size, What: "the tree does not continue the signed checkpoint"}
		}
	}
	if newest.Size == t.Size {
		return nil
	}
	signed, err := s.sign(ctx, key, t)
	if err != nil {
		return err
	}
	return s.release(ctx, signed)
}

// behind tells a sealer that another has overtaken since it read the tree from a
// tree that was put back: a head is moved before it is signed.
func (s *Sealer) behind(ctx context.Context, key []byte, signed uint64) error {
	now, _, err := readTree(ctx, s.Store, key)
	if err != nil {
		return err
	}
	if now.Size >= signed {
		return ErrRace
	}
	return &Fork{Size: now.Size, What: "the tree was put back behind a signed checkpoint"}
}

// sign makes the signed checkpoint of a head, or takes that of another sealer.
func (s *Sealer) sign(ctx context.Context, key []byte, t treeHead) (note, error) {
	ref, raw, err := s.Signer.Sign(ctx, checkpoint.Digest(s.Origin, t.tree()))
	if err != nil {
		return note{}, fmt.Errorf("signing checkpoint: %w", err)
	}
	public, err := s.Signer.PublicKey(ctx, ref)
	if err != nil {
		return note{}, fmt.Errorf("signing checkpoint: %w", err)
	}
	c, err := checkpoint.Sign(s.Origin, t.tree(), public, raw)
	if err != nil {
		return note{}, fmt.Errorf("signing checkpoint: %w", err)
	}
	if err := c.Verify(public); err != nil {
		return note{}, fmt.Errorf("signing checkpoint: %w", err)
	}
	b, err := c.Marshal()
	if err != nil {
		return note{}, fmt.Errorf("signing checkpoint: %w", err)
	}
	n := note{Note: string(b), Size: t.Size}
	row, err := macedRow(key, notesPartition, noteKey(t.Size), n)
	if err != nil {
		return note{}, err
	}
	_, err = s.Store.Apply(ctx, notesPartition, []rowstore.Mutation{{Action: rowstore.Insert, Row: row}})
	if errors.Is(err, rowstore.ErrExists) {
		if row, err = s.Store.Get(ctx, notesPartition, row.Key); err == nil {
			n, _, err = openNote(key, row)
		}
	}
	if err != nil {
		return note{}, fmt.Errorf("storing signed checkpoint: %w", err)
	}
	return n, nil
}

// release puts a signed checkpoint into the container. Another one there of the
// same size is a fork, unless it says the same: its row was lost then.
func (s *Sealer) release(ctx context.Context, n note) error {
	if s.published.Load() == n.Size {
		return nil
	}
	err := s.Blobs.Create(ctx, BlobName(n.Size), []byte(n.Note))
	if errors.Is(err, rowstore.ErrExists) {
		var there []byte
		there, err = s.Blobs.Get(ctx, BlobName(n.Size))
		if err == nil && !bytes.Equal(there, []byte(n.Note)) {
			err = s.sameHead(ctx, n, there)
		}
	}
	if err != nil {
		return fmt.Errorf("publishing checkpoint: %w", err)
	}
	// Two runs of one process may end here in the other order.
	for was := s.published.Load(); was < n.Size && !s.published.CompareAndSwap(was, n.Size); {
		was = s.published.Load()
	}
	return nil
}

// sameHead accepts a published checkpoint that says what ours says and that the
// vault's key signed.
func (s *Sealer) sameHead(ctx context.Context, n note, there []byte) error {
	fork := &Fork{Size: n.Size, What: "another checkpoint of this size is published"}
	ours, err := checkpoint.Parse([]byte(n.Note))
	if err != nil {
		return fork
	}
	theirs, err := checkpoint.Parse(there)
	if err != nil || checkpoint.Text(theirs.Origin, theirs.Tree) != checkpoint.Text(ours.Origin, ours.Tree) {
		return fork
	}
	ref, _, err := s.Signer.Sign(ctx, checkpoint.Digest(ours.Origin, ours.Tree)) // names the version
	if err != nil {
		return fmt.Errorf("verifying checkpoint: %w", err)
	}
	public, err := s.Signer.PublicKey(ctx, ref)
	if err != nil {
		return fmt.Errorf("verifying checkpoint: %w", err)
	}
	if theirs.Verify(public) != nil {
		return fork
	}
	return nil
}
