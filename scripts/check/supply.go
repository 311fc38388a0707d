package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// The tools of this file are a module of their own beside scripts/tools, so that
// their many dependencies do not decide the linter's versions.
const (
	supplyDir     = "scripts/supply"
	supplyModfile = "-modfile=" + supplyDir + "/go.mod"
)

// workflows lints what the forge runs. scripts/workflows_test.go holds the rules
// that the linter does not know: pins, permissions, triggers.
func workflows(ctx context.Context, out io.Writer) error {
	return goRun(ctx, out, "tool", supplyModfile, "actionlint", "-color=false")
}

// secrets searches every commit. A copy without history, as a template is
// downloaded, has no verdict.
func secrets(ctx context.Context, out io.Writer) error {
	if _, err := output(ctx, "git", "rev-parse", "--verify", "HEAD"); err != nil {
		return &notRunError{"not a Git repository with a commit, so there is no history to search"}
	}
	return goRun(ctx, out, "tool", supplyModfile, "gitleaks", "git", "--no-banner", "--no-color", "--redact", "--log-level=warn", ".")
}

// sbom makes the bill of materials as a release does, and holds it against what
// the deployed binary says of itself: a bill that lacks a module hides it.
func sbom(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "secureapi-sbom-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bill, binary := filepath.Join(dir, "sbom.cdx.json"), filepath.Join(dir, "handler")
	write := exec.CommandContext(ctx, "make", "--no-print-directory", "sbom", "SBOM="+bill) // #nosec G204 -- a folder of its own making
	write.Stdout, write.Stderr = out, out
	if err := write.Run(); err != nil {
		return fmt.Errorf("making the bill of materials: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./handler")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64") // as it is deployed
	build.Stdout, build.Stderr = out, out
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the handler: %w", err)
	}
	text, err := os.ReadFile(bill)
	if err != nil {
		return err
	}
	linked, err := linkedModules(binary)
	if err != nil {
		return err
	}
	return compareSBOM(text, linked)
}

// linkedModules reads what the linker wrote into the binary.
func linkedModules(binary string) ([]string, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("reading the binary's modules: %w", err)
	}
	var modules []string
	for _, m := range info.Deps {
		modules = append(modules, m.Path+"@"+m.Version)
	}
	return modules, nil
}

// compareSBOM reports modules that stand in one of the two only.
func compareSBOM(bill []byte, linked []string) error {
	var b struct {
		Format     string `json:"bomFormat"`
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(bill, &b); err != nil || b.Format != "CycloneDX" {
		return errors.New("the bill of materials is not CycloneDX JSON")
	}
	var listed []string
	for _, c := range b.Components {
		if c.Name != "std" { // the standard library is no module
			listed = append(listed, c.Name+"@"+c.Version)
		}
	}
	if len(listed) == 0 || len(linked) == 0 {
		return errors.New("the bill of materials or the binary lists no module")
	}
	var errs []error
	for _, m := range linked {
		if !slices.Contains(listed, m) {
			errs = append(errs, fmt.Errorf("%s is linked, but not in the bill of materials", m))
		}
	}
	for _, m := range listed {
		if !slices.Contains(linked, m) {
			errs = append(errs, fmt.Errorf("%s is in the bill of materials, but not linked", m))
		}
	}
	return errors.Join(errs...)
}
