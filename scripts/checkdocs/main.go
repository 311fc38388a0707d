// Command checkdocs holds the documentation against the tree: every relative
// link and anchor in a Markdown file leads somewhere, every `make` target, path
// and test in code spans exists, what is quoted from a file stands in it, no text
// is unfinished or names a developer's machine, decision records are numbered one
// by one, docs/dependencies.md agrees with the manifests, and every claim of
// THREAT_MODEL.md and docs/conformance/ has evidence.
//
// It reads no network: a link to another site is checked for its form only.
//
//	go run ./scripts/checkdocs          # the repository it stands in
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	problems, err := check(ctx, ".")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "checkdocs:", err)
		os.Exit(2)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		fmt.Fprintf(os.Stderr, "checkdocs: %d problems\n", len(problems))
		os.Exit(1)
	}
}

// check returns every problem of the documentation under root.
func check(ctx context.Context, root string) ([]string, error) {
	docs, err := load(root)
	if err != nil {
		return nil, err
	}
	targets, err := makeTargets(root)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, name := range docs.names() {
		d := docs[name]
		problems = append(problems, docs.links(root, d)...)
		problems = append(problems, d.commands(targets)...)
		problems = append(problems, d.paths(root)...)
		problems = append(problems, d.quotes(root)...)
		problems = append(problems, d.words()...)
	}
	problems = append(problems, docs.records()...)
	unproved, err := evidence(root, docs)
	if err != nil {
		return nil, err
	}
	problems = append(problems, unproved...)
	wrong, err := dependencies(ctx, root, docs["docs/dependencies.md"])
	return append(problems, wrong...), err
}
