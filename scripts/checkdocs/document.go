package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A document is one Markdown file. Lines of fenced code are kept apart: links in
// them are text, and commands in them are what readers paste.
type document struct {
	name    string // relative to the root, with slashes
	prose   []line
	code    []line
	anchors map[string]bool
}

type line struct {
	number int
	text   string
}

type documents map[string]*document

// skipped folders hold no documentation of this project.
var skipped = []string{".git", ".local", "bin", "dist", "node_modules", "testdata"}

var (
	heading    = regexp.MustCompile(`^#{1,6}\s+(.+?)\s*#*$`)
	link       = regexp.MustCompile(`!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	span       = regexp.MustCompile("`([^`]+)`")
	makeCall   = regexp.MustCompile(`(?:^|[\s;&|(])make((?:\s+[A-Za-z_]+=\S+)*)\s+([a-z][a-z-]*)`)
	ownPath    = regexp.MustCompile(`^(?:handler|scripts|functions|infra|docs|\.ci|\.github|\.devcontainer)/[A-Za-z0-9._/-]*$`)
	unfinished = regexp.MustCompile(`\b(TODO|FIXME|TBD|XXX|lorem ipsum)\b`)
	machine    = regexp.MustCompile(`(?:^|[\s"'(=` + "`" + `])(/(?:home|root|Users|work|tmp)/\S*)`)
)

// load reads every Markdown file under root.
func load(root string) (documents, error) {
	docs := documents{}
	err := readAll(root, ".md", func(name, text string) {
		docs[name] = parse(name, text)
	})
	if err != nil {
		return nil, fmt.Errorf("reading documents: %w", err)
	}
	return docs, nil
}

// readAll reads the files of this project whose names end so. The name that visit
// is given is relative to root, with slashes.
func readAll(root, suffix string, visit func(name, text string)) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains(skipped, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, suffix) {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(rel), string(text))
		return nil
	})
}

func (docs documents) names() []string { return slices.Sorted(maps.Keys(docs)) }

func parse(name, text string) *document {
	d := &document{name: name, anchors: map[string]bool{}}
	var fence string
	for i, t := range strings.Split(text, "\n") {
		l := line{i + 1, strings.TrimRight(t, "\r")}
		trimmed := strings.TrimSpace(l.text)
		switch {
		case fence != "":
			if trimmed == fence {
				fence = ""
			} else {
				d.code = append(d.code, l)
			}
			continue
		case strings.HasPrefix(trimmed, "```"), strings.HasPrefix(trimmed, "~~~"):
			fence = trimmed[:3]
			continue
		}
		d.prose = append(d.prose, l)
		if m := heading.FindStringSubmatch(l.text); m != nil {
			d.addAnchor(m[1])
		}
	}
	return d
}

// addAnchor follows the rule of the forges: lower case, spaces to hyphens, only
// letters, digits, hyphens and underscores kept; a repeated one is numbered.
func (d *document) addAnchor(title string) {
	var b strings.Builder
	for _, r := range strings.ToLower(link.ReplaceAllStringFunc(title, linkText)) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	anchor := b.String()
	for n := 1; d.anchors[anchor]; n++ {
		anchor = b.String() + "-" + strconv.Itoa(n)
	}
	d.anchors[anchor] = true
}

func linkText(l string) string {
	text, _, _ := strings.Cut(strings.TrimLeft(l, "!["), "](")
	return text
}

// links reports what leads nowhere. Code spans are cut out first.
func (docs documents) links(root string, d *document) (problems []string) {
	for _, l := range d.prose {
		for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(l.text, ""), -1) {
			if err := docs.follow(root, d, m[1]); err != nil {
				problems = append(problems, fmt.Sprintf("%s:%d: link %q: %v", d.name, l.number, m[1], err))
			}
		}
	}
	return problems
}

func (docs documents) follow(root string, from *document, target string) error {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return errors.New("not a URL")
	case u.Scheme == "mailto":
		return nil
	case u.Scheme != "":
		if u.Scheme != "https" || u.Host == "" {
			return errors.New("a link to another site is https")
		}
		return nil
	case strings.HasPrefix(u.Path, "/"):
		return errors.New("a link inside the repository is relative")
	}
	name := from.name
	if u.Path != "" {
		name = path.Join(path.Dir(from.name), u.Path)
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil || strings.HasPrefix(name, "..") {
			return errors.New("no such file in the repository")
		}
	}
	if to := docs[name]; u.Fragment != "" && to != nil && !to.anchors[u.Fragment] {
		return errors.New("no such heading")
	}
	return nil
}

// commands reports `make` targets that the Makefile does not have.
func (d *document) commands(targets map[string]bool) (problems []string) {
	report := func(number int, text string) {
		for _, m := range makeCall.FindAllStringSubmatch(text, -1) {
			if !targets[m[2]] {
				problems = append(problems, fmt.Sprintf("%s:%d: the Makefile has no target %q", d.name, number, m[2]))
			}
		}
	}
	for _, l := range d.code {
		command, _, _ := strings.Cut(l.text, "#")
		report(l.number, command)
	}
	for _, l := range d.prose {
		for _, m := range span.FindAllStringSubmatch(l.text, -1) {
			report(l.number, m[1])
		}
	}
	return problems
}

// paths reports code spans that name a file of the repository which is not there.
func (d *document) paths(root string) (problems []string) {
	for _, l := range d.prose {
		for _, m := range span.FindAllStringSubmatch(l.text, -1) {
			if !ownPath.MatchString(m[1]) {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
				problems = append(problems, fmt.Sprintf("%s:%d: %s does not exist", d.name, l.number, m[1]))
			}
		}
	}
	return problems
}

// words reports unfinished text and paths of someone's machine.
func (d *document) words() (problems []string) {
	for _, l := range slices.Concat(d.prose, d.code) {
		if m := unfinished.FindString(l.text); m != "" {
			problems = append(problems, fmt.Sprintf("%s:%d: unfinished: %s", d.name, l.number, m))
		}
		if m := machine.FindStringSubmatch(l.text); m != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: names a path of one machine: %s", d.name, l.number, m[1]))
		}
	}
	return problems
}
