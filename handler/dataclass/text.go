package dataclass

import (
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const maxText = 4096

// text is free text: 1 to 4096 bytes of UTF-8 in NFC, without control
// characters but tab and line feed.
func text() Definition {
	return Definition{class: Text, short: "txt", parse: parseText, mask: func(string) string { return "***" }}
}

func parseText(raw string, _ time.Time) (string, *ValueError) {
	if !utf8.ValidString(raw) {
		return "", refused(Text, "encoding", "is not valid UTF-8")
	}
	if len(raw) > 2*maxText {
		return "", refused(Text, "length", "must be 1 to 4096 bytes")
	}
	canonical := norm.NFC.String(raw)
	if canonical == "" || len(canonical) > maxText {
		return "", refused(Text, "length", "must be 1 to 4096 bytes")
	}
	for _, r := range canonical {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return "", refused(Text, "character", "holds a control character")
		}
	}
	return canonical, nil
}
