package verify

import (
	"cmp"
	"crypto/ecdsa"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/checkpoint"
)

// maxLeaves bounds the memory that a forged seal can ask for.
const maxLeaves = 20_000_000

// Kind is what is wrong.
type Kind string

// The kinds of findings.
const (
	EntryAltered     Kind = "entry_altered"
	EntryRemoved     Kind = "entry_removed"
	EntryInserted    Kind = "entry_inserted"
	EntryReordered   Kind = "entry_reordered"
	ChainBroken      Kind = "chain_broken"
	TailTruncated    Kind = "tail_truncated"
	HeadRolledBack   Kind = "head_rolled_back"
	SealBroken       Kind = "seal_broken"
	TreeAltered      Kind = "tree_altered"
	CheckpointForged Kind = "checkpoint_forged"
	CheckpointMoved  Kind = "checkpoint_moved"
	Fork             Kind = "fork"
	HistoryDiffers   Kind = "history_differs"
	RowUnreadable    Kind = "row_unreadable"
	NotPublished     Kind = "not_published"
)

// Finding is one thing that is wrong, and where.
type Finding struct {
	Kind   Kind
	Stream string // "" where it is not about one stream
	Seq    int64  // of the entry in its stream
	Index  int64  // of the leaf in the tree; 0 where it has none
	Size   int64  // of the checkpoint; 0 where it is not about one
	Detail string
}

// String is the line that is printed.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(string(f.Kind))
	if f.Stream != "" {
		fmt.Fprintf(&b, ": stream %s, entry %d, leaf %d", f.Stream, f.Seq, f.Index)
	}
	if f.Size > 0 {
		fmt.Fprintf(&b, ": checkpoint of size %d", f.Size)
	}
	return b.String() + ": " + f.Detail
}

// Report is the outcome.
type Report struct {
	Findings []Finding
	// Entries and Checkpoints are what was verified; Size is the size of the
	// largest signed checkpoint.
	Entries, Checkpoints, Size int64
}

type verifier struct {
	contents contents
	report   Report
	leaves   []leaf
	hashes   []tlog.Hash // of the entries as they are
	absent   map[int64]bool
	broken   []Finding // chains, told where the tree does not tell better
}

func (v *verifier) find(f Finding) { v.report.Findings = append(v.report.Findings, f) }

// Verify checks an archive.
func Verify(a Archive, keys ...*ecdsa.PublicKey) Report {
	v := &verifier{absent: map[int64]bool{}}
	v.sort(a)
	v.layLeaves()
	v.report.Entries = int64(len(v.leaves))
	signed := v.checkNotes(a.Notes, keys)
	v.checkHeads(signed)
	v.checkRoots(signed)
	return v.report
}

// checkNotes gives the checkpoints that a known key signed, by ascending size.
func (v *verifier) checkNotes(notes map[string][]byte, keys []*ecdsa.PublicKey) (signed []checkpoint.Checkpoint) {
	bySize := map[int64]checkpoint.Checkpoint{}
	for _, name := range slices.Sorted(maps.Keys(notes)) {
		c, err := checkpoint.Parse(notes[name])
		if err == nil {
			err = c.Verify(keys...)
		}
		if err != nil {
			v.find(Finding{Kind: CheckpointForged, Size: c.Tree.N, Detail: name + ": " + err.Error()})
			continue
		}
		if strings.Trim(name, "0123456789") == "" && name != fmt.Sprintf("%020d", c.Tree.N) {
			v.find(Finding{Kind: CheckpointMoved, Size: c.Tree.N, Detail: "it stands under the name " + name})
		}
		if other, twice := bySize[c.Tree.N]; twice && checkpoint.Text(other.Origin, other.Tree) != checkpoint.Text(c.Origin, c.Tree) {
			v.find(Finding{Kind: Fork, Size: c.Tree.N, Detail: name + ": two checkpoints of this size are signed, which differ"})
		}
		bySize[c.Tree.N] = c
		signed = append(signed, c)
	}
	slices.SortStableFunc(signed, func(a, b checkpoint.Checkpoint) int { return cmp.Compare(a.Tree.N, b.Tree.N) })
	v.report.Checkpoints = int64(len(signed))
	if len(signed) > 0 {
		v.report.Size = signed[len(signed)-1].Tree.N
	}
	return signed
}

// checkHeads compares where the tables say that the log ends with what is signed.
func (v *verifier) checkHeads(signed []checkpoint.Checkpoint) {
	if n := uint64(len(v.contents.seals)); v.contents.pointer != n {
		v.find(Finding{Kind: HeadRolledBack, Detail: fmt.Sprintf("the newest seal is said to be %d, and is %d", v.contents.pointer, n)})
	}
	sealed := int64(len(v.leaves))
	if v.report.Size > sealed {
		v.find(Finding{Kind: TailTruncated, Size: v.report.Size, Detail: fmt.Sprintf("only %d entries are sealed", sealed)})
	}
	if v.report.Size > v.contents.treeSize {
		v.find(Finding{Kind: HeadRolledBack, Size: v.report.Size, Detail: fmt.Sprintf("the tree's head is at size %d", v.contents.treeSize)})
	}
	if len(signed) == 0 && sealed > 0 {
		v.find(Finding{Kind: NotPublished, Detail: fmt.Sprintf("%d entries are sealed, and there is no signed checkpoint", sealed)})
	}
}

// checkRoots computes the root of each size from the entries as they are. Where
// it is not the signed one, the stored hashes of the leaves tell which entry was
// changed, provided that they give the signed root.
func (v *verifier) checkRoots(signed []checkpoint.Checkpoint) {
	ours, stored := newTree(v.hashes), newTree(v.storedLeaves())
	good := int64(0)
	for _, c := range signed {
		size := c.Tree.N
		switch {
		case ours.root(size) == c.Tree.Hash && !v.anyAbsent(size):
			if size <= stored.size() && stored.root(size) != c.Tree.Hash {
				v.find(Finding{Kind: TreeAltered, Size: size, Detail: "the stored hashes do not give the signed root; the entries do"})
			}
		case size <= stored.size() && stored.root(size) == c.Tree.Hash:
			v.locate(good, min(size, int64(len(v.leaves))), stored.leaves)
		case size <= int64(len(v.leaves)):
			v.find(Finding{Kind: HistoryDiffers, Size: size, Detail: fmt.Sprintf("leaves %d to %d are not those that were signed", good, size-1)})
			v.tellAbsent(good, size)
		}
		good = max(good, size)
	}
	// Chains add what lies behind the last signed checkpoint, or where the tree
	// has found nothing in the stream.
	for _, f := range v.broken {
		if !slices.ContainsFunc(v.report.Findings, func(other Finding) bool { return other.Stream == f.Stream }) {
			v.find(f)
		}
	}
	v.tellAbsent(good, int64(len(v.leaves)))
}

func (v *verifier) anyAbsent(size int64) bool {
	for i := range v.absent {
		if i < size {
			return true
		}
	}
	return false
}

func (v *verifier) tellAbsent(from, to int64) {
	for _, i := range slices.Sorted(maps.Keys(v.absent)) {
		if i >= from && i < to {
			v.at(EntryRemoved, i, "sealed, and no longer there")
		}
	}
}

// at is a finding about a leaf.
func (v *verifier) at(kind Kind, index int64, detail string) {
	v.find(Finding{Kind: kind, Stream: v.leaves[index].stream, Seq: v.leaves[index].seq, Index: index, Detail: detail})
}

// locate says for each leaf of a range that is not the signed one what became of
// it. want are the hashes that give the signed root.
func (v *verifier) locate(from, to int64, want []tlog.Hash) {
	places := map[tlog.Hash]int64{}
	for i := from; i < int64(len(want)); i++ {
		places[want[i]] = i
	}
	shift := map[string]bool{} // streams whose rows were numbered anew
	for i := from; i < to; i++ {
		l := v.leaves[i]
		switch {
		case v.hashes[i] == want[i] && !v.absent[i], shift[l.stream] && !v.absent[i]:
		case v.absent[i]:
			v.at(EntryRemoved, i, "sealed and signed, and no longer there")
		case v.is(l.stream, l.seq+1, want[i]) && !v.known(places, v.hashes[i]):
			shift[l.stream] = true
			v.at(EntryInserted, i, "an entry that was never sealed; those behind it are numbered anew")
		case i+1 < int64(len(want)) && v.hashes[i] == want[i+1] && v.is(l.stream, l.seq+1, wanted(want, i+2)):
			shift[l.stream] = true
			v.at(EntryRemoved, i, "taken out; those behind it are numbered anew")
		case v.known(places, v.hashes[i]):
			v.at(EntryReordered, i, fmt.Sprintf("it is the entry of leaf %d", places[v.hashes[i]]))
		default:
			v.at(EntryAltered, i, "its content is not what was signed")
		}
	}
}

func wanted(want []tlog.Hash, i int64) tlog.Hash {
	if i < int64(len(want)) {
		return want[i]
	}
	return tlog.Hash{}
}

func (v *verifier) known(places map[tlog.Hash]int64, h tlog.Hash) bool {
	_, ok := places[h]
	return ok
}

// is says whether an entry of a stream has a hash.
func (v *verifier) is(stream string, seq int64, h tlog.Hash) bool {
	body, there := v.contents.entries[stream][seq]
	return there && tlog.RecordHash(body) == h
}

// storedLeaves are the hashes of the lowest level, as far as they go.
func (v *verifier) storedLeaves() (list []tlog.Hash) {
	for n := int64(0); ; n++ {
		body, there := v.contents.tiles[n]
		if !there {
			return list
		}
		for ; len(body) >= tlog.HashSize; body = body[tlog.HashSize:] {
			list = append(list, tlog.Hash(body[:tlog.HashSize]))
		}
		if len(list)%256 != 0 {
			return list
		}
	}
}
