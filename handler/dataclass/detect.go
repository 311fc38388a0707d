package dataclass

import "regexp"

// The shapes that Detects looks for. A bare run of nine digits is too common
// in case references to be called a social security number; with its hyphens
// it is one.
var (
	panShape   = regexp.MustCompile(`[0-9](?:[ -]?[0-9]){11,18}`)
	ssnShape   = regexp.MustCompile(`(?:^|[^0-9])([0-9]{3}-[0-9]{2}-[0-9]{4})(?:[^0-9]|$)`)
	emailShape = regexp.MustCompile(`[^\s@]+@[^\s@]+\.[^\s@]+`)
	phoneShape = regexp.MustCompile(`\+[0-9][0-9 ().-]{6,}[0-9]`)
)

// Detects reports whether a short text, meant to be a reference, holds what
// looks like personal data: a card number that passes its checksum, a social
// security number in its hyphens, an e-mail address, or a telephone number in
// international form.
func Detects(short string) (Class, bool) {
	for _, m := range panShape.FindAllString(short, -1) {
		if digits, ok := joinGroups(m); ok && luhn(digits) {
			return PAN, true
		}
	}
	for _, m := range ssnShape.FindAllStringSubmatch(short, -1) {
		if area, _, _, ok := splitSSN(m[1]); ok && assignable(area) {
			return SSN, true
		}
	}
	if emailShape.MatchString(short) {
		return Email, true
	}
	if phoneShape.MatchString(short) {
		return Phone, true
	}
	return "", false
}
