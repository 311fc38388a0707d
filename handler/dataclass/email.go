package dataclass

import (
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

const (
	maxLocal  = 64  // RFC 5321 section 4.5.3.1.1
	maxDomain = 253 // RFC 1035 section 2.3.4, without the root
	maxLabel  = 63  // RFC 1035 section 2.3.4
	maxEmail  = 254 // RFC 5321 section 4.5.3.1.3
	// localExtra are the characters that an unquoted local part may hold
	// beside letters and digits (RFC 5322 section 3.2.3, atext).
	localExtra = "!#$%&'*+-/=?^_`{|}~."
)

// email is an address with an unquoted local part, in ASCII or UTF-8
// (RFC 6531). The domain becomes its lower-case ASCII form (IDNA2008); the
// local part keeps its case, since only its host knows what case means.
func email() Definition {
	return Definition{class: Email, short: "eml", parse: parseEmail, mask: maskEmail}
}

func parseEmail(raw string, _ time.Time) (string, *ValueError) {
	syntax := refused(Email, "syntax", "must be an address such as user@example.com")
	if !utf8.ValidString(raw) || len(raw) > 2*maxEmail {
		return "", syntax
	}
	raw = norm.NFC.String(raw)
	at := strings.LastIndexByte(raw, '@')
	if at < 1 {
		return "", syntax
	}
	local, domain := raw[:at], raw[at+1:]
	if !validLocal(local) {
		return "", refused(Email, "local_part", "has a local part that is not accepted")
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || !validDomain(ascii) {
		return "", refused(Email, "domain", "has no valid domain name")
	}
	canonical := local + "@" + strings.ToLower(ascii)
	if len(canonical) > maxEmail {
		return "", refused(Email, "length", "is longer than 254 bytes")
	}
	return canonical, nil
}

// validDomain: two labels or more, of 1 to 63 bytes. The lookup profile of
// idna leaves lengths to the resolver.
func validDomain(ascii string) bool {
	if len(ascii) > maxDomain || !strings.Contains(ascii, ".") {
		return false
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return true
}

func validLocal(local string) bool {
	if len(local) > maxLocal || local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") {
		return false
	}
	for _, r := range local {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune(localExtra, r):
		case r >= utf8.RuneSelf && isWritten(r):
		default:
			return false
		}
	}
	return true
}

// maskEmail shows the first character of a local part of three or more, and
// of the domain its last label only.
func maskEmail(canonical string) string {
	local, domain, _ := strings.Cut(canonical, "@")
	shown := "***"
	if utf8.RuneCountInString(local) >= 3 {
		r, _ := utf8.DecodeRuneInString(local)
		shown = string(r) + "***"
	}
	return shown + "@***" + domain[strings.LastIndexByte(domain, '.'):]
}
