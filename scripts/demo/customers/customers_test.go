package customers_test

import (
	"bytes"
	"encoding/csv"
	"flag"
	"os"
	"strings"
	"testing"
	"unicode"

	"secureapi/handler/clock"
	"secureapi/handler/dataclass"
	"secureapi/scripts/demo/customers"
)

const path = "../customers.csv"

var update = flag.Bool("update", false, "write customers.csv anew")

func TestTheFileIsWhatTheGeneratorMakes(t *testing.T) {
	made, err := customers.CSV()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, made, 0o644); err != nil { // #nosec G306 -- a source file
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, stored) {
		t.Error("customers.csv is not what the generator makes: go test ./scripts/demo/customers -update")
	}
}

func read(t *testing.T) (header []string, rows [][]string) {
	t.Helper()
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(bytes.NewReader(stored)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[0], all[1:]
}

// TestEveryValueParses holds each cell against its class: all are valid, but
// those that are wrong on purpose, with the very error that is promised.
func TestEveryValueParses(t *testing.T) {
	header, rows := read(t)
	if len(rows) != customers.Rows {
		t.Fatalf("%d rows, want %d", len(rows), customers.Rows)
	}
	rejected, subjects := customers.Rejected(), map[string]bool{}
	for i, cells := range rows {
		if subjects[cells[0]] {
			t.Errorf("row %d: the customer stands twice", i+1)
		}
		subjects[cells[0]] = true
		var found []string
		for c, column := range customers.Columns()[1:] {
			if header[c+1] != column.Name {
				t.Fatalf("column %d is %s", c+1, header[c+1])
			}
			if cells[c+1] == "" && column.Optional {
				continue
			}
			shape, _ := dataclass.Lookup(column.Class)
			_, err := shape.Parse(cells[c+1], clock.System)
			if err == nil {
				continue
			}
			refused, ok := err.(*dataclass.ValueError) //nolint:errorlint // Parse gives exactly this
			if !ok {
				t.Fatal(err)
			}
			found = append(found, column.Name+":"+refused.Code)
		}
		if got := strings.Join(found, ";"); got != rejected[i+1] {
			t.Errorf("row %d: %q, want %q", i+1, got, rejected[i+1])
		}
	}
}

// TestNobodyIsReal holds what the package comment promises of the values.
func TestNobodyIsReal(t *testing.T) {
	_, rows := read(t)
	free := []string{
		"+1 202-555-01", "+1 312-555-01", "+1 415-555-01", "+1 646-555-01", "+44 20 7946 0", "+44 7700 900", "+49 30 23125 ",
		"+49 69 90009 ", "+49 40 66969 ", "+33 1 99 00 ", "+33 6 39 98 ", "+46 8 465 004 ", "+61 2 5550 ", "+61 3 5550 ",
	}
	for i, cells := range rows {
		if _, wrong := customers.Rejected()[i+1]; wrong {
			continue
		}
		if _, domain, _ := strings.Cut(cells[2], "@"); !strings.HasPrefix(domain, "example.") {
			t.Errorf("row %d: an e-mail domain that is not reserved", i+1)
		}
		if !hasPrefix(cells[3], free) {
			t.Errorf("row %d: a telephone number that is not kept for fiction", i+1)
		}
		if s := cells[6]; s != "" && s != "078-05-1120" && s != "219-09-9999" {
			t.Errorf("row %d: a social security number that may be somebody's", i+1)
		}
	}
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func TestManyScriptsAndOptionalCells(t *testing.T) {
	_, rows := read(t)
	seen, empty := map[string]int{}, 0
	for _, cells := range rows {
		for name, table := range map[string]*unicode.RangeTable{
			"Latin": unicode.Latin, "Cyrillic": unicode.Cyrillic, "Greek": unicode.Greek, "Arabic": unicode.Arabic,
			"Hebrew": unicode.Hebrew, "Devanagari": unicode.Devanagari, "Han": unicode.Han,
			"Hiragana": unicode.Hiragana, "Katakana": unicode.Katakana, "Hangul": unicode.Hangul,
		} {
			if strings.ContainsFunc(cells[1], func(r rune) bool { return unicode.Is(table, r) }) {
				seen[name]++
			}
		}
		if cells[6] == "" {
			empty++
		}
	}
	if len(seen) != 10 || empty == 0 || empty == len(rows) {
		t.Errorf("scripts %v, %d rows without a social security number", seen, empty)
	}
	t.Logf("scripts %v, %d rows without a social security number", seen, empty)
}
