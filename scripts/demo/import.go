package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"secureapi/handler/clock"
	"secureapi/handler/dataclass"
	"secureapi/scripts/demo/customers"
)

//go:embed customers.csv
var customersFile []byte

// parts is how many files the thousand records are uploaded in.
const parts = 10

// operation is what the demo reads of an operation.
type operation struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Rows  struct {
		Total    int `json:"total"`
		Imported int `json:"imported"`
		Rejected int `json:"rejected"`
		Failed   int `json:"failed"`
	} `json:"rows"`
}

func (d *demo) importScene() scene {
	return scene{
		"A thousand records go in, tokens come out",
		`The writer creates an import, uploads scripts/demo/customers.csv in ten parts and commits. Each part is sealed on
		arrival; a queue function tokenizes it in full transactions. The records are nobody's: published test cards,
		telephone numbers kept for fiction, example domains.`,
		d.runImport,
	}
}

func (d *demo) runImport(ctx context.Context) error {
	started := time.Now()
	all, err := csv.NewReader(bytes.NewReader(customersFile)).ReadAll()
	if err != nil {
		return fmt.Errorf("reading customers.csv: %w", err)
	}
	var created operation
	if _, err := d.ask(ctx, "writer", http.MethodPost, "imports", importOrder(), http.StatusCreated, &created); err != nil {
		return err
	}
	if err := d.upload(ctx, created.ID, all); err != nil {
		return err
	}
	commit := map[string]int{"parts": parts}
	if _, err := d.ask(ctx, "writer", http.MethodPost, "imports/"+created.ID+"/commit", commit, http.StatusAccepted, nil); err != nil {
		return err
	}
	op, err := d.finish(ctx, created.ID)
	if err != nil {
		return err
	}
	wrong := len(customers.Rejected())
	if op.Rows.Total != customers.Rows || op.Rows.Imported != customers.Rows-wrong || op.Rows.Rejected != wrong || op.Rows.Failed != 0 {
		return fmt.Errorf("rows are %+v", op.Rows)
	}
	d.show.checked("%d of %d records imported, %d rejected, in %.1f s", op.Rows.Imported, op.Rows.Total, op.Rows.Rejected, time.Since(started).Seconds())
	return d.readResult(ctx, op.ID, all)
}

func importOrder() map[string]any {
	var columns []map[string]any
	for _, c := range customers.Columns()[1:] {
		column := map[string]any{"name": c.Name, "class": c.Class}
		if c.Optional {
			column["optional"] = true
		}
		if c.Name == "card" {
			column["format"] = "format-preserving"
		}
		columns = append(columns, column)
	}
	return map[string]any{"columns": columns, "subjectColumn": customers.Columns()[0].Name}
}

func (d *demo) upload(ctx context.Context, id string, all [][]string) error {
	const size = customers.Rows / parts
	for n := range parts {
		var file bytes.Buffer
		rows := slices.Concat(all[:1], all[1+n*size:1+(n+1)*size])
		if err := csv.NewWriter(&file).WriteAll(rows); err != nil {
			return fmt.Errorf("writing part %d: %w", n+1, err)
		}
		path := "imports/" + id + "/parts?number=" + strconv.Itoa(n+1)
		if _, err := d.ask(ctx, "writer", http.MethodPut, path, csvBody(file.Bytes()), http.StatusCreated, nil); err != nil {
			return err
		}
		d.show.progress("uploaded", (n+1)*size, customers.Rows)
	}
	return nil
}

// finish shows the operation's progress up to its end.
func (d *demo) finish(ctx context.Context, id string) (op operation, err error) {
	err = d.until(ctx, "the import", func() (bool, error) {
		if _, err := d.ask(ctx, "writer", http.MethodGet, "operations/"+id, nil, http.StatusOK, &op); err != nil {
			return false, err
		}
		if op.State == "completed" {
			d.show.progress("tokenized", op.Rows.Total, op.Rows.Total)
			return true, nil
		}
		if op.State != "running" {
			return false, fmt.Errorf("the import is %s", op.State)
		}
		d.show.progress("tokenized", min(op.Rows.Imported+op.Rows.Rejected+op.Rows.Failed, op.Rows.Total-1), op.Rows.Total)
		return false, nil
	})
	return op, err
}

// readResult keeps the first customer's tokens and what was rejected.
func (d *demo) readResult(ctx context.Context, id string, all [][]string) error {
	d.rejected, d.tokens, d.customer = map[int]string{}, map[string]string{}, map[string]string{}
	for i, name := range all[0] {
		d.customer[name] = all[1][i]
	}
	path := "imports/" + id + "/result"
	rows := 0
	for path != "" {
		a, err := d.ask(ctx, "writer", http.MethodGet, path, nil, http.StatusOK, nil)
		if err != nil {
			return err
		}
		page, err := csv.NewReader(bytes.NewReader(a.body)).ReadAll()
		if err != nil {
			return fmt.Errorf("reading the result: %w", err)
		}
		for _, cells := range page[1:] {
			rows++
			if err := d.readRow(page[0], cells, all[rows]); err != nil {
				return fmt.Errorf("row %d of the result: %w", rows, err)
			}
		}
		path = nextPage(a.header.Get("Link"))
	}
	if rows != customers.Rows {
		return fmt.Errorf("the result has %d rows", rows)
	}
	d.show.words("The result gives the writer a token for every value, such as for the first customer:")
	table := [][]string{{"column", "value given", "token"}}
	for _, c := range customers.Columns()[1:] {
		table = append(table, []string{c.Name, d.customer[c.Name], d.tokens[c.Name]})
	}
	d.show.table(table...)
	d.show.words("The card's token keeps the length and the last four digits, and fails the check digit: it can never be a card.")
	return d.checkCardToken()
}

func (d *demo) checkCardToken() error {
	shape, _ := dataclass.Lookup(dataclass.PAN)
	card, err := shape.Parse(d.customer["card"], clock.System)
	if err != nil {
		return fmt.Errorf("reading the first card: %w", err)
	}
	number, token := card.RevealString(), d.tokens["card"]
	if len(token) != len(number) || !strings.HasSuffix(token, number[len(number)-4:]) {
		return errors.New("the card's token does not keep the format")
	}
	if _, err := shape.Parse(token, clock.System); err == nil {
		return errors.New("the card's token is a card")
	}
	return nil
}

// nextPage takes the path of a Link header (RFC 8288) as this API writes it.
func nextPage(link string) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(link, "</api/v1/"), ">")
	return path
}

func (d *demo) readRow(header, cells, given []string) error {
	row := maps.Collect(pairs(header, cells))
	part, err := strconv.Atoi(row["part"])
	if err != nil {
		return fmt.Errorf("reading the part's number: %w", err)
	}
	number, err := strconv.Atoi(row["row"])
	if err != nil {
		return fmt.Errorf("reading the row's number: %w", err)
	}
	inFile := (part-1)*customers.Rows/parts + number
	if row["error"] != "" {
		d.rejected[inFile] = row["error"]
	}
	for i, c := range customers.Columns()[1:] {
		wanted := row["error"] == "" && given[i+1] != ""
		if (row[c.Name] != "") != wanted {
			return fmt.Errorf("column %s has a token: %t", c.Name, row[c.Name] != "")
		}
		if inFile == 1 {
			d.tokens[c.Name] = row[c.Name]
		}
	}
	return nil
}

func pairs(names, values []string) func(yield func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for i, name := range names {
			if !yield(name, values[i]) {
				return
			}
		}
	}
}

func (d *demo) rejectedScene() scene {
	return scene{
		"Wrong records are refused, and named without being repeated",
		`Five rows are wrong on purpose. A row goes in whole or not at all, and what is said of it is a column and a code:
		an error message with the value in it would be the value's next copy.`,
		func(context.Context) error {
			table := [][]string{{"row", "column:code"}}
			for _, row := range slices.Sorted(maps.Keys(d.rejected)) {
				table = append(table, []string{strconv.Itoa(row), d.rejected[row]})
			}
			d.show.table(table...)
			if !maps.Equal(d.rejected, customers.Rejected()) {
				return fmt.Errorf("rejected are %v", d.rejected)
			}
			d.show.checked("exactly the five, each for its own reason")
			return nil
		},
	}
}
