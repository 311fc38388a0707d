package main

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var (
	recordName = regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9-]+\.md$`)
	recordLink = regexp.MustCompile(`\[ADR (\d+)\]\([^)]*?(\d{4})-[^)]*\)`)
)

// records reports decision records that share a number, leave one out or have
// another in their title, and links that give a record a number that is not its.
func (docs documents) records() (problems []string) {
	next := 1
	for _, name := range docs.names() {
		d := docs[name]
		for _, l := range d.prose {
			for _, m := range recordLink.FindAllStringSubmatch(l.text, -1) {
				if padded(m[1]) != m[2] {
					problems = append(problems, fmt.Sprintf("%s:%d: ADR %s leads to %s", name, l.number, m[1], m[2]))
				}
			}
		}
		if path.Dir(name) != "docs/adr" {
			continue
		}
		m := recordName.FindStringSubmatch(name)
		if m == nil {
			problems = append(problems, name+": a decision record is named 0001-what-it-decides.md")
			continue
		}
		number, err := strconv.Atoi(m[1])
		if err != nil || number != next {
			problems = append(problems, fmt.Sprintf("%s: its number is not the next one, %04d", name, next))
		}
		next = number + 1
		if title := fmt.Sprintf("# %d. ", number); len(d.prose) == 0 || !strings.HasPrefix(d.prose[0].text, title) {
			problems = append(problems, fmt.Sprintf("%s: does not begin with %q", name, title))
		}
	}
	return problems
}

func padded(number string) string { return strings.Repeat("0", max(0, 4-len(number))) + number }
