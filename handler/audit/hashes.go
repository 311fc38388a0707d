package audit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/rowstore"
)

// tileStore reads tiles of the stored tree for tlog, which checks each against
// the root before it believes a hash. Rows it has read it keeps.
type tileStore struct {
	ctx   context.Context //nolint:containedctx // tlog's reader takes none; it lives for one call
	store Store
	rows  map[string][]byte
	err   error // of the store, as opposed to a hash that does not fit
}

// Height implements tlog.TileReader.
func (*tileStore) Height() int { return tileHeight }

// SaveTiles implements tlog.TileReader.
func (*tileStore) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles implements tlog.TileReader.
func (s *tileStore) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, 0, len(list))
	for _, tile := range list {
		body, known := s.rows[tileKey(tile)]
		if !known {
			row, err := s.store.Get(s.ctx, treePartition, tileKey(tile))
			if err != nil && !errors.Is(err, rowstore.ErrNotFound) {
				s.err = fmt.Errorf("reading tree hashes: %w", err)
				return nil, s.err
			}
			body = row.Body
			s.rows[tileKey(tile)] = body
		}
		// A tile that has grown since holds the hashes of this size first.
		want := tile.W * tlog.HashSize
		if len(body) < want {
			return nil, errors.New("tree hashes are missing")
		}
		all = append(all, body[:want])
	}
	return all, nil
}

// overlay reads hashes of a tree, and of leaves that are being added to it.
type overlay struct {
	tiles  *tileStore
	stored tlog.HashReader
	known  map[int64]tlog.Hash
}

func newOverlay(ctx context.Context, store Store, tree tlog.Tree) *overlay {
	tiles := &tileStore{ctx: ctx, store: store, rows: map[string][]byte{}}
	return &overlay{tiles: tiles, stored: tlog.TileHashReader(tree, tiles), known: map[int64]tlog.Hash{}}
}

// ReadHashes implements tlog.HashReader.
func (o *overlay) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	var missing []int64
	for i, index := range indexes {
		if h, ok := o.known[index]; ok {
			list[i] = h
		} else {
			missing = append(missing, index)
		}
	}
	if len(missing) == 0 {
		return list, nil
	}
	read, err := o.stored.ReadHashes(missing)
	if err != nil {
		return nil, err //nolint:wrapcheck // fault tells what it means
	}
	for i, index := range missing {
		o.known[index] = read[i]
	}
	for i, index := range indexes {
		list[i] = o.known[index]
	}
	return list, nil
}

// add adds leaf n.
func (o *overlay) add(n int64, leaf tlog.Hash) error {
	hashes, err := tlog.StoredHashesForRecordHash(n, leaf, o)
	if err != nil {
		return o.fault(err)
	}
	for i, h := range hashes {
		o.known[tlog.StoredHashIndex(0, n)+int64(i)] = h
	}
	return nil
}

// fault tells a store that does not answer from hashes that were altered.
func (o *overlay) fault(err error) error {
	if o.tiles.err != nil {
		return o.tiles.err
	}
	return &Broken{What: fmt.Sprintf("tree hashes were altered: %v", err)}
}
