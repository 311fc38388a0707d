package dataclass

import "time"

// earliestBirth is before the birth of the oldest person known (1875).
const earliestBirth = 1870

// dateOfBirth is a calendar date as YYYY-MM-DD (ISO 8601), not in the future
// anywhere on earth.
func dateOfBirth() Definition {
	return Definition{
		class: DateOfBirth, short: "dob", parse: parseDateOfBirth,
		mask: func(string) string { return "****-**-**" },
	}
}

func parseDateOfBirth(raw string, now time.Time) (string, *ValueError) {
	date, err := time.Parse(time.DateOnly, raw)
	if err != nil {
		return "", refused(DateOfBirth, "syntax", "must be a calendar date as YYYY-MM-DD")
	}
	if date.Year() < earliestBirth {
		return "", refused(DateOfBirth, "too_early", "is before any living person's birth")
	}
	const easternmost = 14 * time.Hour // UTC+14 has the day first
	if date.After(now.UTC().Add(easternmost)) {
		return "", refused(DateOfBirth, "future", "is in the future")
	}
	return raw, nil
}
