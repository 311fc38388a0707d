// Command infra writes what is generated of the infrastructure: the handler's
// settings in the templates, in the sample and in the documentation; the
// snapshots of what the templates deploy; what that costs.
//
// Tests compare each file with its source, so a change of a setting, a template
// or a price that is not followed by this command fails them. Snapshots need the
// Bicep CLI.
//
//	go run ./scripts/infra      # make infra
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"

	"secureapi/scripts/checkinfra"
	"secureapi/scripts/cost"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, ".")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "infra:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string) error {
	files, err := checkinfra.Generated(root)
	if err != nil {
		return err
	}
	if err := write(root, files); err != nil {
		return err
	}
	if err := snapshots(ctx, root); err != nil {
		return err
	}
	// The snapshots say what there is to be paid.
	document, err := cost.Document(root)
	if err != nil {
		return err
	}
	return write(root, map[string]string{filepath.Join("docs", "cost.md"): document})
}

func snapshots(ctx context.Context, root string) error {
	if _, err := exec.LookPath("bicep"); err != nil {
		return errors.New("the snapshots are not rewritten: the Bicep CLI is not on PATH")
	}
	for _, name := range slices.Concat(checkinfra.Profiles(), checkinfra.Options()) {
		if err := checkinfra.Rewrite(ctx, filepath.Join(root, "infra"), name); err != nil {
			return err
		}
	}
	return nil
}

func write(root string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil { // #nosec G306 -- sources
			return fmt.Errorf("writing what is generated: %w", err)
		}
	}
	return nil
}
