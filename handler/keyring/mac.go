package keyring

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sync"
)

// macs computes HMAC-SHA256 under one key:
//
//	HMAC(key, len(label) | label | len(part) | part | …), lengths of 4 bytes
//
// It reuses keyed states, since tokenizing hashes about sixteen drawn tokens
// per value and crypto/hmac then keeps the two blocks of the key.
type macs struct{ pool sync.Pool }

func newMACs(key []byte) *macs {
	return &macs{pool: sync.Pool{New: func() any { return &macState{hash: hmac.New(sha256.New, key)} }}}
}

// macState has room for the input and for both forms of the result, so that a
// hash allocates nothing but the string it returns.
type macState struct {
	hash hash.Hash
	in   []byte
	out  [sha256.Size]byte
	text [2 * sha256.Size]byte
}

// sum hashes the label and the parts, each behind its length.
func (m *macs) sum(label string, parts ...[]byte) [sha256.Size]byte {
	s := m.get()
	defer m.put(s)
	s.in = appendField(s.in, label)
	for _, part := range parts {
		s.in = appendField(s.in, part)
	}
	s.finish()
	return s.out
}

// hex is sum of strings, in lower-case hex.
func (m *macs) hex(label string, parts ...string) string {
	s := m.get()
	defer m.put(s)
	s.in = appendField(s.in, label)
	for _, part := range parts {
		s.in = appendField(s.in, part)
	}
	s.finish()
	hex.Encode(s.text[:], s.out[:])
	return string(s.text[:])
}

func (m *macs) get() *macState {
	s, _ := m.pool.Get().(*macState) //nolint:errcheck // the pool holds nothing else
	return s
}

// maxPooled keeps the buffer of one large request from staying for ever.
const maxPooled = 4 << 10

// put wipes the input, which can be a whole request, before others reuse it.
func (m *macs) put(s *macState) {
	clear(s.in)
	s.in = s.in[:0]
	if cap(s.in) > maxPooled {
		s.in = nil
	}
	m.pool.Put(s)
}

func (s *macState) finish() {
	s.hash.Reset()
	s.hash.Write(s.in)
	s.hash.Sum(s.out[:0])
}

func appendField[T string | []byte](b []byte, field T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field))) //nolint:gosec // G115: bounded far below 4 GiB by the callers' limits
	return append(b, field...)
}
