package dataclass

import (
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"
)

// phone is a telephone number in international form; canonical is E.164.
// National forms are refused: the API has no region to read them in.
func phone() Definition {
	return Definition{class: Phone, short: "tel", parse: parsePhone, mask: maskPhone}
}

const maxPhone = 40

func parsePhone(raw string, _ time.Time) (string, *ValueError) {
	trimmed := strings.TrimSpace(raw)
	if !strings.HasPrefix(trimmed, "+") || len(trimmed) > maxPhone {
		return "", refused(Phone, "syntax", "must be in international form, beginning with +")
	}
	if strings.Trim(trimmed[1:], "0123456789 -.()/") != "" {
		return "", refused(Phone, "syntax", "must be digits, grouped by spaces, hyphens, dots or brackets at most")
	}
	number, err := phonenumbers.Parse(trimmed, "ZZ")
	// A number that can only be dialled inside its country is not enough.
	if err != nil || phonenumbers.IsPossibleNumberWithReason(number) != phonenumbers.IS_POSSIBLE {
		return "", refused(Phone, "number", "is not a possible number of its country")
	}
	return phonenumbers.Format(number, phonenumbers.E164), nil
}

// maskPhone shows the last two digits.
func maskPhone(canonical string) string {
	const kept = 2
	return "+" + strings.Repeat("*", len(canonical)-1-kept) + canonical[len(canonical)-kept:]
}
