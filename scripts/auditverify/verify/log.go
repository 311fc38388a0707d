package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// seal is a row of the sealer: how far each stream was verified.
type seal struct {
	Number   uint64 `json:"number"`
	Previous string `json:"previous"`
	Entries  int64  `json:"entries"`
	Streams  []struct {
		Stream string `json:"stream"`
		Next   int64  `json:"next"`
		Last   string `json:"last"`
	} `json:"streams"`
}

// streamHead says where a stream ends.
type streamHead struct {
	Next int64  `json:"next"`
	Last string `json:"last"`
}

// leaf is an entry's place in the tree.
type leaf struct {
	stream string
	seq    int64
}

// contents are the rows of an archive by what they are.
type contents struct {
	seals    []seal
	pointer  uint64
	treeSize int64
	entries  map[string]map[int64][]byte
	heads    map[string]streamHead
	tiles    map[int64][]byte // of the lowest level
}

// sort takes the archive apart.
func (v *verifier) sort(a Archive) {
	c := &v.contents
	c.entries, c.heads, c.tiles = map[string]map[int64][]byte{}, map[string]streamHead{}, map[int64][]byte{}
	var sealRows []Row
	for _, row := range a.Rows {
		number, numbered := strings.CutPrefix(row.Key, "e|")
		switch {
		case row.Partition == "checkpoints" && row.Key == "head":
			c.pointer, _ = strconv.ParseUint(row.Attributes["Number"], 10, 64) //nolint:errcheck // 0 is a pointer to nothing
		case row.Partition == "checkpoints":
			sealRows = append(sealRows, row)
		case row.Partition == "tree" && row.Key == "head":
			var head struct {
				Size int64 `json:"size"`
			}
			v.decode(row, &head)
			c.treeSize = head.Size
		case row.Partition == "tree":
			if n, err := strconv.ParseInt(strings.TrimPrefix(row.Key, "t|00|"), 10, 64); err == nil {
				c.tiles[n] = row.Body
			}
		case row.Key == "head":
			var head streamHead
			v.decode(row, &head)
			c.heads[row.Partition] = head
		case numbered:
			seq, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				v.find(Finding{Kind: EntryInserted, Stream: row.Partition, Detail: "a row's key is no sequence number"})
				continue
			}
			if c.entries[row.Partition] == nil {
				c.entries[row.Partition] = map[int64][]byte{}
			}
			c.entries[row.Partition][seq] = row.Body
		}
	}
	v.readSeals(sealRows)
}

func (v *verifier) decode(row Row, into any) {
	if err := json.Unmarshal(row.Body, into); err != nil {
		v.find(Finding{Kind: RowUnreadable, Stream: row.Partition, Detail: "row " + row.Key})
	}
}

// readSeals checks that the seals follow each other, each naming the one before.
func (v *verifier) readSeals(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Key, b.Key) })
	previous := hex.EncodeToString(make([]byte, sha256.Size))
	for i, row := range rows {
		var s seal
		v.decode(row, &s)
		want := uint64(i) + 1
		if s.Number != want || row.Key != fmt.Sprintf("%020d", want) {
			v.find(Finding{Kind: SealBroken, Detail: fmt.Sprintf("seal %d is missing, or another one is in its place", want)})
			return
		}
		if s.Previous != previous {
			v.find(Finding{Kind: SealBroken, Detail: fmt.Sprintf("seal %d does not follow seal %d", want, want-1)})
		}
		sum := sha256.Sum256(row.Body)
		previous = hex.EncodeToString(sum[:])
		v.contents.seals = append(v.contents.seals, s)
	}
}

// layLeaves puts the sealed entries into the order of the tree, and checks each
// stream's chain at each seal.
func (v *verifier) layLeaves() {
	next, chains := map[string]int64{}, map[string][sha256.Size]byte{}
	for _, s := range v.contents.seals {
		for _, p := range s.Streams {
			from := next[p.Stream]
			whole := true
			chain := chains[p.Stream]
			for seq := from; seq < p.Next; seq++ {
				body, there := v.contents.entries[p.Stream][seq]
				v.leaves = append(v.leaves, leaf{p.Stream, seq})
				v.hashes = append(v.hashes, tlog.RecordHash(body))
				if !there {
					whole = false
					v.absent[int64(len(v.leaves)-1)] = true
				}
				chain = chained(chain, body)
				if len(v.leaves) > maxLeaves {
					v.find(Finding{Kind: SealBroken, Detail: "a seal covers more entries than this program takes"})
					return
				}
			}
			if whole && hex.EncodeToString(chain[:]) != p.Last && p.Next > from {
				v.broken = append(v.broken, Finding{
					Kind: ChainBroken, Stream: p.Stream, Seq: from,
					Detail: fmt.Sprintf("entries %d to %d do not give the chain of seal %d", from, p.Next-1, s.Number),
				})
			}
			// Go on from what the seal says, so that one fault is told once.
			if last, err := hex.DecodeString(p.Last); err == nil && len(last) == sha256.Size {
				chain = [sha256.Size]byte(last)
			}
			next[p.Stream], chains[p.Stream] = max(from, p.Next), chain
		}
		if s.Entries != int64(len(v.leaves)) {
			v.find(Finding{Kind: SealBroken, Detail: fmt.Sprintf("seal %d counts %d entries and lists %d", s.Number, s.Entries, len(v.leaves))})
		}
	}
	v.tails(next, chains)
}

// chained is h_i = SHA-256(0x01 || h_(i-1) || SHA-256(0x00 || entry)).
func chained(before [sha256.Size]byte, entry []byte) [sha256.Size]byte {
	inner := tlog.RecordHash(entry)
	return sha256.Sum256(slices.Concat([]byte{1}, before[:], inner[:]))
}

// tails checks what no seal covers, up to each stream's head, and that nothing
// stands behind it.
func (v *verifier) tails(next map[string]int64, chains map[string][sha256.Size]byte) {
	for stream, entries := range v.contents.entries {
		head, there := v.contents.heads[stream]
		if !there || head.Next < next[stream] {
			v.find(Finding{Kind: HeadRolledBack, Stream: stream, Seq: next[stream], Detail: fmt.Sprintf("the stream's head is at entry %d, its seal at %d", head.Next, next[stream])})
			continue
		}
		chain, whole := chains[stream], true
		for seq := next[stream]; seq < head.Next && whole; seq++ {
			body, there := entries[seq]
			if !there {
				whole = false
				v.find(Finding{Kind: EntryRemoved, Stream: stream, Seq: seq, Detail: "not sealed yet, and before the stream's head"})
			}
			chain = chained(chain, body)
		}
		if whole && hex.EncodeToString(chain[:]) != head.Last && head.Next > next[stream] {
			v.find(Finding{Kind: ChainBroken, Stream: stream, Seq: next[stream], Detail: "what is not sealed yet does not give the chain of the stream's head"})
		}
		for seq := range entries {
			if seq >= head.Next || seq < 0 {
				v.find(Finding{Kind: EntryInserted, Stream: stream, Seq: seq, Detail: "behind the stream's head"})
			}
		}
	}
}
