package dataclass

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const maxName = 200

// name is a person's name in any script: letters, marks, spaces, apostrophes,
// hyphens, periods and middle dots. Canonical is NFC with single spaces.
func name() Definition {
	return Definition{class: Name, short: "nam", parse: parseName, mask: maskName}
}

func parseName(raw string, _ time.Time) (string, *ValueError) {
	if !utf8.ValidString(raw) {
		return "", refused(Name, "encoding", "is not valid UTF-8")
	}
	canonical := norm.NFC.String(strings.Join(strings.Fields(raw), " "))
	if n := utf8.RuneCountInString(canonical); n == 0 || n > maxName {
		return "", refused(Name, "length", "must be 1 to 200 characters")
	}
	letters := false
	for _, r := range canonical {
		if unicode.IsLetter(r) {
			letters = true
		} else if !unicode.IsMark(r) && !strings.ContainsRune(" '’ʼ-‐.·・,", r) && r != zwj && r != zwnj {
			return "", refused(Name, "character", "holds a character that names do not have")
		}
	}
	if !letters {
		return "", refused(Name, "letters", "must hold a letter")
	}
	return canonical, nil
}

// The joiners shape letters in Indic and Arabic scripts.
const (
	zwnj = '\u200c'
	zwj  = '\u200d'
)

// maskName shows the first letter of each word of two or more letters.
func maskName(canonical string) string {
	words := strings.Fields(canonical)
	for i, word := range words {
		words[i] = "***"
		if utf8.RuneCountInString(word) >= 2 {
			r, _ := utf8.DecodeRuneInString(word)
			words[i] = string(r) + "***"
		}
	}
	return strings.Join(words, " ")
}

// isWritten: a rune of writing, not a control, format or private one.
func isWritten(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r)
}
