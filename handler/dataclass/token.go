package dataclass

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// An opaque token is "tok_", the class' short name, "_", and 160 random bits
// in Crockford's base 32 in lower case: no i, l, o, u to be misread.
const (
	tokenPrefix   = "tok_"
	tokenRandom   = 20
	tokenAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	tokenDigits   = tokenRandom * 8 / 5
)

// ErrFormatUnsupported: the class has no format-preserving tokens.
var ErrFormatUnsupported = errors.New("class has no format-preserving token")

// ErrToken: a text that cannot be a token. It says nothing about the text.
var ErrToken = errors.New("not a token")

// Token draws an opaque token.
func (d Definition) Token(draw io.Reader) (string, error) {
	var b [tokenRandom]byte
	if _, err := io.ReadFull(draw, b[:]); err != nil {
		return "", fmt.Errorf("drawing token: %w", err)
	}
	token := make([]byte, 0, len(tokenPrefix)+len(d.short)+1+tokenDigits)
	token = append(token, tokenPrefix...)
	token = append(token, d.short...)
	token = append(token, '_')
	bits, n := uint(0), 0
	for _, x := range b {
		bits, n = bits<<8|uint(x), n+8
		for ; n >= 5; n -= 5 {
			token = append(token, tokenAlphabet[bits>>(n-5)&31])
		}
	}
	return string(token), nil
}

// FormatPreserving draws a token that looks like the value, keeps its last
// four digits and can never be a valid value itself. It is a random draw, not
// encryption: nothing links it to the value but the table.
func (d Definition) FormatPreserving(draw io.Reader, value Secret) (string, error) {
	if d.preserve == nil {
		return "", ErrFormatUnsupported
	}
	return d.preserve(draw, value.RevealString())
}

// ParseToken checks a token's shape and gives its class. What could be a
// value, such as a card number that passes its checksum, is not a token.
func ParseToken(token string) (Class, error) {
	if rest, ok := strings.CutPrefix(token, tokenPrefix); ok {
		short, digits, ok := strings.Cut(rest, "_")
		if !ok || len(digits) != tokenDigits || strings.Trim(digits, tokenAlphabet) != "" {
			return "", ErrToken
		}
		for _, d := range definitions() {
			if d.short == short {
				return d.class, nil
			}
		}
		return "", ErrToken
	}
	switch {
	case isPANToken(token):
		return PAN, nil
	case isSSNToken(token):
		return SSN, nil
	default:
		return "", ErrToken
	}
}

// drawDigits draws n decimal digits without bias: bytes over 249 are drawn again.
func drawDigits(draw io.Reader, n int) ([]byte, error) {
	digits := make([]byte, 0, n)
	var b [32]byte
	for len(digits) < n {
		if _, err := io.ReadFull(draw, b[:]); err != nil {
			return nil, fmt.Errorf("drawing digits: %w", err)
		}
		for _, x := range b {
			if x < 250 && len(digits) < n {
				digits = append(digits, '0'+x%10)
			}
		}
	}
	return digits, nil
}
