package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"
)

// maxBody bounds a JSON body: a batch of 100 items of the largest class.
const maxBody = 1 << 20

// decode reads a strict JSON body: the right media type, no content coding,
// bounded, valid UTF-8, no unknown or duplicate name, nothing behind it.
func decode[T any](c echo.Context) (T, error) {
	var into T
	r := c.Request()
	if err := checkMediaType(r.Header, "application/json"); err != nil {
		return into, err
	}
	if r.ContentLength > maxBody {
		return into, &refusal{routerProblem(http.StatusRequestEntityTooLarge)}
	}
	body := http.MaxBytesReader(c.Response(), r.Body, maxBody)
	err := json.UnmarshalRead(body, &into, json.RejectUnknownMembers(true))
	if err == nil {
		return into, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return into, &refusal{routerProblem(http.StatusRequestEntityTooLarge)}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return into, closing(c, routerProblem(http.StatusRequestTimeout))
	}
	return into, &refusal{bodyProblem(err)}
}

func checkMediaType(h http.Header, want string) error {
	unsupported := &refusal{newProblem(http.StatusUnsupportedMediaType, "media_type", "The body must be "+want+" in UTF-8, without content coding.")}
	if len(h.Values("Content-Type")) != 1 || h.Get("Content-Encoding") != "" {
		return unsupported
	}
	// Not mime.ParseMediaType: it passes over parameters that it cannot read
	// (RFC 2231), which another layer may.
	mediaType, parameter, given := strings.Cut(h.Get("Content-Type"), ";")
	if !equalASCII(strings.Trim(mediaType, " \t"), want) {
		return unsupported
	}
	parameter = strings.Trim(parameter, " \t")
	if given && !equalASCII(parameter, "charset=utf-8") && !equalASCII(parameter, `charset="utf-8"`) {
		return unsupported
	}
	return nil
}

// equalASCII ignores the case of ASCII letters; strings.EqualFold also takes a
// long s for an s.
func equalASCII(s, want string) bool {
	return len(s) == len(want) && strings.EqualFold(s, want)
}

// bodyProblem says what is wrong and where. A name that the API does not know
// is the client's text and may be data: its parent is named instead.
func bodyProblem(err error) *problem {
	p := newProblem(http.StatusBadRequest, "invalid_body", "The body is not what this resource takes.")
	field := fieldError{Code: "json_syntax", Detail: "is not valid JSON"}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		field.Pointer = string(syntax.JSONPointer)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			field = fieldError{Pointer: parent(syntax.JSONPointer), Code: "name_repeated", Detail: "holds a name twice"}
		}
		if !knownPointer(field.Pointer) {
			field.Pointer = ""
		}
	} else if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		field = fieldError{Pointer: string(semantic.JSONPointer), Code: "type_mismatch", Detail: "has the wrong type"}
		if errors.Is(err, json.ErrUnknownName) {
			field = fieldError{Pointer: parent(semantic.JSONPointer), Code: "name_unknown", Detail: "holds a name that is not known here"}
		}
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		field.Detail = "ends too early"
	}
	p.Errors = []fieldError{field}
	return p
}

func parent(pointer jsontext.Pointer) string { return string(pointer.Parent()) }

// knownPointer: every name in the pointer is one of the API's own.
func knownPointer(pointer string) bool {
	for part := range jsontext.Pointer(pointer).Tokens() {
		if _, known := fieldNames[part]; !known && strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}

// fieldNames are the member names of all request bodies.
var fieldNames = map[string]struct{}{
	"items": {}, "class": {}, "value": {}, "subject": {}, "format": {}, "reference": {},
	"tokens": {}, "purpose": {}, "reason": {},
	"columns": {}, "name": {}, "optional": {}, "subjectColumn": {}, "parts": {},
	"tokenId": {}, "objectId": {}, "issuedBefore": {},
}

// encode answers with JSON.
func encode(c echo.Context, status int, body any) error {
	b, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		return errors.New("encoding answer") // the cause could quote data
	}
	return c.Blob(status, "application/json", b)
}

// maxIdempotencyKey is the length of an Idempotency-Key.
const maxIdempotencyKey = 64

// idempotencyKey reads the optional header: one value of visible ASCII.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	valid := len(values) == 1 && values[0] != "" && len(values[0]) <= maxIdempotencyKey
	for i := 0; valid && i < len(values[0]); i++ {
		valid = values[0][i] > ' ' && values[0][i] <= '~'
	}
	if !valid {
		p := newProblem(http.StatusBadRequest, "invalid_request", "The request has fields that cannot be accepted.")
		p.Errors = []fieldError{{Header: "Idempotency-Key", Code: "header_invalid", Detail: "must be one value of 1 to 64 visible ASCII characters"}}
		return "", &refusal{p}
	}
	return values[0], nil
}
