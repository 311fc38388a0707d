package customhandler

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Invocation is one queue message as the host delivered it.
//
// Everything but Function is written by whoever can write to the queue or
// reach the handler's port. Only Message, once unsealed, means anything.
type Invocation struct {
	// Function is the name under which the route was registered.
	Function string
	// InvocationID is the host's id of this call, for correlation; may be "".
	InvocationID string
	// Message is the exact text of the queue message.
	Message string

	// The rest is the host's account of the message. The host lets the
	// properties of a message that is a JSON object override its own
	// metadata, so for such a message all of it is left zero.

	// ID is the id of the queue message, or "".
	ID string
	// DequeueCount tells the how-manieth delivery this is: 0 to
	// MaxDequeueCount, 0 when it is unknown.
	DequeueCount int
	// InsertionTime and ExpirationTime bound the message's life in the
	// queue; NextVisibleTime is when another delivery may begin.
	InsertionTime, ExpirationTime, NextVisibleTime time.Time
}

// MaxDequeueCount is the highest believable number of deliveries. The host
// moves a message to the poison queue after maxDequeueCount (5) of them.
const MaxDequeueCount = 1000

// envelope is the outer form of every invocation.
type envelope struct {
	Data     map[string]jsontext.Value `json:"Data"`
	Metadata map[string]jsontext.Value `json:"Metadata"`
}

// DecodeQueue decodes the delivery of a queue message to function, whose
// binding in function.json is named binding. The error wraps ErrNotInvocation
// or ErrBody and holds no data.
func DecodeQueue(r *http.Request, function, binding string) (Invocation, error) {
	data, metadata, err := decode(r, function, binding)
	if err != nil {
		return Invocation{}, err
	}
	// Data.<binding> is a JSON string that holds the JSON encoding of the
	// message text.
	encoded, err := stringValue(data)
	if err != nil {
		return Invocation{}, bodyError("decoding the binding")
	}
	message, err := stringValue(jsontext.Value(encoded))
	if err != nil {
		return Invocation{}, bodyError("decoding the message text")
	}
	in := Invocation{Function: function, InvocationID: InvocationID(r), Message: message}
	if overridesMetadata(message) {
		return in, nil
	}
	if err := in.readMetadata(metadata); err != nil {
		return Invocation{}, err
	}
	return in, nil
}

// decode checks and reads the request and returns the one binding it may have.
func decode(r *http.Request, function, binding string) (jsontext.Value, map[string]jsontext.Value, error) {
	if err := checkEnvelope(r, function); err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, nil, bodyError("limiting the body")
		}
		return nil, nil, bodyError("reading the body")
	}
	var e envelope
	// The decoder's error quotes names and offsets of the body: dropped.
	if err := json.Unmarshal(text, &e, json.RejectUnknownMembers(true)); err != nil {
		return nil, nil, bodyError("decoding the envelope")
	}
	value, ok := e.Data[binding]
	if !ok || len(e.Data) != 1 {
		return nil, nil, bodyError("finding the binding")
	}
	return value, e.Metadata, nil
}

// overridesMetadata reports whether the host may have merged the message's own
// properties into its metadata: it does so for a text that, trimmed, is a JSON
// object, in the lenient reading of the host's parser.
func overridesMetadata(message string) bool {
	trimmed := strings.TrimLeftFunc(message, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	})
	return strings.HasPrefix(trimmed, "{")
}

func (in *Invocation) readMetadata(m map[string]jsontext.Value) error {
	id, err := scalar(m["Id"])
	if err != nil {
		return bodyError("decoding Metadata.Id")
	}
	in.ID = id
	if in.DequeueCount, err = count(m["DequeueCount"]); err != nil {
		return bodyError("decoding Metadata.DequeueCount")
	}
	for name, field := range map[string]*time.Time{
		"InsertionTime":   &in.InsertionTime,
		"ExpirationTime":  &in.ExpirationTime,
		"NextVisibleTime": &in.NextVisibleTime,
	} {
		if *field, err = metadataTime(m[name]); err != nil {
			return bodyError("decoding Metadata." + name)
		}
	}
	return nil
}

// scalar reads a metadata value. The host writes numbers and times as strings
// and strings as strings that hold a JSON string. Absent is "".
func scalar(v jsontext.Value) (string, error) {
	if len(v) == 0 {
		return "", nil
	}
	s, err := stringValue(v)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(s, `"`) {
		return stringValue(jsontext.Value(s))
	}
	return s, nil
}

// count reads a number of deliveries. Only plain digits are accepted: a sign,
// a fraction or an exponent has no business here.
func count(v jsontext.Value) (int, error) {
	s, err := scalar(v)
	if err != nil || s == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > MaxDequeueCount {
		return 0, ErrBody
	}
	return int(n), nil
}

func metadataTime(v jsontext.Value) (time.Time, error) {
	s, err := scalar(v)
	if err != nil || s == "" {
		return time.Time{}, err
	}
	return hostTime(s)
}

// hostTime reads a time as the host writes it: RFC 3339 with up to seven
// digits of a second, or the same without an offset, which means UTC.
func hostTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05.999999999", s)
	}
	if err != nil {
		return time.Time{}, ErrBody
	}
	return t.UTC(), nil
}

// stringValue decodes a JSON string strictly: valid UTF-8, no lone surrogate,
// nothing behind it.
func stringValue(v jsontext.Value) (string, error) {
	if v.Kind() != '"' {
		return "", ErrBody
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", ErrBody
	}
	return s, nil
}

func bodyError(step string) error { return fmt.Errorf("%s: %w", step, ErrBody) }
