package host

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// The two steps that a path takes through the real host. Both are observed; a
// stand-in that skipped them would hide the attacks that they make possible.
//
//	target --Kestrel--> decoded path: routing --System.Uri--> target at the handler
//
// In forwarding mode the second step starts from the decoded path. That is how
// %5c becomes a slash, `..` behind it climbs out of the route, and %3f cuts the
// path off.

var errBadPath = errors.New("the path holds a NUL")

// serverPath decodes a raw path as the host's web server does: everything but
// %2F, invalid UTF-8 left as it is, and then folds dot segments.
func serverPath(raw string) (string, error) {
	decoded := unescape(raw, true)
	if strings.ContainsRune(decoded, 0) {
		return "", errBadPath
	}
	return removeDotSegments(decoded), nil
}

// unescape resolves percent-escapes as far as they are valid UTF-8.
func unescape(s string, keepSlash bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		run := escapedRun(s[i:])
		if len(run) == 0 {
			b.WriteByte(s[i])
			i++
			continue
		}
		for len(run) > 0 {
			r, size := utf8.DecodeRune(run)
			escaped := s[i : i+3*size]
			if (r == utf8.RuneError && size == 1) || (keepSlash && r == '/') {
				b.WriteString(escaped)
			} else {
				b.WriteRune(r)
			}
			run, i = run[size:], i+3*size
		}
	}
	return b.String()
}

// escapedRun decodes the escapes that s begins with.
func escapedRun(s string) []byte {
	var run []byte
	for len(s) >= 3 && s[0] == '%' && isHex(s[1]) && isHex(s[2]) {
		run = append(run, unhex(s[1])<<4|unhex(s[2]))
		s = s[3:]
	}
	return run
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	default:
		return c - '0'
	}
}

// removeDotSegments folds `.` and `..` (RFC 3986, 5.2.4) and keeps empty
// segments.
func removeDotSegments(path string) string {
	var out []string
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch part {
		case ".", "..":
			if part == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, part)
		}
	}
	return "/" + strings.Join(out, "/")
}

// forwardedTarget makes the target that the handler sees in forwarding mode
// from the decoded path and the raw query.
func forwardedTarget(path, rawQuery string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	query := rebuildQuery(rawQuery)
	if query == "" {
		// Only at the end of the whole address is white space trimmed.
		path = strings.TrimRight(path, " \t\r\n")
	}
	path = removeDotSegments(strings.ReplaceAll(path, `\`, "/"))
	target := escape(path, "-._~!$&'()*+,;=:@/[]", true)
	if query != "" {
		target += "?" + query
	}
	return target
}

// escape percent-encodes everything but letters, digits and the given
// punctuation, and, if asked, what is an escape already.
func escape(s, keep string, keepEscapes bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(keep, c) >= 0,
			keepEscapes && c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b.WriteByte(c)
		default:
			b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
		}
	}
	return b.String()
}

// rebuildQuery parses a query and writes it anew as the host does in forwarding
// mode: names without regard to case, repeated ones joined by commas, `flag`
// as `flag=`.
func rebuildQuery(raw string) string {
	type item struct{ name, value string }
	var items []item
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = queryText(name), queryText(value)
		known := false
		for i := range items {
			if strings.EqualFold(items[i].name, name) {
				items[i].value += "," + value
				known = true
			}
		}
		if !known {
			items = append(items, item{name, value})
		}
	}
	parts := make([]string, len(items))
	for i, it := range items {
		parts[i] = escapeQuery(it.name) + "=" + escapeQuery(it.value)
	}
	return strings.Join(parts, "&")
}

func queryText(s string) string { return unescape(strings.ReplaceAll(s, "+", " "), false) }

// escapeQuery keeps what .NET's UrlEncoder keeps.
func escapeQuery(s string) string { return escape(s, "-._~!$()*,;@", false) }

// proxiedPath folds dot segments as the web server does, and otherwise keeps
// the path's encoding byte for byte: proxying mode.
func proxiedPath(raw string) string {
	parts := strings.Split(raw, "/")
	for i, part := range parts {
		if d := unescape(part, true); d == "." || d == ".." {
			parts[i] = d
		}
	}
	return removeDotSegments(strings.Join(parts, "/"))
}
