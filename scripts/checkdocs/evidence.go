package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// A claim of these documents rests on evidence: each row of a table whose last
// column is headed "evidence" names a test or a file of the repository there, or
// says in words that it is a gap, and why it is accepted.
const evidenceColumn = "evidence"

var (
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w+)\(`)
	namedTest = regexp.MustCompile(`^((?:Test|Fuzz)[A-Z]\w*)(?:/.*)?$`)
	separator = regexp.MustCompile(`^\|(?:\s*:?-+:?\s*\|)+$`)
	gap       = regexp.MustCompile(`^(?:Gap|Not applicable|Left to the deployment): (.+)$`)
)

// inventory is what evidence may name.
type inventory struct {
	root  string
	tests map[string]bool
}

// newInventory collects the names of all test functions under root.
func newInventory(root string) (inventory, error) {
	inv := inventory{root, map[string]bool{}}
	err := readAll(root, "_test.go", func(_, text string) {
		for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
			inv.tests[m[1]] = true
		}
	})
	if err != nil {
		return inventory{}, fmt.Errorf("collecting tests: %w", err)
	}
	return inv, nil
}

// named reports tests that a document names and that do not exist.
func (inv inventory) named(d *document) (problems []string) {
	for _, l := range d.prose {
		for _, m := range span.FindAllStringSubmatch(l.text, -1) {
			if t := namedTest.FindStringSubmatch(m[1]); len(t) > 0 && !inv.tests[t[1]] {
				problems = append(problems, fmt.Sprintf("%s:%d: there is no test %s", d.name, l.number, t[1]))
			}
		}
	}
	return problems
}

// rows reports rows of evidence tables that have none, and returns the first
// cell of every row.
func (inv inventory) rows(d *document) (first, problems []string) {
	inside := false
	var former []string
	for _, l := range d.prose {
		if !strings.HasPrefix(l.text, "|") {
			inside, former = false, nil
			continue
		}
		row := cells(l.text)
		switch {
		case separator.MatchString(l.text):
			inside = len(former) > 1 && strings.EqualFold(former[len(former)-1], evidenceColumn)
		case inside:
			first = append(first, row[0])
			switch {
			case len(row) != len(former):
				problems = append(problems, fmt.Sprintf("%s:%d: the row has %d cells for %d columns", d.name, l.number, len(row), len(former)))
			case !inv.proves(row[len(row)-1]):
				problems = append(problems, fmt.Sprintf("%s:%d: %s: no evidence", d.name, l.number, row[0]))
			}
		default:
			former = row
		}
	}
	return first, problems
}

// proves reports whether the cell names a test or a file that exists, or admits a
// gap with its reason.
func (inv inventory) proves(cell string) bool {
	if m := gap.FindStringSubmatch(cell); m != nil {
		return len(m[1]) >= shortestReason
	}
	found := false
	for _, m := range span.FindAllStringSubmatch(cell, -1) {
		if t := namedTest.FindStringSubmatch(m[1]); t != nil {
			found = found || inv.tests[t[1]]
			continue
		}
		if ownPath.MatchString(m[1]) {
			_, err := os.Stat(filepath.Join(inv.root, filepath.FromSlash(m[1])))
			found = found || err == nil
		}
	}
	return found
}

func cells(row string) []string {
	parts := strings.Split(strings.Trim(row, "|"), "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// evidence checks every document's named tests and evidence tables, and that the
// documents of obligations have a row for each.
func evidence(root string, docs documents) (problems []string, err error) {
	inv, err := newInventory(root)
	if err != nil {
		return nil, err
	}
	seen := map[string][]string{}
	for _, name := range docs.names() {
		first, wrong := inv.rows(docs[name])
		seen[name] = first
		problems = append(problems, inv.named(docs[name])...)
		problems = append(problems, wrong...)
	}
	for _, list := range obligations {
		if docs[list.document] == nil {
			continue
		}
		for _, id := range list.rows {
			switch n := count(seen[list.document], id); n {
			case 1:
			case 0:
				problems = append(problems, fmt.Sprintf("%s: no row for %s", list.document, id))
			default:
				problems = append(problems, fmt.Sprintf("%s: %d rows for %s", list.document, n, id))
			}
		}
	}
	return problems, nil
}

func count(list []string, want string) (n int) {
	for _, s := range list {
		if s == want {
			n++
		}
	}
	return n
}

// obligation is a document that must have a row for each id of a published list.
type obligation struct {
	document string
	rows     []string
}

func conformance(name, rows string) obligation {
	return obligation{path.Join("docs/conformance", name), strings.Fields(rows)}
}

// obligations are the requirements that apply to an API of this kind. Leaving one
// out of its document fails; so does a row without evidence.
var obligations = []obligation{
	// OWASP Application Security Verification Standard 5.0.0.
	conformance("asvs.md", `
		1.1.1 1.2.2 1.2.3 1.2.4 1.3.3 1.3.6 1.3.12 1.4.2 1.5.2 1.5.3
		2.1.1 2.1.3 2.2.1 2.2.3 2.3.2 2.3.3 2.3.4 2.4.1 3.4.1 3.4.2 3.4.4 3.5.3
		4.1.1 4.1.2 4.1.3 4.1.4 4.2.1 4.2.4 4.2.5 6.3.4 6.8.1 6.8.2 6.8.4 7.2.1 7.4.2
		8.1.1 8.1.2 8.2.1 8.2.2 8.2.3 8.3.1 8.3.2 8.3.3 8.4.1
		9.1.1 9.1.2 9.1.3 9.2.1 9.2.2 9.2.3 9.2.4 10.3.1 10.3.2 10.3.3 10.3.4 10.3.5
		11.1.1 11.1.2 11.2.1 11.2.2 11.2.3 11.2.4 11.2.5 11.3.1 11.3.2 11.3.3
		11.3.4 11.4.1 11.5.1 11.6.1 11.7.2 12.1.1 12.2.1 12.3.1 12.3.2 12.3.5
		13.1.1 13.1.2 13.1.4 13.2.1 13.2.2 13.2.4 13.2.6 13.3.1 13.3.3 13.3.4 13.4.1 13.4.2 13.4.4
		13.4.5 13.4.6 14.1.1 14.2.1 14.2.2 14.2.4 14.2.6 14.2.7 14.3.2
		15.1.1 15.1.2 15.1.3 15.2.1 15.2.2 15.2.3 15.2.4 15.3.1 15.3.2 15.3.3 15.3.4 15.3.5 15.3.7
		15.4.1 15.4.2 16.1.1 16.2.1 16.2.2 16.2.3 16.2.5 16.3.1 16.3.2 16.3.3 16.3.4 16.4.1 16.4.2
		16.4.3 16.5.1 16.5.2 16.5.3 16.5.4`),
	// OWASP API Security Top 10, 2023.
	conformance("api-top10.md", "API1 API2 API3 API4 API5 API6 API7 API8 API9 API10"),
	// The controls of the Microsoft cloud security benchmark that templates can satisfy.
	conformance("mcsb.md", `
		IM-1 IM-3 IM-7 IM-8 PA-7 NS-1 NS-2 DP-3 DP-4 DP-5 DP-6 LT-1 LT-4 BR-1 AM-2 PV-3`),
	// The serverless risks of the Cloud Security Alliance (SAS), 2019: the ten of its
	// first list.
	conformance("serverless-top10.md", "SAS-1 SAS-2 SAS-3 SAS-4 SAS-5 SAS-6 SAS-7 SAS-8 SAS-9 SAS-10"),
}
