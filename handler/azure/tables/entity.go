package tables

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"secureapi/handler/rowstore"
)

const (
	// bodyPiece is the largest binary property.
	bodyPiece = 64 << 10
	// maxPieces is how many properties the largest body takes.
	maxPieces  = (rowstore.MaxBody + bodyPiece - 1) / bodyPiece
	bodyPrefix = "Body"

	// maxEntity is the largest entity, counted as the service counts it
	// (https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model):
	// names and strings in UTF-16. The emulator does not check it.
	maxEntity = 1 << 20
	// perProperty is what the service adds for each property.
	perProperty = 8
)

var (
	errEntity  = errors.New("unreadable entity")
	errEncode  = fmt.Errorf("%w: an attribute that is not UTF-8", rowstore.ErrInvalid)
	errVersion = fmt.Errorf("%w: a version that is not an entity tag", rowstore.ErrInvalid)
)

// encodeEntity writes the JSON of a mutation that rowstore.Validate has passed.
func encodeEntity(m rowstore.Mutation) ([]byte, error) {
	if !validTag(m.Row.Version) {
		return nil, errVersion
	}
	row := m.Row
	if m.Action == rowstore.Delete {
		row.Body, row.Attributes = nil, nil
	}
	out := make([]byte, 0, 256+base64.StdEncoding.EncodedLen(len(row.Body))+attributeBytes(row))
	// Keys need no escape: rowstore.ValidateKey has seen them.
	out = append(out, `{"PartitionKey":"`...)
	out = append(out, row.Partition...)
	out = append(out, `","RowKey":"`...)
	out = append(out, row.Key...)
	out = append(out, '"')
	size := perProperty*4 + 2*(len(row.Partition)+len(row.Key))
	for i := 0; i*bodyPiece < len(row.Body); i++ {
		piece := row.Body[i*bodyPiece : min((i+1)*bodyPiece, len(row.Body))]
		name := bodyPrefix + strconv.Itoa(i)
		out = append(out, `,"`+name+`@odata.type":"Edm.Binary","`+name+`":"`...)
		out = base64.StdEncoding.AppendEncode(out, piece)
		out = append(out, '"')
		size += perProperty + 2*len(name) + 4 + len(piece)
	}
	var err error
	for _, name := range slices.Sorted(maps.Keys(row.Attributes)) {
		value := row.Attributes[name]
		out = append(out, `,"`+name+`":`...)
		if out, err = jsontext.AppendQuote(out, value); err != nil {
			return nil, errEncode
		}
		// No string takes more UTF-16 units than it has UTF-8 bytes.
		size += perProperty + 2*len(name) + 4 + 2*len(value)
	}
	if size > maxEntity {
		return nil, fmt.Errorf("%w: an entity of up to %d bytes", rowstore.ErrInvalid, size)
	}
	return append(out, '}'), nil
}

func attributeBytes(row rowstore.Row) int {
	n := 0
	for name, value := range row.Attributes {
		n += len(name) + len(value) + len(`,"":""`)
	}
	return n
}

// validTag keeps a version that was tampered with on its way here out of the
// headers of a request.
func validTag(version string) bool {
	for i := range len(version) {
		if version[i] < ' ' || version[i] > '~' {
			return false
		}
	}
	return len(version) <= 256
}

// entityReader collects one entity's properties.
type entityReader struct {
	row    rowstore.Row
	pieces [maxPieces][]byte
	broken bool
}

// decodeEntity reads an entity. Properties of other types than this package
// writes are left out, and a body it could not have written comes back empty:
// judging a foreign row is the caller's part.
func decodeEntity(entity []byte) (rowstore.Row, error) {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(entity))
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return rowstore.Row{}, errEntity
	}
	var r entityReader
	for decoder.PeekKind() == '"' {
		name, err := decoder.ReadToken()
		if err != nil {
			return rowstore.Row{}, errEntity
		}
		property := name.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return rowstore.Row{}, errEntity
		}
		if err := r.add(property, value); err != nil {
			return rowstore.Row{}, err
		}
	}
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '}' {
		return rowstore.Row{}, errEntity
	}
	r.row.Body = r.body()
	return r.row, nil
}

func (r *entityReader) add(property string, value jsontext.Value) error {
	if value.Kind() != '"' || strings.HasSuffix(property, "@odata.type") {
		return nil
	}
	if index, ok := strings.CutPrefix(property, bodyPrefix); ok {
		r.piece(index, value)
		return nil
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return errEntity
	}
	switch {
	case property == "PartitionKey":
		r.row.Partition = string(text)
	case property == "RowKey":
		r.row.Key = string(text)
	case property == "odata.etag":
		r.row.Version = string(text)
	case property == "Timestamp" || strings.HasPrefix(property, "odata."):
	default:
		if r.row.Attributes == nil {
			r.row.Attributes = make(map[string]string)
		}
		r.row.Attributes[property] = string(text)
	}
	return nil
}

// piece decodes one binary property. Base64 has nothing that JSON escapes, so
// the quoted text is the encoding itself.
func (r *entityReader) piece(index string, quoted jsontext.Value) {
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= maxPieces || strconv.Itoa(i) != index {
		r.broken = true
		return
	}
	r.pieces[i], err = base64.StdEncoding.Strict().AppendDecode(nil, quoted[1:len(quoted)-1])
	if err != nil || len(r.pieces[i]) > bodyPiece {
		r.broken = true
	}
}

// body joins the pieces, of which all but the last must be full.
func (r *entityReader) body() []byte {
	count := 0
	for i, piece := range r.pieces {
		if len(piece) == 0 {
			continue
		}
		if i != count || i > 0 && len(r.pieces[i-1]) != bodyPiece {
			return nil
		}
		count++
	}
	if r.broken {
		return nil
	}
	if count == 1 {
		return r.pieces[0]
	}
	return slices.Concat(r.pieces[:count]...)
}
