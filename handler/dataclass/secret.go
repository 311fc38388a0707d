package dataclass

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds personal data and shows it to nobody but a caller of Reveal or
// RevealString. Every printing, encoding and logging form is "[redacted]". The
// value stands behind a function because fmt calls no method on a Secret in an
// unexported field of another struct: it would print the bytes, and behind a
// pointer too for some verbs. Of a function it prints the address only.
type Secret struct{ value func() []byte }

// NewSecret takes the bytes over; the caller does not use them again.
func NewSecret(value []byte) Secret { return Secret{func() []byte { return value }} }

// Reveal gives the value itself. Grep for this call to find every use.
func (s Secret) Reveal() []byte {
	if s.value == nil {
		return nil
	}
	return s.value()
}

// RevealString is Reveal as a string.
func (s Secret) RevealString() string { return string(s.Reveal()) }

// Len is the length in bytes.
func (s Secret) Len() int { return len(s.Reveal()) }

// Equal compares in constant time.
func (s Secret) Equal(o Secret) bool { return subtle.ConstantTimeCompare(s.Reveal(), o.Reveal()) == 1 }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the value out of JSON and every other encoding.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
