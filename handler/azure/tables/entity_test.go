package tables

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"secureapi/handler/rowstore"
)

func TestEntityRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := rowstore.Row{
			Partition: rapid.StringMatching(`[A-Za-z0-9._|:-]{1,60}`).Draw(t, "partition"),
			Key:       rapid.StringMatching(`[A-Za-z0-9._|:-]{1,60}`).Draw(t, "key"),
			Body:      rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "body"),
			Attributes: rapid.MapOf(rapid.StringMatching(`[AC-Z][A-Za-z0-9]{0,31}`),
				rapid.String()).Draw(t, "attributes"),
		}
		for _, name := range []string{"PartitionKey", "RowKey", "Timestamp"} {
			delete(row.Attributes, name)
		}
		entity, err := encodeEntity(rowstore.Mutation{Action: rowstore.Insert, Row: row})
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEntity(throughSDK(t, entity))
		if err != nil {
			t.Fatal(err)
		}
		opts := cmp.Options{cmp.Comparer(bytes.Equal), cmp.Comparer(maps.Equal[map[string]string, map[string]string])}
		if diff := cmp.Diff(row, got, opts); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// throughSDK does to an entity what aztables does on both ways.
func throughSDK(t interface{ Fatal(...any) }, entity []byte) []byte {
	var properties map[string]any
	if err := json.Unmarshal(entity, &properties); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(properties)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestEncodeEntity(t *testing.T) {
	row := rowstore.Row{
		Partition: "p", Key: "k", Body: []byte{1, 2, 3},
		Attributes: map[string]string{"Z": "1", "A": `"<`}, Version: `W/"tag"`,
	}
	const whole = `{"PartitionKey":"p","RowKey":"k","Body0@odata.type":"Edm.Binary","Body0":"AQID","A":"\"<","Z":"1"}`
	const keys = `{"PartitionKey":"p","RowKey":"k"}`
	for action, want := range map[rowstore.Action]string{rowstore.Replace: whole, rowstore.Delete: keys} {
		got, err := encodeEntity(rowstore.Mutation{Action: action, Row: row})
		if err != nil || string(got) != want {
			t.Errorf("action %d: %s, %v; want %s", action, got, err, want)
		}
	}
}

func TestEncodeEntityRefuses(t *testing.T) {
	full := rowstore.Row{Partition: "p", Key: "k", Body: make([]byte, rowstore.MaxBody), Attributes: map[string]string{}}
	for i := range rowstore.MaxAttributes {
		full.Attributes["N"+strings.Repeat("n", i)] = strings.Repeat("v", rowstore.MaxAttribute)
	}
	for name, row := range map[string]rowstore.Row{
		"an entity the service would refuse": full,
		"not UTF-8":                          {Attributes: map[string]string{"A": "\xff"}},
		"a version with a line break":        {Version: "W/\"1\"\r\nX-Injected: 1"},
		"a version of other bytes":           {Version: "\u00e9"},
		"a long version":                     {Version: strings.Repeat("v", 257)},
	} {
		entity, err := encodeEntity(rowstore.Mutation{Action: rowstore.Replace, Row: row})
		if !errors.Is(err, rowstore.ErrInvalid) || entity != nil {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

// TestDecodeForeignEntity reads what another writer may have planted: the
// result must be a row that no sealed body opens in, never an error that
// stops a scan.
func TestDecodeForeignEntity(t *testing.T) {
	full := base64.StdEncoding.EncodeToString(make([]byte, bodyPiece))
	for name, entity := range map[string]string{
		"body is text":            `{"Body0":"not base64"}`,
		"body is escaped":         `{"Body0":"\u0041QID"}`,
		"padding is missing":      `{"Body0":"AQI"}`,
		"loose bits":              `{"Body0":"AQJ="}`,
		"line break in base64":    `{"Body0":"AQ\nID"}`,
		"a gap":                   `{"Body0":"` + full + `","Body2":"AQID"}`,
		"no first piece":          `{"Body1":"AQID"}`,
		"a short piece":           `{"Body0":"AQID","Body1":"AQID"}`,
		"a long piece":            `{"Body0":"` + base64.StdEncoding.EncodeToString(make([]byte, bodyPiece+1)) + `"}`,
		"too many pieces":         `{"Body0":"AQID","Body12":"AQID"}`,
		"an odd index":            `{"Body0":"AQID","Body00":"AQID"}`,
		"a signed index":          `{"Body0":"AQID","Body+1":"AQID"}`,
		"an index that overflows": `{"Body0":"AQID","Body99999999999999999999":"AQID"}`,
	} {
		row, err := decodeEntity([]byte(entity))
		if err != nil || len(row.Body) != 0 {
			t.Errorf("%s: body of %d bytes, %v; want none", name, len(row.Body), err)
		}
	}
	row, err := decodeEntity([]byte(`{"A":1,"B":null,"C":true,"D":{"x":[1]},"E":"kept","F@odata.type":"Edm.Guid",` +
		`"Timestamp":"t","odata.metadata":"m","odata.etag":"W/\"1\""}`))
	want := rowstore.Row{Attributes: map[string]string{"E": "kept"}, Version: `W/"1"`}
	if diff := cmp.Diff(want, row); diff != "" || err != nil {
		t.Errorf("other types: %v (-want +got):\n%s", err, diff)
	}
}

func TestDecodeEntityRefuses(t *testing.T) {
	for _, entity := range []string{"", "null", "[]", "{", `{"a":"b"`, `{"a"}`, `{"a":}`, `{"a":"b",}`, `{"a":"b","a":"c"}`} {
		if row, err := decodeEntity([]byte(entity)); err == nil {
			t.Errorf("%s: %v, want an error", entity, row)
		}
	}
}

func FuzzDecodeEntity(f *testing.F) {
	f.Add([]byte(`{"PartitionKey":"p","RowKey":"k","Body0":"AQID","Body0@odata.type":"Edm.Binary","State":"active"}`))
	f.Add([]byte(`{"odata.etag":"W/\"datetime'2026-01-01T00%3A00%3A00.1234567Z'\"","Body0":"AQID","Body1":""}`))
	f.Add([]byte(`{"A":1,"B":{"C":[null]},"Body0":true,"Body11":"AA=="}`))
	f.Fuzz(func(t *testing.T, entity []byte) {
		row, err := decodeEntity(entity)
		if err != nil {
			return
		}
		if len(row.Body) > rowstore.MaxBody {
			t.Fatalf("a body of %d bytes", len(row.Body))
		}
		// A row that could be ours survives another round.
		if rowstore.Validate(row.Partition, []rowstore.Mutation{{
			Action: rowstore.Insert,
			Row:    rowstore.Row{Partition: row.Partition, Key: row.Key, Body: row.Body, Attributes: row.Attributes},
		}}) != nil {
			return
		}
		again, err := encodeEntity(rowstore.Mutation{Action: rowstore.Insert, Row: row})
		if errors.Is(err, rowstore.ErrInvalid) {
			return
		}
		reread, err := decodeEntity(again)
		if err != nil || !bytes.Equal(reread.Body, row.Body) || !maps.Equal(reread.Attributes, row.Attributes) {
			t.Fatalf("%s reads back as another row, %v", again, err)
		}
	})
}

func TestSuccessor(t *testing.T) {
	last := strings.Repeat("|", rowstore.MaxKey)
	for key, want := range map[string]string{
		"a":                      "a-",
		last[1:]:                 last[1:] + "-",
		last:                     "",
		last[:511] + "9":         last[:511] + ":",
		last[:511] + "Z":         last[:511] + "_",
		last[:510] + "a|":        last[:510] + "b",
		"y" + last[:510] + "|":   "z",
		last[:510] + "z|":        last[:510] + "|",
		strings.Repeat("-", 512): strings.Repeat("-", 511) + ".",
	} {
		if got := successor(key); got != want {
			t.Errorf("successor(%.20q…%d) = %.20q…%d", key, len(key), got, len(got))
		}
	}
	for i := range len(alphabet) - 1 {
		if alphabet[i] >= alphabet[i+1] {
			t.Errorf("the alphabet is not in order at %q", alphabet[i:i+2])
		}
	}
	for b := range 256 {
		if valid := rowstore.ValidateKey(string([]byte{byte(b)})) == nil; valid != strings.Contains(alphabet, string([]byte{byte(b)})) {
			t.Errorf("byte %#x: valid %t, but the alphabet says otherwise", b, valid)
		}
	}
}

func TestRangeFilter(t *testing.T) {
	got := rangeFilter("p", rowstore.Range{From: "a", To: "b"})
	if want := "PartitionKey eq 'p' and RowKey ge 'a' and RowKey lt 'b'"; got != want {
		t.Errorf("filter %q, want %q", got, want)
	}
	if got := quote("a' or 'b' eq 'b"); got != "'a'' or ''b'' eq ''b'" {
		t.Errorf("quoted: %s", got)
	}
}
