package verify

import "golang.org/x/mod/sumdb/tlog"

// tree computes the root of every size of a list of leaves.
type tree struct {
	leaves []tlog.Hash
	stored []tlog.Hash // by stored index
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		list[i] = t.stored[index]
	}
	return list, nil
}

func newTree(leaves []tlog.Hash) *tree {
	t := &tree{leaves: leaves}
	for i, h := range leaves {
		hashes, err := tlog.StoredHashesForRecordHash(int64(i), h, t)
		if err != nil {
			panic(err) // ReadHashes gives none
		}
		t.stored = append(t.stored, hashes...)
	}
	return t
}

func (t *tree) size() int64 { return int64(len(t.leaves)) }

// root is the root of a size; zero where there are not as many leaves.
func (t *tree) root(size int64) tlog.Hash {
	if size < 1 || size > t.size() {
		return tlog.Hash{}
	}
	h, err := tlog.TreeHash(size, t)
	if err != nil {
		return tlog.Hash{}
	}
	return h
}
