package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"

	"github.com/go-json-experiment/json"
	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/rowstore"
)

const (
	treePartition = "tree"
	// tileHeight: a tile holds the 256 hashes of one level that stand side by
	// side, so that a tree of a million leaves is read through three tiles.
	tileHeight = 8
	// maxRetries bounds how often a tile that others write, too, is tried.
	maxRetries = 10
)

// treeHead is how far the Merkle tree is built: over the leaves of all
// checkpoints up to Number, in their order.
//
// Nothing but the checkpoints decides what the tree holds: leaf i is the i-th
// entry of checkpoint 1, 2, … and, in each, of its streams in the order it
// lists them. A sealer that is killed, or one that is late, can therefore leave
// nothing behind that another one would write otherwise, and a tree that is lost
// is built again, from the first entry of an old log too.
type treeHead struct {
	Number uint64 `json:"number"`
	Root   hash   `json:"root"`
	Size   uint64 `json:"size"`
}

func (t treeHead) tree() tlog.Tree {
	return tlog.Tree{N: int64(t.Size), Hash: tlog.Hash(t.Root)} //nolint:gosec // G115: a count of entries
}

// readTree reads the head and its version; zero where there is none.
func readTree(ctx context.Context, store Store, key []byte) (t treeHead, version string, err error) {
	row, err := store.Get(ctx, treePartition, headKey)
	if errors.Is(err, rowstore.ErrNotFound) {
		return t, "", nil
	}
	if err != nil {
		return t, "", fmt.Errorf("reading tree head: %w", err)
	}
	if err := openRow(key, row, &t); err != nil {
		return treeHead{}, "", &Broken{What: "tree head is forged"}
	}
	return t, row.Version, nil
}

// grow builds the tree up to the checkpoint with the number. Each step is moved
// by compare-and-swap; where another sealer was first its step is taken.
func (s *Sealer) grow(ctx context.Context, key []byte, to uint64) (treeHead, error) {
	for {
		t, version, err := readTree(ctx, s.Store, key)
		if err != nil || t.Number >= to {
			return t, err
		}
		next, err := s.addLeaves(ctx, key, t)
		if err != nil {
			return t, err
		}
		row, err := macedRow(key, treePartition, headKey, next)
		if err != nil {
			return t, err
		}
		move := rowstore.Mutation{Action: rowstore.Insert, Row: row}
		if version != "" {
			move.Action, move.Row.Version = rowstore.Replace, version
		}
		_, err = s.Store.Apply(ctx, treePartition, []rowstore.Mutation{move})
		if err != nil && !raced(err) {
			return t, fmt.Errorf("moving tree head: %w", err)
		}
	}
}

// raced: another sealer, or the lost answer of this very call, was first.
func raced(err error) bool {
	return errors.Is(err, rowstore.ErrExists) || errors.Is(err, rowstore.ErrChanged) || errors.Is(err, rowstore.ErrNotFound)
}

// addLeaves adds the leaves of the next checkpoint: their hashes and their
// places by id. The head is the caller's.
func (s *Sealer) addLeaves(ctx context.Context, key []byte, t treeHead) (treeHead, error) {
	before, err := numbered(ctx, s.Store, key, t.Number)
	if err != nil {
		return t, err
	}
	until, err := numbered(ctx, s.Store, key, t.Number+1)
	if err != nil {
		return t, err
	}
	reader := newOverlay(ctx, s.Store, t.tree())
	size := t.tree().N
	var places []place
	err = eachLeaf(ctx, s.Store, key, before, until, func(stream string, seq uint64, entry []byte) error {
		if err := reader.add(size, tlog.RecordHash(entry)); err != nil {
			return err
		}
		e, err := decodeEntry(entry)
		if err != nil {
			return &Broken{Stream: stream, Seq: seq, What: "entry is unreadable"}
		}
		places = append(places, place{id: e.ID, index: size, Stream: stream, Seq: seq})
		size++
		return nil
	})
	if err != nil {
		return t, err
	}
	next := treeHead{Number: until.Number, Size: uint64(size)} //nolint:gosec // G115: a count
	if next.Size != until.Entries {
		return t, &Broken{What: fmt.Sprintf("checkpoint %d does not cover what it counts", until.Number)}
	}
	if size > 0 {
		root, err := tlog.TreeHash(size, reader)
		if err != nil {
			return t, reader.fault(err)
		}
		next.Root = hash(root)
	}
	if err := writePlaces(ctx, s.Store, places); err != nil {
		return t, err
	}
	return next, s.writeTiles(ctx, t.tree().N, size, reader)
}

// eachLeaf visits the entries between two checkpoints in the order of the tree.
func eachLeaf(
	ctx context.Context, store Store, key []byte, before, until Checkpoint, visit func(stream string, seq uint64, entry []byte) error,
) error {
	sealed := make(map[string]Position, len(before.Streams))
	for _, p := range before.Streams {
		sealed[p.Stream] = p
	}
	for _, p := range until.Streams {
		err := walk(ctx, store, key, p.Stream, sealed[p.Stream], head{Next: p.Next, Last: p.Last}, func(seq uint64, entry []byte) error {
			return visit(p.Stream, seq, entry)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// numbered reads a checkpoint; number 0 is the one before the first.
func numbered(ctx context.Context, store Store, key []byte, number uint64) (c Checkpoint, err error) {
	if number == 0 {
		return c, nil
	}
	row, err := store.Get(ctx, checkpointsPartition, checkpointKey(number))
	if errors.Is(err, rowstore.ErrNotFound) {
		return c, &Broken{What: fmt.Sprintf("checkpoint %d is gone", number)}
	}
	if err != nil {
		return c, fmt.Errorf("reading checkpoint: %w", err)
	}
	if err := openRow(key, row, &c); err != nil || c.Number != number {
		return Checkpoint{}, &Broken{What: fmt.Sprintf("checkpoint %d is forged", number)}
	}
	return c, nil
}

// writeTiles stores the hashes between two sizes.
func (s *Sealer) writeTiles(ctx context.Context, from, to int64, reader *overlay) error {
	for _, tile := range tlog.NewTiles(tileHeight, from, to) {
		data, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			return reader.fault(err)
		}
		if err := putTile(ctx, s.Store, tile, data); err != nil {
			return err
		}
	}
	return nil
}

func tileKey(t tlog.Tile) string { return fmt.Sprintf("t|%02d|%020d", t.L, t.N) }

// putTile stores a tile unless it is there with these hashes or more. A tile
// only ever gets longer, whoever writes it.
func putTile(ctx context.Context, store Store, tile tlog.Tile, data []byte) error {
	row := rowstore.Row{Partition: treePartition, Key: tileKey(tile), Body: data}
	for range maxRetries {
		there, err := store.Get(ctx, row.Partition, row.Key)
		write := rowstore.Mutation{Action: rowstore.Insert, Row: row}
		switch {
		case errors.Is(err, rowstore.ErrNotFound):
		case err != nil:
			return fmt.Errorf("reading tree hashes: %w", err)
		case bytes.HasPrefix(there.Body, data):
			return nil
		case !bytes.HasPrefix(data, there.Body):
			return &Broken{What: "tree hashes were altered: " + tile.Path()}
		default:
			write.Action, write.Row.Version = rowstore.Replace, there.Version
		}
		_, err = store.Apply(ctx, row.Partition, []rowstore.Mutation{write})
		if err == nil {
			return nil
		}
		if !raced(err) {
			return fmt.Errorf("storing tree hashes: %w", err)
		}
	}
	return errors.New("storing tree hashes: others are always first")
}

// place says where the entry with an id stands in the log. Two entries of one
// action share an id. It carries no authority: what is found through it is
// proven by the tree.
type place struct {
	id     string
	index  int64
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
}

// placesPartition spreads the places over 16 partitions.
func placesPartition(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("ids|%x", sum[0]>>4)
}

func (p place) row() (rowstore.Row, error) {
	body, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return rowstore.Row{}, fmt.Errorf("encoding the place of an entry: %w", err)
	}
	return rowstore.Row{Partition: placesPartition(p.id), Key: fmt.Sprintf("%s|%020d", p.id, p.index), Body: body}, nil
}

// writePlaces stores places by insert-if-absent, in full transactions.
func writePlaces(ctx context.Context, store Store, places []place) error {
	groups := map[string][]rowstore.Mutation{}
	for _, p := range places {
		row, err := p.row()
		if err != nil {
			return err
		}
		if rowstore.ValidateKey(row.Key) != nil {
			continue // an id that was not drawn here: it is in the tree all the same
		}
		groups[row.Partition] = append(groups[row.Partition], rowstore.Mutation{Action: rowstore.Insert, Row: row})
	}
	for partition, all := range groups {
		if err := insertAbsent(ctx, store, partition, all); err != nil {
			return err
		}
	}
	return nil
}

// insertAbsent inserts rows of which another sealer may have written some: with
// the same content, since the key holds the index, and in the same order, so that
// those that are there come first. They are passed over by halves: a sealer that
// begins a large checkpoint again has to come further than the one before.
func insertAbsent(ctx context.Context, store Store, partition string, all []rowstore.Mutation) error {
	for len(all) > 0 {
		n := min(len(all), rowstore.MaxTransaction)
		_, err := store.Apply(ctx, partition, all[:n])
		if errors.Is(err, rowstore.ErrExists) {
			n, err = countPresent(ctx, store, partition, all)
			if err == nil && n == 0 {
				// The first is missing amid others, which somebody has removed.
				n = 1
				_, err = store.Apply(ctx, partition, all[:n])
			}
		}
		if err != nil && !errors.Is(err, rowstore.ErrExists) {
			return fmt.Errorf("storing the places of entries: %w", err)
		}
		all = all[n:]
	}
	return nil
}

// countPresent gives how many of the rows are there, the first ones first.
func countPresent(ctx context.Context, store Store, partition string, all []rowstore.Mutation) (int, error) {
	var failed error
	n := sort.Search(len(all), func(i int) bool {
		if failed != nil {
			return true
		}
		_, err := store.Get(ctx, partition, all[i].Row.Key)
		absent := errors.Is(err, rowstore.ErrNotFound)
		if err != nil && !absent {
			failed = fmt.Errorf("reading the places of entries: %w", err)
		}
		return absent
	})
	return n, failed
}
