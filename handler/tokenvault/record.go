package tokenvault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"secureapi/handler/dataclass"
	"secureapi/handler/envelope"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// Attribute names of token rows. The envelope is bound to each of them.
const (
	attrClass   = "Class"
	attrSubject = "Subject"
	attrCounter = "Counter"
	// attrTouched is all that a merge of a head changes: its new version is
	// what fences an erasure. It means nothing else.
	attrTouched = "Touched"
)

const valueLabel = "value"

// shardOf is the hex digit that says which of a tenant's 16 partitions a
// hash belongs to.
func shardOf(hash string) byte { return hash[0] }

// partitionOf is the partition of a subject and of all its tokens.
func partitionOf(tenant, hash string) string { return tenant + "|" + hash[:1] }

func headKey(subjectHash string) string              { return "s|" + subjectHash }
func memberKey(subjectHash, tokenHash string) string { return "m|" + subjectHash + "|" + tokenHash }
func tokenKey(tokenHash string) string               { return "t|" + tokenHash }

// headDocument is the sealed content of a subject's head.
type headDocument struct {
	State   string    `json:"state"`
	Epoch   uint64    `json:"epoch"`
	Key     []byte    `json:"key"` // the subject key, sealed by the keyring
	Created time.Time `json:"created"`
}

// stateActive is the only state that takes new tokens.
const stateActive = "active"

func headPlace(tenant, subjectHash string) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: partitionOf(tenant, subjectHash),
		Key: headKey(subjectHash), Kind: "head",
	}
}

// memberDocument names the rows that belong to one token, so that an erasure
// finds them all.
type memberDocument struct {
	Class   dataclass.Class `json:"class"`
	Created time.Time       `json:"created"`
}

func memberPlace(tenant, subjectHash, tokenHash string) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: partitionOf(tenant, subjectHash),
		Key: memberKey(subjectHash, tokenHash), Kind: "member",
	}
}

// record is the plaintext of a token row's envelope.
type record struct {
	token string
	// write names the request that wrote the row: a repeat of it knows its own.
	write   [16]byte
	created time.Time
	value   []byte
}

// marshal frames the record:
//
//	token length uint16 | token | write id 16 | created, Unix seconds, int64 | value
func (r record) marshal() []byte {
	b := make([]byte, 0, 2+len(r.token)+16+8+len(r.value))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.token))) //nolint:gosec // G115: tokens are under 100 bytes
	b = append(b, r.token...)
	b = append(b, r.write[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.created.Unix())) //nolint:gosec // G115: round-trips as int64
	return append(b, r.value...)
}

var errRecord = errors.New("record framing")

func unmarshalRecord(b []byte) (record, error) {
	if len(b) < 2 {
		return record{}, errRecord
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) < n+16+8 {
		return record{}, errRecord
	}
	r := record{token: string(b[:n])}
	copy(r.write[:], b[n:n+16])
	r.created = time.Unix(int64(binary.BigEndian.Uint64(b[n+16:])), 0).UTC() //nolint:gosec // G115: see marshal
	r.value = b[n+24:]
	return r, nil
}

// tokenRow is a token row as it stands in the table, not yet believed.
type tokenRow struct {
	tenant      string
	tokenHash   string
	subjectHash string
	class       dataclass.Class
	counter     uint64
	sealed      []byte
}

func (t tokenRow) context() envelope.Context {
	return envelope.Context{
		Label: valueLabel, Tenant: t.tenant, Table: Table,
		Partition: partitionOf(t.tenant, t.tokenHash), Row: tokenKey(t.tokenHash),
		Class: string(t.class), Subject: t.subjectHash, Counter: t.counter,
	}
}

// seal gives the row that holds the record under the subject's key.
func (t tokenRow) seal(key envelope.Key, r record) (rowstore.Row, error) {
	sealed, err := envelope.Seal(key, t.context(), r.marshal())
	if err != nil {
		return rowstore.Row{}, fmt.Errorf("sealing value: %w", err)
	}
	return rowstore.Row{
		Partition: partitionOf(t.tenant, t.tokenHash), Key: tokenKey(t.tokenHash), Body: sealed,
		Attributes: map[string]string{
			attrClass: string(t.class), attrSubject: t.subjectHash, attrCounter: strconv.FormatUint(t.counter, 10),
		},
	}, nil
}

// open gives the record of a row, checked to be this token's.
func (t tokenRow) open(key envelope.Key, token string) (record, error) {
	plaintext, err := envelope.Open(key, t.context(), t.sealed)
	if err != nil {
		return record{}, fmt.Errorf("opening value: %w", err)
	}
	r, err := unmarshalRecord(plaintext)
	if err != nil {
		return record{}, err
	}
	if r.token != token {
		return record{}, errors.New("value belongs to another token")
	}
	return r, nil
}

// readTokenRow checks the shape of a row that storage returned.
func readTokenRow(tenant, tokenHash string, row rowstore.Row) (tokenRow, error) {
	counter, err := strconv.ParseUint(row.Attributes[attrCounter], 10, 64)
	if err != nil {
		return tokenRow{}, errors.New("token row without a counter")
	}
	t := tokenRow{
		tenant: tenant, tokenHash: tokenHash, subjectHash: row.Attributes[attrSubject],
		class: dataclass.Class(row.Attributes[attrClass]), counter: counter, sealed: row.Body,
	}
	if _, known := dataclass.Lookup(t.class); !known {
		return tokenRow{}, errors.New("token row of an unknown class")
	}
	if len(t.subjectHash) != len(tokenHash) || strings.Trim(t.subjectHash, "0123456789abcdef") != "" ||
		shardOf(t.subjectHash) != shardOf(tokenHash) {
		return tokenRow{}, errors.New("token row of an impossible subject")
	}
	return t, nil
}
