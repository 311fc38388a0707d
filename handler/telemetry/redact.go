package telemetry

import (
	"math"
	"strings"
)

const (
	// maxLabel and maxID bound a label and an id in bytes.
	maxLabel = 128
	maxID    = 100
	// maxDigits is the longest run of digits in a label: shorter than any
	// card, account, social security or telephone number.
	maxDigits = 6
	// redacted stands for what may not be told.
	redacted = "[redacted]"
)

// methods are those of RFC 9110 and RFC 5789. A client may send any word.
const methods = " GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH "

// Redacted is the request as it may leave the process.
func (r Request) Redacted() Request {
	if !strings.Contains(methods, " "+r.Method+" ") {
		r.Method = "OTHER"
	}
	r.Route, r.Reason = label(r.Route), label(r.Reason)
	r.ID, r.Tenant, r.Caller = identifier(r.ID), identifier(r.Tenant), identifier(r.Caller)
	r.Client = r.Client.WithZone("") // free text
	return r
}

// Redacted is the dependency as it may leave the process.
func (d Dependency) Redacted() Dependency {
	d.Service, d.Target, d.Name = label(d.Service), label(d.Target), label(d.Name)
	return d
}

// Redacted is the exception as it may leave the process.
func (e Exception) Redacted() Exception {
	return Exception{Name: label(e.Name), Type: label(e.Type)}
}

// RedactName is an event's or metric's name as it may leave the process.
func RedactName(name string) string { return label(name) }

// ValidMetric reports whether a value can be sent: JSON has no other numbers.
func ValidMetric(value float64) bool { return !math.IsNaN(value) && !math.IsInf(value, 0) }

// label lets through what a name in the source code looks like: words of
// letters, a few digits and the punctuation of routes and types, cut off
// before a query or fragment.
func label(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	if len(s) > maxLabel {
		return redacted
	}
	digits := 0
	for i := range len(s) {
		b := s[i]
		switch {
		case '0' <= b && b <= '9':
			digits++
			if digits > maxDigits {
				return redacted
			}
			continue
		case 'A' <= b && b <= 'Z', 'a' <= b && b <= 'z':
		case strings.IndexByte(" ._-/:*{}$[]", b) >= 0:
			// "4111 1111" and "078-05-1120" are runs of digits too.
			if b == ' ' || b == '-' || b == '.' {
				continue
			}
		default:
			return redacted
		}
		digits = 0
	}
	return s
}

// identifier lets through ids that this system or Entra ID made: GUIDs and
// hex, alone or joined.
func identifier(s string) string {
	if len(s) > maxID {
		return redacted
	}
	for i := range len(s) {
		b := s[i]
		if (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && strings.IndexByte("-/:|._", b) < 0 {
			return redacted
		}
	}
	return s
}
