package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"secureapi/handler/rowstore"
)

const (
	headKey       = "head"
	macAttribute  = "Mac"
	stateOpen     = "open"
	stateClosed   = "closed"
	leafPrefix    = 0x00
	chainPrefix   = 0x01
	entryMACLabel = "secureapi/audit/entry/v1"
	rowMACLabel   = "secureapi/audit/row/v1"
)

type hash [sha256.Size]byte

// chain is h_i = SHA-256(0x01 || h_(i-1) || SHA-256(0x00 || entry)); h_0 is zero.
func (h hash) chain(entry []byte) hash {
	leaf := sha256.New()
	leaf.Write([]byte{leafPrefix})
	leaf.Write(entry)
	next := sha256.New()
	next.Write([]byte{chainPrefix})
	next.Write(h[:])
	next.Write(leaf.Sum(nil))
	return hash(next.Sum(nil))
}

// MarshalText and UnmarshalText give a hash its hex form in JSON.
func (h hash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads the hex form.
func (h *hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return errors.New("not a SHA-256 in hex")
	}
	copy(h[:], b)
	return nil
}

// mac is the HMAC-SHA256 of length-prefixed parts.
func mac(key []byte, label string, parts ...[]byte) string {
	m := hmac.New(sha256.New, key)
	for _, part := range append([][]byte{[]byte(label)}, parts...) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		m.Write(n[:])
		m.Write(part)
	}
	return hex.EncodeToString(m.Sum(nil))
}

func entryMAC(key []byte, stream string, seq uint64, h hash) string {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], seq)
	return mac(key, entryMACLabel, []byte(stream), n[:], h[:])
}

func entryKey(seq uint64) string { return fmt.Sprintf("e|%020d", seq) }

// macedRow is a row whose body is MACed together with its place.
func macedRow(key []byte, partition, rowKey string, document any) (rowstore.Row, error) {
	b, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		return rowstore.Row{}, fmt.Errorf("encoding audit row: %w", err)
	}
	return rowstore.Row{
		Partition: partition, Key: rowKey, Body: b,
		Attributes: map[string]string{macAttribute: mac(key, rowMACLabel, []byte(partition), []byte(rowKey), b)},
	}, nil
}

var errMAC = errors.New("row is not this system's")

func openRow(key []byte, row rowstore.Row, document any) error {
	want := mac(key, rowMACLabel, []byte(row.Partition), []byte(row.Key), row.Body)
	if !hmac.Equal([]byte(want), []byte(row.Attributes[macAttribute])) {
		return errMAC
	}
	if err := json.Unmarshal(row.Body, document, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("reading audit row: %w", err)
	}
	return nil
}

// head is a stream's head row: the truth of where the stream ends.
type head struct {
	Stream  string    `json:"stream"`
	Next    uint64    `json:"next"`
	Last    hash      `json:"last"`
	State   string    `json:"state"`
	Updated time.Time `json:"updated"`
}

// registration is a stream's row in the list of streams.
type registration struct {
	Stream   string    `json:"stream"`
	Instance string    `json:"instance"`
	Opened   time.Time `json:"opened"`
}
