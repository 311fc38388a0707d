package dataclass

import (
	"regexp"
	"strings"
	"time"
)

// The shapes that Detects looks for. A bare run of nine digits is too common
// in case references to be called a social security number; with its hyphens
// it is one.
var (
	digitRuns  = regexp.MustCompile(`[0-9]+(?:[ -][0-9]+)*`)
	ssnShape   = regexp.MustCompile(`(?:^|[^0-9])([0-9]{3}-[0-9]{2}-[0-9]{4})(?:[^0-9]|$)`)
	emailShape = regexp.MustCompile(`[^\s@]+@[^\s@]+\.[^\s@]+`)
	phoneShape = regexp.MustCompile(`\+[0-9][0-9 ().-]{6,}[0-9]`)
)

// Detects reports whether a short text, meant to be a reference, holds what
// looks like personal data: a card number that passes its checksum, a social
// security number in its hyphens, an e-mail address, or a telephone number in
// international form.
func Detects(short string) (Class, bool) {
	for _, run := range digitRuns.FindAllString(short, -1) {
		if holdsPAN(strings.FieldsFunc(run, func(r rune) bool { return r == ' ' || r == '-' })) {
			return PAN, true
		}
	}
	if holdsSSN(short) {
		return SSN, true
	}
	if emailShape.MatchString(short) {
		return Email, true
	}
	if phoneShape.MatchString(short) {
		return Phone, true
	}
	return "", false
}

// holdsPAN looks at every sequence of neighbouring groups: other numbers may
// stand before and after a card number.
func holdsPAN(groups []string) bool {
	for i := range groups {
		digits := ""
		for _, group := range groups[i:] {
			if digits += group; len(digits) > maxPAN {
				break
			}
			if _, err := parsePAN(digits, time.Time{}); err == nil {
				return true
			}
		}
	}
	return false
}

// holdsSSN goes on right after each number, since the character between two
// of them bounds both.
func holdsSSN(rest string) bool {
	for {
		at := ssnShape.FindStringSubmatchIndex(rest)
		if at == nil {
			return false
		}
		if area, _, _, ok := splitSSN(rest[at[2]:at[3]]); ok && assignable(area) {
			return true
		}
		rest = rest[at[3]:]
	}
}
