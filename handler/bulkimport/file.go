package bulkimport

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"secureapi/handler/tokenvault"
)

// Names of the result's own columns.
const (
	columnPart  = "part"
	columnRow   = "row"
	columnError = "error"
)

// maxCell is the longest cell in bytes: above every class's longest value.
const maxCell = 16 << 10

// file is a part's rows, brought into the order of the operation's columns:
// the subject first, then one cell for each column.
type file struct{ rows [][]string }

// readFile reads RFC 4180 CSV in UTF-8 with a header row. The errors are
// tokenvault.InvalidError and name rows, never content.
func readFile(body []byte, d detail) (*file, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) // spreadsheets write a byte order mark
	if !utf8.Valid(body) {
		return nil, invalidFile("", "csv_encoding", "must be UTF-8")
	}
	r := csv.NewReader(bytes.NewReader(body))
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, invalidFile("", "csv_empty", "must begin with a header row")
	}
	if err != nil {
		return nil, invalidRow(0, err)
	}
	order, err := orderOf(header, d)
	if err != nil {
		return nil, err
	}
	f := &file{}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		number := len(f.rows) + 1
		if err != nil {
			return nil, invalidRow(number, err)
		}
		if number > MaxPartRows {
			return nil, invalidFile("/rows", "csv_rows", fmt.Sprintf("must hold at most %d rows", MaxPartRows))
		}
		row := make([]string, len(order))
		for i, from := range order {
			if from < 0 {
				continue
			}
			if err := checkCell(cells[from], number); err != nil {
				return nil, err
			}
			row[i] = cells[from]
		}
		f.rows = append(f.rows, row)
	}
	if len(f.rows) == 0 {
		return nil, invalidFile("/rows", "csv_empty", "must hold at least one row behind the header")
	}
	return f, nil
}

// checkCell refuses what a chunk could not give back as it is: encoding/csv reads
// CR LF in a cell as LF, so that a lone CR, written and read once more, is lost.
// No class takes one.
func checkCell(cell string, row int) error {
	switch {
	case len(cell) > maxCell:
		return invalidFile(pointerOf(row), "csv_cell_size", fmt.Sprintf("has a cell of more than %d bytes", maxCell))
	case strings.Contains(cell, "\r"):
		return invalidFile(pointerOf(row), "csv_line_end", "has a carriage return in a cell that ends no line")
	}
	return nil
}

// orderOf says where in the header the subject (-1: none) and each column
// stands. A column that nobody asked for is refused: it would be lost.
func orderOf(header []string, d detail) ([]int, error) {
	order := make([]int, 0, len(d.Columns)+1)
	want := len(d.Columns)
	if d.SubjectColumn == "" {
		order = append(order, -1)
	} else {
		want++
		order = append(order, slices.Index(header, d.SubjectColumn))
	}
	for _, column := range d.Columns {
		order = append(order, slices.Index(header, column.Name))
	}
	if len(header) != want || slices.Contains(order[1:], -1) || d.SubjectColumn != "" && order[0] < 0 {
		return nil, invalidFile("/header", "csv_header", "must hold the columns of the import, each once, and no other")
	}
	return order, nil
}

func pointerOf(row int) string { return "/rows/" + strconv.Itoa(row) }

func invalidFile(pointer, code, detail string) error {
	return &tokenvault.InvalidError{Fields: []*tokenvault.FieldError{{Pointer: pointer, Code: code, Detail: detail}}}
}

// invalidRow says what encoding/csv found, without its text.
func invalidRow(number int, err error) error {
	code, detail := "csv_syntax", "is not a row of CSV (RFC 4180)"
	if errors.Is(err, csv.ErrFieldCount) {
		code, detail = "csv_cells", "has another number of cells than the header"
	} else if errors.Is(err, csv.ErrQuote) || errors.Is(err, csv.ErrBareQuote) {
		code, detail = "csv_quote", "has a quote that is not closed or stands alone"
	}
	pointer := "/header"
	if number > 0 {
		pointer = pointerOf(number)
	}
	return invalidFile(pointer, code, detail)
}

// encodeRows and decodeRows are the plaintext of a chunk's blob.
func encodeRows(rows [][]string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("writing rows: %w", err)
	}
	return b.Bytes(), nil
}

func decodeRows(plaintext []byte, cells int) ([][]string, error) {
	r := csv.NewReader(bytes.NewReader(plaintext))
	r.FieldsPerRecord = cells
	rows, err := r.ReadAll()
	if err != nil {
		return nil, errors.New("reading rows: not what was written") // err could quote content
	}
	return rows, nil
}

// rowsOf gives a chunk's rows as the domain takes them, and which of the
// row's columns each item is: empty cells of optional columns are left out.
func rowsOf(cells [][]string, columns []Column, named bool) ([]tokenvault.Row, [][]int) {
	rows := make([]tokenvault.Row, len(cells))
	places := make([][]int, len(cells))
	for i, row := range cells {
		rows[i].Subject, rows[i].Named = row[0], named
		for c, column := range columns {
			value := row[1+c]
			if value == "" && column.Optional {
				continue
			}
			rows[i].Items = append(rows[i].Items, tokenvault.Item{Class: column.Class, Value: value, Format: column.Format})
			places[i] = append(places[i], c)
		}
	}
	return rows, places
}

// encodeResult is the page of the result that belongs to a chunk.
func encodeResult(o *op, c chunk, results []tokenvault.Imported, places [][]int) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	columns := o.Detail.Columns
	line := make([]string, 0, len(columns)+3)
	line = append(line, columnPart, columnRow)
	for _, column := range columns {
		line = append(line, column.Name)
	}
	if err := w.Write(append(line, columnError)); err != nil {
		return nil, fmt.Errorf("writing the result: %w", err)
	}
	for i, result := range results {
		line = append(line[:0], strconv.Itoa(c.Part), strconv.Itoa(c.First+i))
		cells := make([]string, len(columns))
		for j, token := range result.Tokens {
			cells[places[i][j]] = token
		}
		line = append(append(line, cells...), errorCell(result.Invalid, columns, places[i], o.Detail.SubjectColumn))
		if err := w.Write(line); err != nil {
			return nil, fmt.Errorf("writing the result: %w", err)
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// errorCell lists "column:code" of a refused row.
func errorCell(invalid []tokenvault.ColumnError, columns []Column, place []int, subjectColumn string) string {
	var text []byte
	for i, e := range invalid {
		if i > 0 {
			text = append(text, ';')
		}
		name := subjectColumn
		if e.Column >= 0 {
			name = columns[place[e.Column]].Name
		}
		text = append(text, name+":"+e.Code...)
	}
	return string(text)
}
