package host

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// The body of an invocation, byte for byte as the host's serializer writes it.

// members is a JSON object whose names keep their order and are compared
// without case.
type members []member

type member struct{ name, value string } // value is JSON

// set adds a member or replaces one in its place.
func (m *members) set(name, value string) {
	for i := range *m {
		if strings.EqualFold((*m)[i].name, name) {
			(*m)[i].value = value
			return
		}
	}
	*m = append(*m, member{name, value})
}

func (m members) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, x := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(x.name) + ":" + x.value)
	}
	b.WriteByte('}')
	return b.String()
}

// quote encodes a string as the host's serializer does.
func quote(s string) string {
	const hex = "0123456789abcdef"
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\f': `\f`, '\r': `\r`}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case short[r] != "":
			b.WriteString(short[r])
		case r < 0x20, r == 0x85, r == 0x2028, r == 0x2029:
			b.WriteString(`\u` + string([]byte{hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15]}))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// quoteTwice is how text stands in Data and Metadata.
func quoteTwice(s string) string { return quote(quote(s)) }

// offsetTime writes a .NET DateTimeOffset: seven digits at most, offset +00:00.
func offsetTime(t time.Time) string {
	return t.UTC().Truncate(100*time.Nanosecond).Format("2006-01-02T15:04:05.9999999") + "+00:00"
}

// never is the largest DateTimeOffset to the second.
func never() time.Time { return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }

// sys is the part of the metadata that belongs to every invocation.
func sys(function string, now time.Time) string {
	utc := now.UTC().Truncate(100*time.Nanosecond).Format("2006-01-02T15:04:05.9999999") + "Z"
	return `{"MethodName":` + quote(function) + `,"UtcNow":` + quote(utc) + `,"RandGuid":"` + uuid.NewString() + `"}`
}

// queueFacts are what the host knows of a message. ID and PopReceipt are empty
// for one that the admin endpoint made up.
type queueFacts struct {
	id, popReceipt                     string
	dequeueCount                       int64
	insertion, expiration, nextVisible time.Time
}

// queuePayload is the invocation for one message. A message that is a JSON
// object has its properties merged over the metadata: whoever writes to the
// queue writes the host's own account of the message, DequeueCount and Id
// included.
func queuePayload(function, binding, message string, facts queueFacts, now time.Time) string {
	var metadata members
	metadata.set("DequeueCount", quote(strconv.FormatInt(facts.dequeueCount, 10)))
	metadata.set("ExpirationTime", quote(offsetTime(facts.expiration)))
	if facts.id != "" {
		metadata.set("Id", quoteTwice(facts.id))
	}
	metadata.set("InsertionTime", quote(offsetTime(facts.insertion)))
	metadata.set("NextVisibleTime", quote(offsetTime(facts.nextVisible)))
	if facts.popReceipt != "" {
		metadata.set("PopReceipt", quoteTwice(facts.popReceipt))
	} else {
		metadata.set(binding, quoteTwice(message))
	}
	metadata.set("sys", sys(function, now))
	mergeObject(&metadata, message)
	return envelope(binding, quoteTwice(message), metadata)
}

func envelope(binding, value string, metadata members) string {
	return members{
		{"Data", members{{binding, value}}.String()},
		{"Metadata", metadata.String()},
	}.String()
}

// mergeObject lays the properties of a message that is a JSON object over the
// metadata. Anything else has none. Top-level arrays are left out: what the host
// makes of them was not observed.
func mergeObject(metadata *members, message string) {
	trimmed := strings.TrimFunc(message, unicode.IsSpace)
	if !strings.HasPrefix(trimmed, "{") || !strings.HasSuffix(trimmed, "}") {
		return
	}
	properties, err := parseObject(trimmed)
	if err != nil {
		return
	}
	for _, p := range properties {
		if value, ok := metadataValue(jsontext.Value(p.value)); ok {
			metadata.set(p.name, value)
		}
	}
}

// parseObject reads the members of an object; of a repeated name the last.
func parseObject(text string) (members, error) {
	d := jsontext.NewDecoder(strings.NewReader(text), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	var found members
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		found.set(key, string(value))
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text behind the object")
	}
	return found, nil
}

// metadataValue converts a property as the host's binding data does: text of
// the invariant culture, quoted twice; nested objects as they are.
func metadataValue(v jsontext.Value) (string, bool) {
	switch v.Kind() {
	case '{':
		compact := bytes.Clone(v)
		value := jsontext.Value(compact)
		if err := value.Compact(); err != nil {
			return "", false
		}
		return string(value), true
	case 't':
		return quoteTwice("True"), true
	case 'f':
		return quoteTwice("False"), true
	case '0':
		return quoteTwice(number(string(v))), true
	case '"':
		text, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return "", false
		}
		return quoteTwice(date(string(text))), true
	default:
		return "", false
	}
}

// number writes an integer as it came and anything else as a .NET double.
func number(literal string) string {
	if !strings.ContainsAny(literal, ".eE") {
		return literal
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil && math.IsInf(f, 0) {
		if f < 0 {
			return "-Infinity"
		}
		return "Infinity"
	}
	if exp := math.Abs(f); exp != 0 && (exp >= 1e15 || exp < 1e-5) {
		text := strconv.FormatFloat(f, 'E', -1, 64)
		return text
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// date rewrites what the host's parser takes for a date.
func date(text string) string {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Format("01/02/2006 15:04:05")
		}
	}
	return text
}
