package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// quote matches a file of the repository and, behind a colon, what stands in it:
// `path/of/file.go`: `maxBody = 1 << 20`.
var quote = regexp.MustCompile("`([A-Za-z0-9._/-]+)`: `([^`]+)`")

// quotes reports quoted text that its file does not hold: a limit that was changed
// in the code and not in the document. Spaces count as one.
func (d *document) quotes(root string) (problems []string) {
	for _, l := range d.prose {
		for _, m := range quote.FindAllStringSubmatch(l.text, -1) {
			if !ownPath.MatchString(m[1]) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m[1])))
			if err != nil {
				continue // told by paths
			}
			if !strings.Contains(oneSpaced(string(text)), oneSpaced(m[2])) {
				problems = append(problems, fmt.Sprintf("%s:%d: %s does not hold %q", d.name, l.number, m[1], m[2]))
			}
		}
	}
	return problems
}

func oneSpaced(s string) string { return strings.Join(strings.Fields(s), " ") }
