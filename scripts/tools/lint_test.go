// Package tools pins the build tools and proves the lint rules.
//
// A forbidden pattern with a typing error forbids nothing, and nobody notices.
// TestRulesFire lints a module that breaks each rule once and holds the findings
// against the marks in it, in both directions.
package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var (
	mark  = regexp.MustCompile(`// want(-next)? (.*)$`)
	marks = regexp.MustCompile(`(\w+) "([^"]*)"`)
)

// finding is one expected or reported violation. Text is matched as a substring.
type finding struct {
	file   string
	line   int
	linter string
	text   string
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.file, f.line, f.linter, f.text)
}

func TestRulesFire(t *testing.T) {
	dir, want := extract(t, "testdata/lint.txtar")
	config, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".golangci.yml"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	got := lint(t, dir)
	for _, w := range want {
		i := slices.IndexFunc(got, func(g finding) bool {
			return g.file == w.file && g.line == w.line && g.linter == w.linter && strings.Contains(g.text, w.text)
		})
		if i < 0 {
			t.Errorf("did not fire: %v", w)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	for _, g := range got {
		t.Errorf("not marked:   %v", g)
	}
}

// extract writes the archive to a folder and returns the findings it marks.
func extract(t *testing.T, archive string) (dir string, want []finding) {
	t.Helper()
	ar, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	// Symbolic links would make the linter report paths outside the folder.
	dir, err = filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ar.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(f.Data), "\n") {
			m := mark.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			at := i + 1
			if m[1] != "" {
				at++
			}
			for _, w := range marks.FindAllStringSubmatch(m[2], -1) {
				want = append(want, finding{file: f.Name, line: at, linter: w[1], text: w[2]})
			}
		}
	}
	return dir, want
}

// lint runs the pinned linter in dir and returns what it reports.
func lint(t *testing.T, dir string) []finding {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "golangci-lint").Output()
	if err != nil {
		t.Fatalf("finding the linter: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(path)),
		"run", "--allow-parallel-runners", "--output.json.path=stdout", "./handler/...", "./scripts/...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOLANGCI_LINT_CACHE="+t.TempDir(), "GOFLAGS=-mod=mod", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("running the linter: %v\n%s", err, stderr.String())
	}
	var report struct {
		Issues []struct {
			FromLinter, Text string
			Pos              struct {
				Filename string
				Line     int
			}
		}
	}
	// The text report may follow the JSON document; the decoder stops before it.
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&report); err != nil {
		t.Fatalf("reading the report: %v\n%s\n%s", err, out, stderr.String())
	}
	var got []finding
	for _, i := range report.Issues {
		got = append(got, finding{file: i.Pos.Filename, line: i.Pos.Line, linter: i.FromLinter, text: i.Text})
	}
	return got
}
