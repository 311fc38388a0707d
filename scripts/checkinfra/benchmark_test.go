package checkinfra_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestBenchmarkRows: each row quotes a line that stands in its file, and names a
// test that fails without it. That the quoted text and the tests exist, and that
// no control is left out, is held by checkdocs.
func TestBenchmarkRows(t *testing.T) {
	text, err := os.ReadFile(root + "/docs/conformance/mcsb.md")
	if err != nil {
		t.Fatal(err)
	}
	control := regexp.MustCompile(`^\| [A-Z]{2}-\d+ \|`)
	quoted := regexp.MustCompile("`(infra|scripts)/[A-Za-z0-9._/-]+`: `[^`]+`")
	test := regexp.MustCompile("`Test[A-Z]\\w+`[^|]*\\|$")
	rows := 0
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); control.MatchString(line) {
			rows++
			if !quoted.MatchString(line) || !test.MatchString(line) {
				t.Errorf("no quoted line or no test: %s", line)
			}
		}
	}
	if rows < 16 {
		t.Errorf("%d rows, want 16", rows)
	}
}
