package operation

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"secureapi/handler/envelope"
)

// ErrForgedMessage: a queue message that this system did not write for this
// queue. It carries no authority and no work; the job raises an alarm.
var ErrForgedMessage = errors.New("queue message is not one of this system's")

// Doorbell is the content of a queue message: where to look, nothing more.
// Attempt only paces repeats.
type Doorbell struct {
	Tenant    string `json:"tenant"`
	Operation string `json:"operation"`
	// Part is the name of the part row to work on; "" means the whole
	// operation: ring for each part that is not done.
	Part    string `json:"part,omitzero"`
	Attempt int    `json:"attempt,omitzero"`
}

// messagePrefix makes a message opaque text: the Functions host merges the
// properties of a message that is a JSON object into the trigger metadata.
const messagePrefix = "d1."

// Bell seals and opens the doorbells of one queue.
type Bell struct {
	queue string
	keys  Keys
}

// NewBell returns the bell of a queue. The queue's name is part of the seal.
func NewBell(queue string, keys Keys) *Bell { return &Bell{queue: queue, keys: keys} }

// Seal gives the message text of a doorbell.
func (b *Bell) Seal(ctx context.Context, d Doorbell) (string, error) {
	keys, err := b.keys.ForWrite(ctx)
	if err != nil {
		return "", err
	}
	plaintext, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("encoding doorbell: %w", err)
	}
	sealed, err := envelope.Seal(keys.Message(), b.context(), plaintext)
	if err != nil {
		return "", fmt.Errorf("sealing doorbell: %w", err)
	}
	return messagePrefix + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open gives the doorbell of a message text, or ErrForgedMessage.
func (b *Bell) Open(ctx context.Context, text string) (Doorbell, error) {
	keys, err := b.keys.ForRead(ctx)
	if err != nil {
		return Doorbell{}, err
	}
	encoded, ok := strings.CutPrefix(text, messagePrefix)
	if !ok {
		return Doorbell{}, fmt.Errorf("%w: no known prefix", ErrForgedMessage)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the decoder passes over
		return Doorbell{}, fmt.Errorf("%w: not base64url", ErrForgedMessage)
	}
	plaintext, err := envelope.Open(keys.Message(), b.context(), sealed)
	if err != nil {
		return Doorbell{}, fmt.Errorf("%w: %w", ErrForgedMessage, err)
	}
	var d Doorbell
	if err := json.Unmarshal(plaintext, &d, json.RejectUnknownMembers(true)); err != nil {
		return Doorbell{}, fmt.Errorf("%w: unreadable content", ErrForgedMessage)
	}
	return d, nil
}

func (b *Bell) context() envelope.Context {
	return envelope.Context{Label: "message", Table: b.queue}
}
