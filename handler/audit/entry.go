// Package audit is the tamper-evident log of everything the vault does.
//
// An entry is canonical JSON (RFC 8785). Entries stand in streams: a process
// appends to a stream of its own, in one transaction that moves the stream's
// head by compare-and-swap and adds up to 99 entries of concurrent requests
// (group commit). Entries are hash-chained and MACed; SealAudit verifies each
// stream since the last checkpoint and writes the next one. Their entries are
// the leaves of an RFC 6962 Merkle tree, whose head is signed in the vault and
// published where nobody can take it back (package checkpoint).
//
// Table "audit", in a storage account of its own:
//
//	partition <stream id>      head, and e|<sequence>
//	partition streams          streams not yet sealed to their end
//	partition streams.closed   streams sealed to their end
//	partition checkpoints      <number>, and head
//	partition tree             head, and t|<level>|<n>: 256 hashes side by side
//	partition ids|<digit>      <entry id>|<index>: where an entry stands
//	partition notes            signed checkpoints, the newest first
//
// Trust boundary: a storage writer without the MAC key can alter nothing
// unnoticed. What he can do is put back an older state of a whole stream,
// head and tail, that was never sealed; the writing process notices at its
// next append. Entries hold no personal data: objects are pseudonyms derived
// from the data subject's key, so that an erasure unlinks them.
package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"secureapi/handler/authz"
	"secureapi/handler/telemetry"
)

// Phase is what an entry says about its action.
type Phase string

// The phases. Authorised stands before anything takes effect; Completed and
// Failed follow it with the same id.
const (
	Authorised Phase = "authorised"
	Completed  Phase = "completed"
	Failed     Phase = "failed"
	Denied     Phase = "denied"
	Alarm      Phase = "alarm"
	Counted    Phase = "counted"
)

// OCSF class ids (https://schema.ocsf.io/).
const (
	classAuthentication = 3002
	classAPIActivity    = 6003
)

// MaxObjects is the number of objects that one entry names; Count has them all.
const MaxObjects = 100

// Entry is one fact. Every field is chosen by this system; none holds a
// value, a token or a client's free text. The fields of this type, Actor and
// Object stand in the order of their names, so that what is encoded is canonical
// as it is.
type Entry struct {
	Action string `json:"action"`
	Actor  Actor  `json:"actor"`
	Class  int    `json:"classUid"`
	Count  int    `json:"count,omitzero"`
	ID     string `json:"id"`
	// InaccessibleAt and IrrecoverableAt are an erasure's receipt.
	InaccessibleAt  time.Time `json:"inaccessibleAt,omitzero"`
	Instance        string    `json:"instance"`
	IrrecoverableAt time.Time `json:"irrecoverableAt,omitzero"`
	Objects         []Object  `json:"objects,omitzero"`
	Operation       string    `json:"operation,omitzero"`
	Phase           Phase     `json:"phase"`
	Purpose         string    `json:"purpose,omitzero"`
	Reason          string    `json:"reason,omitzero"`
	ReasonCode      string    `json:"reasonCode,omitzero"`
	// Salt keeps a leaf's hash from confirming a guess of its content.
	Salt string `json:"salt"`
	// SpanID is that of the call's lines in the request log, which have the
	// trace beside it. A trace's id is the client's choice, up to 16 bytes of it.
	SpanID string    `json:"spanId,omitzero"`
	Time   time.Time `json:"time"`
}

// Actor is who acted.
type Actor struct {
	AuthContexts []string `json:"acrs,omitzero"`
	Client       string   `json:"client,omitzero"`
	ID           string   `json:"id,omitzero"`
	Kind         string   `json:"kind,omitzero"`
	Operation    string   `json:"operation,omitzero"`
	Roles        []string `json:"roles,omitzero"`
	Tenant       string   `json:"tenant,omitzero"`
	TokenID      string   `json:"tokenId,omitzero"`
}

// ActorOf describes a principal.
func ActorOf(p authz.Principal) Actor {
	a := Actor{
		Kind: string(p.Kind), Tenant: p.TenantID, ID: p.ID(), Client: p.ClientID,
		AuthContexts: p.AuthContexts, TokenID: p.TokenID, Operation: p.Operation(),
	}
	for _, role := range p.Roles {
		a.Roles = append(a.Roles, string(role))
	}
	return a
}

// Object is what was acted on.
type Object struct {
	Class     string `json:"class,omitzero"`
	KeyID     string `json:"keyId,omitzero"`
	Pseudonym string `json:"pseudonym"`
}

// NewID draws an entry id: 128 random bits in hex.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return hex.EncodeToString(b[:])
}

// encode completes the entry and gives its canonical bytes: names in order,
// strings in their shortest form, no number but a small integer. Every entry
// comes by here once, so that no alarm can be left untold: telemetry has it
// even where the entry cannot be stored.
func (l *Log) encode(ctx context.Context, e Entry) ([]byte, error) {
	if e.Phase == Alarm {
		l.Telemetry.Event(ctx, telemetry.EventAlarm)
	}
	if e.ID == "" {
		e.ID = NewID()
	}
	if e.Class == 0 {
		e.Class = classAPIActivity
	}
	e.Time, e.Instance, e.Salt = l.Clock().UTC().Truncate(time.Millisecond), l.Instance, NewID()
	e.SpanID = cmp.Or(e.SpanID, telemetry.SpanID(ctx))
	if len(e.Objects) > 0 {
		e.Count = max(e.Count, len(e.Objects))
	}
	if len(e.Objects) > MaxObjects {
		e.Objects = e.Objects[:MaxObjects]
	}
	b, err := json.Marshal(e, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encoding audit entry: %w", err)
	}
	return b, nil
}

func decodeEntry(b []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(b, &e, json.RejectUnknownMembers(true)); err != nil {
		return Entry{}, fmt.Errorf("decoding audit entry: %w", err)
	}
	return e, nil
}
