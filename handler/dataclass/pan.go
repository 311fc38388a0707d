package dataclass

import (
	"io"
	"strings"
	"time"
)

const (
	minPAN  = 12 // ISO/IEC 7812-1
	maxPAN  = 19
	keptPAN = 4
)

// pan is a payment card number: 12 to 19 digits, single spaces or hyphens
// between groups allowed, with a valid Luhn check digit (ISO/IEC 7812-1).
func pan() Definition {
	return Definition{
		class: PAN, short: "pan", sensitivity: Restricted,
		parse: parsePAN, mask: maskLast4, preserve: preservePAN,
	}
}

func parsePAN(raw string, _ time.Time) (string, *ValueError) {
	digits, ok := joinGroups(raw)
	if !ok || len(digits) < minPAN || len(digits) > maxPAN {
		return "", refused(PAN, "syntax", "must be 12 to 19 digits, grouped by single spaces or hyphens at most")
	}
	if digits[0] == '0' || strings.Count(digits, digits[:1]) == len(digits) {
		return "", refused(PAN, "issuer", "does not begin with an issuer's number")
	}
	if !luhn(digits) {
		return "", refused(PAN, "checksum", "has a wrong check digit")
	}
	return digits, nil
}

// joinGroups takes out single spaces and hyphens between digits.
func joinGroups(raw string) (string, bool) {
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case '0' <= c && c <= '9':
			b.WriteByte(c)
		case (c == ' ' || c == '-') && i > 0 && i < len(raw)-1 && raw[i-1] >= '0' && raw[i-1] <= '9':
		default:
			return "", false
		}
		if b.Len() > maxPAN {
			return "", false
		}
	}
	return b.String(), true
}

// luhn checks the last digit (ISO/IEC 7812-1 annex B).
func luhn(digits string) bool {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

func maskLast4(canonical string) string {
	return strings.Repeat("*", len(canonical)-keptPAN) + canonical[len(canonical)-keptPAN:]
}

// preservePAN keeps length and last four digits. The check digit is always
// wrong, so that a token is never a card number, and no card number a token.
func preservePAN(draw io.Reader, canonical string) (string, error) {
	kept := canonical[len(canonical)-keptPAN:]
	for {
		digits, err := drawDigits(draw, len(canonical)-keptPAN)
		if err != nil {
			return "", err
		}
		if token := string(digits) + kept; digits[0] != '0' && !luhn(token) {
			return token, nil
		}
	}
}

func isPANToken(token string) bool {
	return len(token) >= minPAN && len(token) <= maxPAN && allDigits(token) && token[0] != '0' && !luhn(token)
}

func allDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
