package dataclass

import (
	"io"
	"strings"
	"time"
)

// ssn is a United States social security number in its nine digits, with or
// without the hyphens. Area 000, 666 and 900-999, group 00 and serial 0000
// are never assigned (https://www.ssa.gov/employer/randomization.html).
func ssn() Definition {
	return Definition{
		class: SSN, short: "ssn", sensitivity: Restricted,
		parse: parseSSN, mask: func(s string) string { return "***-**-" + s[7:] }, preserve: preserveSSN,
	}
}

func parseSSN(raw string, _ time.Time) (string, *ValueError) {
	area, group, serial, ok := splitSSN(raw)
	if !ok {
		return "", refused(SSN, "syntax", "must be nine digits, as 000-00-0000 or without hyphens")
	}
	if !assignable(area) || group == "00" || serial == "0000" {
		return "", refused(SSN, "unassigned", "is a number that is never assigned")
	}
	return area + "-" + group + "-" + serial, nil
}

func splitSSN(raw string) (area, group, serial string, ok bool) {
	if len(raw) == 11 && raw[3] == '-' && raw[6] == '-' {
		raw = raw[:3] + raw[4:6] + raw[7:]
	}
	if len(raw) != 9 || !allDigits(raw) {
		return "", "", "", false
	}
	return raw[:3], raw[3:5], raw[5:], true
}

func assignable(area string) bool { return area != "000" && area != "666" && area[0] != '9' }

// preserveSSN keeps the last four digits and draws area and group; the area
// 900 to 999 is never a social security number.
func preserveSSN(draw io.Reader, canonical string) (string, error) {
	digits, err := drawDigits(draw, 4)
	if err != nil {
		return "", err
	}
	d := string(digits)
	return strings.Join([]string{"9" + d[:2], d[2:], canonical[7:]}, "-"), nil
}

func isSSNToken(token string) bool {
	area, _, _, ok := splitSSN(token)
	return ok && len(token) == 11 && area[0] == '9'
}
