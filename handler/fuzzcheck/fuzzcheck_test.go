package fuzzcheck_test

import (
	"errors"
	"fmt"
	"testing"

	"secureapi/handler/fuzzcheck"
)

func TestAQuotedInputIsSeen(t *testing.T) {
	in := `{"name":"4111111111111111","ok":1}`
	marked := fuzzcheck.Marked(in)
	if want := `{"name":"q7Zx9Kq7Zx9Kq7Zx","ok":1}`; marked != want {
		t.Errorf("Marked() = %s, want %s", marked, want)
	}
	if !fuzzcheck.Quotes(fmt.Errorf("near %q: %w", marked[8:], errors.New("bad")).Error()) {
		t.Error("a quotation was not seen")
	}
	if fuzzcheck.Quotes("name: has the wrong type") || fuzzcheck.Quotes(in) {
		t.Error("a fixed text is taken for a quotation")
	}
	if fuzzcheck.Marked("") != "" || fuzzcheck.Marked("short") != "short" {
		t.Error("a short input was changed")
	}
}

func TestAnExcessIsSeen(t *testing.T) {
	var sink []byte
	if n, ok := fuzzcheck.Allocates(1000, func() { sink = make([]byte, 16<<20) }); ok || n < 16<<20 {
		t.Errorf("16 MiB for 1000 bytes: %d, %v", n, ok)
	}
	if n, ok := fuzzcheck.Allocates(1000, func() { sink = make([]byte, 1000) }); !ok {
		t.Errorf("1000 bytes for 1000 bytes: %d", n)
	}
	_ = sink
}
