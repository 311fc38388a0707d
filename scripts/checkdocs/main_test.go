package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestThisRepository is the check itself: a document that went stale fails here.
func TestThisRepository(t *testing.T) {
	problems, err := check(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// TestTheObligationsAreMet: no list of requirements is without its document.
func TestTheObligationsAreMet(t *testing.T) {
	for _, list := range obligations {
		if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(list.document))); err != nil || len(list.rows) < 10 {
			t.Errorf("%d requirements: %v", len(list.rows), err)
		}
	}
	if _, err := os.Stat("../../THREAT_MODEL.md"); err != nil {
		t.Error(err)
	}
}

const (
	makefile = "run: stage ## Run\nX := 1\n"
	product  = "module m\n\ngo 1.26\n\nrequire (\n\texample.com/a v1.2.0\n\texample.com/b v0.1.0 // indirect\n)\n"
	tools    = "module m/tools\n\ngo 1.26\n\ntool example.com/lint/v2/cmd/lint\n\nrequire (\n\texample.com/lint v1.0.0 // indirect\n\texample.com/lint/v2 v2.3.0 // indirect\n)\n"
	npm      = `{"dependencies": {"pkg": "3.0.0"}}`
	reason   = "a reason long enough to say something"
	goodDeps = "| module | version | why |\n|---|---|---|\n" +
		"| `example.com/a` | v1.2.0 | " + reason + " |\n| `example.com/lint/v2` | v2.3.0 | MIT | " + reason + " |\n| `pkg` | 3.0.0 | " + reason + " |\n"
)

func TestCheck(t *testing.T) {
	tests := []struct {
		name, file, text string
		want             []string
	}{
		{"good", "README.md", "# A title\n\n[self](#a-title) [file](docs/dependencies.md) [site](https://example.com/x) `make run` `docs/`\n", nil},
		{"missing file", "README.md", "[x](docs/none.md)", []string{`README.md:1: link "docs/none.md": no such file in the repository`}},
		{"outside", "README.md", "[x](../README.md)", []string{`README.md:1: link "../README.md": no such file in the repository`}},
		{"missing heading", "README.md", "# One\n[x](#two)", []string{`README.md:2: link "#two": no such heading`}},
		{"heading elsewhere", "docs/a.md", "[x](dependencies.md#none)", []string{`docs/a.md:1: link "dependencies.md#none": no such heading`}},
		{"repeated heading", "README.md", "# Same\n# Same\n[x](#same-1)", nil},
		{"plain http", "README.md", "[x](http://example.com/)", []string{`README.md:1: link "http://example.com/": a link to another site is https`}},
		{"absolute", "README.md", "[x](/docs)", []string{`README.md:1: link "/docs": a link inside the repository is relative`}},
		{"link in code is text", "README.md", "`[x](none.md)`\n```\n[x](none.md)\n```\n", nil},
		{"unknown target", "README.md", "`make rum`\n```sh\nPORT=1 make X=2 nun # make later\n```\n", []string{
			`README.md:3: the Makefile has no target "nun"`, `README.md:1: the Makefile has no target "rum"`,
		}},
		{"make in prose is a word", "README.md", "make sense", nil},
		{"missing path", "README.md", "see `scripts/none.go`, `scripts/<any>` and `handler/*.go`", []string{`README.md:1: scripts/none.go does not exist`}},
		{"unfinished", "README.md", "TODO: write", []string{"README.md:1: unfinished: TODO"}},
		{"machine", "README.md", "in `/home/me/x`", []string{"README.md:1: names a path of one machine: /home/me/x`"}},
		{"wrong version", "docs/dependencies.md", strings.Replace(goodDeps, "v1.2.0", "v1.3.0", 1), []string{
			"docs/dependencies.md:3: example.com/a: version v1.3.0, the manifest has v1.2.0",
		}},
		{"no reason", "docs/dependencies.md", strings.Replace(goodDeps, reason, "needed", 1), []string{"docs/dependencies.md:3: example.com/a: says no reason"}},
		{"not listed", "docs/dependencies.md", strings.Replace(goodDeps, "| `pkg`", "| pkg", 1), []string{"docs/dependencies.md: pkg 3.0.0 is not listed"}},
		{"not required", "docs/dependencies.md", goodDeps + "| `example.com/b` | v0.1.0 | " + reason + " |\n", []string{
			"docs/dependencies.md:6: example.com/b: no manifest requires it directly",
		}},
		{"twice", "docs/dependencies.md", goodDeps + "| `pkg` | 3.0.0 | " + reason + " |\n", []string{"docs/dependencies.md:6: pkg: listed twice"}},
		{"quotes", "docs/limits.md", "`handler/x_test.go`: `func TestThere(t  *testing.T)` `handler/x_test.go`: `maxBody = 1`\n", []string{
			`docs/limits.md:1: handler/x_test.go does not hold "maxBody = 1"`,
		}},
		{"named tests", "README.md", "`TestThere` `TestThere/sub` `TestGone` `Testimony`", []string{"README.md:1: there is no test TestGone"}},
		{"evidence", "THREAT_MODEL.md", "|threat|evidence|\n|--|--|\n|a|`TestThere`|\n|b|`handler/`|\n|c|Gap: " + reason + "|\n", nil},
		{"no evidence", "THREAT_MODEL.md", "|threat|evidence|\n|--|--|\n|a|we think so|\n|b|`docs/none.md`|\n|c|Gap: later|\n|d|\n", []string{
			"THREAT_MODEL.md:4: docs/none.md does not exist",
			"THREAT_MODEL.md:3: a: no evidence", "THREAT_MODEL.md:4: b: no evidence", "THREAT_MODEL.md:5: c: no evidence",
			"THREAT_MODEL.md:6: the row has 1 cells for 2 columns",
		}},
		{"other tables need none", "README.md", "|a|b|\n|--|--|\n|c|d|\n", nil},
		{"first record", "docs/adr/0001-a.md", "# 1. A\n\n[ADR 1](0001-a.md)\n", nil},
		{"records", "docs/adr/0003-c.md", "# 2. C\n[ADR 2](0003-c.md)\n", []string{
			"docs/adr/0003-c.md:2: ADR 2 leads to 0003",
			"docs/adr/0003-c.md: its number is not the next one, 0001", `docs/adr/0003-c.md: does not begin with "# 3. "`,
		}},
		{"unnumbered record", "docs/adr/c.md", "# C\n", []string{"docs/adr/c.md: a decision record is named 0001-what-it-decides.md"}},
		{"obligations", "docs/conformance/api-top10.md", "|id|evidence|\n|--|--|\n" + ids("API1 API2 API3 API4 API5 API6 API7 API8 API9 API9"), []string{
			"docs/conformance/api-top10.md: 2 rows for API9", "docs/conformance/api-top10.md: no row for API10",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range map[string]string{
				"handler/x_test.go": "package x\n\nfunc TestThere(t *testing.T) {}\n",
				"Makefile":          makefile, "go.mod": product, "scripts/tools/go.mod": tools, "scripts/supply/go.mod": "module m/supply\n\ngo 1.26\n",
				"scripts/kics/go.mod":           "module m/kics\n\ngo 1.26\n",
				"scripts/devstack/package.json": npm, "docs/dependencies.md": goodDeps,
			} {
				write(t, root, name, text)
			}
			write(t, root, tt.file, tt.text)
			got, err := check(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// ids is a row with evidence for each id.
func ids(list string) string {
	var rows strings.Builder
	for id := range strings.FieldsSeq(list) {
		rows.WriteString("|" + id + "|`TestThere`|\n")
	}
	return rows.String()
}

func TestMissingDependenciesDocument(t *testing.T) {
	got, err := dependencies(t.Context(), t.TempDir(), nil)
	if err != nil || len(got) != 1 {
		t.Errorf("dependencies() = %q, %v", got, err)
	}
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRecordsHaveANumberEach: two records of one number are one too many, whichever came first.
func TestRecordsHaveANumberEach(t *testing.T) {
	docs := documents{}
	for _, name := range []string{"docs/adr/0001-a.md", "docs/adr/0002-b.md", "docs/adr/0002-c.md", "docs/adr/0003-d.md"} {
		docs[name] = parse(name, "# "+name[12:13]+". Title\n")
	}
	want := []string{"docs/adr/0002-c.md: its number is not the next one, 0003"}
	if diff := cmp.Diff(want, docs.records()); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
