package bulkimport

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"secureapi/handler/dataclass"
	"secureapi/handler/fuzzcheck"
	"secureapi/handler/tokenvault"
)

// FuzzFile: the rows that are read are the rows that a chunk gives back, cell for
// cell. A refusal names a row and quotes nothing of it.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"customer,card,mail\r\n17,4111111111111111,anna@example.com\r\n", "card,customer,mail\n,,\n", "\xef\xbb\xbfcustomer,mail,card\na,b,c\n",
		"customer,card,mail\na,\"b\"\"\nc\",d", "customer,card,mail\n\"a\rb\",\"x\r\r\ny\",z\n", "customer,card\na,b\n", "customer,card,mail,mail\na,b,c,d\n",
		"customer,card,mail\na,b\n", "customer,card,mail\na,b,\"c\n", "customer,card,mail\na\"b,c,d\n", "customer,card,mail\n", "", "\x00,\xff",
		"customer,card,mail\na,b," + strings.Repeat("x", maxCell+1) + "\n", "customer,card,mail" + strings.Repeat("\na,b,c", 50),
	} {
		f.Add(seed)
	}
	d := detail{SubjectColumn: "customer", Columns: []Column{{Name: "card", Class: dataclass.PAN}, {Name: "mail", Class: dataclass.Email}}}
	f.Fuzz(func(t *testing.T, body string) {
		read, err := readFile([]byte(body), d)
		if err != nil {
			for _, input := range []string{body, strings.Replace(fuzzcheck.Marked(body), "q7Zx9Kq7,card,mail", "customer,card,mail", 1)} {
				_, err := readFile([]byte(input), d)
				refused, ok := errors.AsType[*tokenvault.InvalidError](err)
				if err != nil && (!ok || len(refused.Fields) != 1 || refused.Fields[0].Code == "") {
					t.Fatalf("not a refusal: %v", err)
				}
				if ok && fuzzcheck.Quotes(refused.Fields[0].Pointer+refused.Fields[0].Detail) {
					t.Errorf("the refusal quotes the file: %s %s", refused.Fields[0].Pointer, refused.Fields[0].Detail)
				}
			}
			if n, ok := fuzzcheck.Allocates(len(body), func() { _, _ = readFile([]byte(body), d) }); !ok {
				t.Errorf("refusing %d bytes took %d", len(body), n)
			}
			return
		}
		if len(read.rows) == 0 || len(read.rows) > MaxPartRows {
			t.Fatalf("%d rows", len(read.rows))
		}
		for _, row := range read.rows {
			if len(row) != 3 || len(row[0]) > maxCell || len(row[1]) > maxCell || len(row[2]) > maxCell {
				t.Fatalf("a row of %d cells", len(row))
			}
		}
		plaintext, err := encodeRows(read.rows)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeRows(plaintext, 3)
		if err != nil || !slices.EqualFunc(again, read.rows, slices.Equal[[]string]) {
			t.Errorf("%q became %q, %v", read.rows, again, err)
		}
	})
}

// FuzzChunkRows: what is in a chunk's blob, once it has opened, is rows of the
// operation's width or an error that quotes nothing.
func FuzzChunkRows(f *testing.F) {
	for _, seed := range []string{"a,b,c\n", "a,b\n", "\"a\n", "", "a,\"b\"\"\",c\nd,e,f"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		rows, err := decodeRows(plaintext, 3)
		if err != nil {
			if len(rows) > 0 || err.Error() != "reading rows: not what was written" {
				t.Errorf("%d rows, %v", len(rows), err)
			}
			return
		}
		for _, row := range rows {
			if len(row) != 3 {
				t.Fatalf("a row of %d cells", len(row))
			}
		}
	})
}
