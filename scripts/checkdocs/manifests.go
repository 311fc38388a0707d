package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// row matches a table row whose first cell is a name in code and whose second is
// a version, and takes the last cell as the reason.
var row = regexp.MustCompile("^\\|\\s*`([^`]+)`\\s*\\|\\s*([^|\\s]+)\\s*\\|(?:.*\\|)?\\s*([^|]+?)\\s*\\|$")

// shortestReason is what "we need it" does not reach.
const shortestReason = 30

// dependencies compares docs/dependencies.md with what the manifests require
// directly: the Go module, the pinned tools, the npm packages of the local stack.
func dependencies(ctx context.Context, root string, doc *document) ([]string, error) {
	if doc == nil {
		return []string{"docs/dependencies.md is missing"}, nil
	}
	want, err := required(ctx, root)
	if err != nil {
		return nil, err
	}
	var problems []string
	seen := map[string]bool{}
	for _, l := range doc.prose {
		m := row.FindStringSubmatch(l.text)
		if m == nil {
			continue
		}
		name, version, reason := m[1], m[2], m[3]
		at := fmt.Sprintf("%s:%d: %s", doc.name, l.number, name)
		switch wanted, known := want[name]; {
		case seen[name]:
			problems = append(problems, at+": listed twice")
		case !known:
			problems = append(problems, at+": no manifest requires it directly")
		case version != wanted:
			problems = append(problems, fmt.Sprintf("%s: version %s, the manifest has %s", at, version, wanted))
		case len(reason) < shortestReason:
			problems = append(problems, at+": says no reason")
		}
		seen[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !seen[name] {
			problems = append(problems, fmt.Sprintf("%s: %s %s is not listed", doc.name, name, want[name]))
		}
	}
	return problems, nil
}

// required returns name -> version of every direct dependency.
func required(ctx context.Context, root string) (map[string]string, error) {
	all := map[string]string{}
	for _, dir := range []string{"", "scripts/tools", "scripts/supply", "scripts/kics"} {
		mod, err := readGoMod(ctx, filepath.Join(root, filepath.FromSlash(dir), "go.mod"))
		if err != nil {
			return nil, err
		}
		for _, r := range mod.Require {
			if !r.Indirect {
				all[r.Path] = r.Version
			}
		}
		for _, t := range mod.Tool {
			module, err := mod.provides(t.Path)
			if err != nil {
				return nil, err
			}
			all[module.Path] = module.Version
		}
	}
	npm, err := readPackageJSON(filepath.Join(root, "scripts", "devstack", "package.json"))
	maps.Copy(all, npm)
	return all, err
}

type goMod struct {
	Require []requirement
	Tool    []struct{ Path string }
}

type requirement struct {
	Path, Version string
	Indirect      bool
}

func readGoMod(ctx context.Context, file string) (goMod, error) {
	out, err := exec.CommandContext(ctx, "go", "mod", "edit", "-json", file).Output()
	if err != nil {
		return goMod{}, fmt.Errorf("reading %s: %w", file, err)
	}
	var m goMod
	if err := json.Unmarshal(out, &m); err != nil {
		return goMod{}, fmt.Errorf("reading %s: %w", file, err)
	}
	return m, nil
}

// provides returns the module that a tool's package is in: the longest match.
func (m goMod) provides(pkg string) (requirement, error) {
	matching := slices.DeleteFunc(slices.Clone(m.Require), func(r requirement) bool {
		return pkg != r.Path && !strings.HasPrefix(pkg, r.Path+"/")
	})
	if len(matching) == 0 {
		return requirement{}, fmt.Errorf("no module provides the tool %s", pkg)
	}
	return slices.MaxFunc(matching, func(a, b requirement) int { return cmp.Compare(len(a.Path), len(b.Path)) }), nil
}

// readPackageJSON returns the packages of an npm manifest; none when there is none.
func readPackageJSON(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p struct{ Dependencies, DevDependencies, OptionalDependencies map[string]string }
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	all := maps.Clone(p.Dependencies)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, p.DevDependencies)
	maps.Copy(all, p.OptionalDependencies)
	return all, nil
}

var makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z-]*):(?:[^=]|$)`)

func makeTargets(root string) (map[string]bool, error) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return nil, err
	}
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(string(text), -1) {
		targets[m[1]] = true
	}
	return targets, nil
}
