package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"secureapi/scripts/checkinfra"
)

// The pinned tools are a module of their own: they neither grow the product's
// go.mod nor touch what a developer has installed.
const (
	toolsDir     = "scripts/tools"
	toolsModfile = "-modfile=" + toolsDir + "/go.mod"
	// kicsDir is a module of its own as well: its libraries are of no use elsewhere.
	kicsDir = "scripts/kics"
)

// all lists the checks in the order of what they cost.
func all() []check {
	return []check{
		{"modules", modules},
		{"format", format},
		{"vet", vet},
		{"docs", docs},
		{"shell", shell},
		{"workflows", workflows},
		{"secrets", secrets},
		{"bicep", bicep},
		{"sbom", sbom},
		{"kics", kics},
		{"vulnerabilities", vulnerabilities("./...")},
		{"fips", fips},
		{"lint", lint},
		{"lint-rules", lintRules},
		{"race", race},
	}
}

func modules(ctx context.Context, out io.Writer) error {
	return errors.Join(
		goRun(ctx, out, "mod", "tidy", "-diff"),
		goRun(ctx, out, "mod", "verify"),
		goRun(ctx, out, "-C", toolsDir, "mod", "tidy", "-diff"),
		goRun(ctx, out, "-C", toolsDir, "mod", "verify"),
		goRun(ctx, out, "-C", supplyDir, "mod", "tidy", "-diff"),
		goRun(ctx, out, "-C", supplyDir, "mod", "verify"),
		goRun(ctx, out, "-C", kicsDir, "mod", "tidy", "-diff"),
		goRun(ctx, out, "-C", kicsDir, "mod", "verify"),
	)
}

func format(ctx context.Context, out io.Writer) error {
	var diff bytes.Buffer
	err := goRun(ctx, io.MultiWriter(out, &diff), "tool", toolsModfile, "gofumpt", "-d", "handler", "scripts")
	if err == nil && diff.Len() > 0 {
		return errors.New("`make format` writes these changes")
	}
	return err
}

func vet(ctx context.Context, out io.Writer) error {
	return goRun(ctx, out, "vet", "./...")
}

func docs(ctx context.Context, out io.Writer) error {
	return goRun(ctx, out, "run", "./scripts/checkdocs")
}

func lint(ctx context.Context, out io.Writer) error {
	return goRun(ctx, out, "tool", toolsModfile, "golangci-lint", "run", "./handler/...", "./scripts/...")
}

// lintRules proves that the project's own rules fire. Go's test cache does not see
// the linter's configuration, which is outside the tools' module: hence -count=1.
func lintRules(ctx context.Context, out io.Writer) error {
	return goRun(ctx, out, "-C", toolsDir, "test", "-count=1", "./...")
}

// race tests the product itself; the programs of scripts/ run without the
// detector in `make test`.
func race(ctx context.Context, out io.Writer) error {
	cc, err := output(ctx, "go", "env", "CC")
	if err != nil {
		return err
	}
	compiler, _, _ := strings.Cut(strings.TrimSpace(cc), " ")
	if _, err := exec.LookPath(compiler); err != nil {
		return &notRunError{fmt.Sprintf("the race detector needs a C compiler, and %q is not on PATH", compiler)}
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-race", "-shuffle=on", "-timeout=10m", "./handler/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}

// vulnerabilities needs the Go vulnerability database, at its usual place or at
// GOVULNDB. Without it there is no verdict: the cause is printed in full.
func vulnerabilities(packages string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, out io.Writer) error {
		var report bytes.Buffer
		err := goRun(ctx, &report, "tool", toolsModfile, "govulncheck", packages)
		_, why, unreachable := strings.Cut(report.String(), "fetching vulnerabilities: ")
		if err != nil && unreachable {
			why, _, _ = strings.Cut(why, "\n")
			return &notRunError{"no vulnerability database (GOVULNDB can name a mirror): " + why}
		}
		_, copyErr := report.WriteTo(out)
		return errors.Join(err, copyErr)
	}
}

// shell lints every shell script that the repository holds.
func shell(ctx context.Context, out io.Writer) error {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		return &notRunError{"shellcheck is not on PATH"}
	}
	names, err := output(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.sh", ".ci/run")
	if err != nil {
		return err
	}
	files := strings.FieldsFunc(names, func(r rune) bool { return r == 0 })
	if len(files) < 3 {
		return fmt.Errorf("%d shell scripts: not all were found", len(files))
	}
	cmd := exec.CommandContext(ctx, "shellcheck", files...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("shellcheck: %w", err)
	}
	return nil
}

// bicep compiles and lints every template, compares it with its canonical
// format, and each profile with its committed snapshot. Rules and their levels
// are in infra/bicepconfig.json.
func bicep(ctx context.Context, out io.Writer) error {
	files, err := bicepFiles("infra")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return &notRunError{"infra/ has no .bicep file"}
	}
	if _, err := exec.LookPath("bicep"); err != nil {
		return &notRunError{"the Bicep CLI is not on PATH"}
	}
	var errs []error
	for _, f := range files {
		errs = append(errs, bicepFile(ctx, out, f))
	}
	for _, profile := range slices.Concat(checkinfra.Profiles(), checkinfra.Options()) {
		difference, err := checkinfra.Compare(ctx, "infra", profile)
		if err != nil {
			_, printErr := fmt.Fprint(out, difference)
			err = errors.Join(err, printErr)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// kics scans what the profiles deploy with the rules of KICS, built from a pinned
// module: less than a minute of one core at first, then seconds from Go's cache.
// That cache does not see the snapshots change: hence -count=1.
func kics(ctx context.Context, out io.Writer) error {
	return goRun(ctx, out, "-C", kicsDir, "test", "-count=1", "./...")
}

func bicepFiles(dir string) ([]string, error) {
	var files []string
	for _, pattern := range []string{"*.bicep", "*/*.bicep", "*.bicepparam", "*/*.bicepparam"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fmt.Errorf("listing Bicep files: %w", err)
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	return files, nil
}

func bicepFile(ctx context.Context, out io.Writer, file string) error {
	if strings.HasPrefix(file, filepath.Join("infra", "entra")+string(filepath.Separator)) {
		// Its extension is restored from a registry. The rest of the gate is offline.
		if _, err := fmt.Fprintf(out, "not compiled: %s uses the Graph extension; compared with its format only\n", file); err != nil {
			return err
		}
		return bicepFormat(ctx, file)
	}
	build := "build"
	if strings.HasSuffix(file, ".bicepparam") {
		build = "build-params"
	}
	var messages bytes.Buffer
	cmd := exec.CommandContext(ctx, "bicep", build, "--stdout", file)
	cmd.Stderr = &messages
	cmd.Env = append(os.Environ(), checkinfra.Environment()...)
	err := cmd.Run()
	if _, copyErr := out.Write(messages.Bytes()); copyErr != nil {
		return copyErr
	}
	// The compiler succeeds with warnings; a clean template has none.
	if err != nil || strings.Contains(messages.String(), " : Warning ") {
		return fmt.Errorf("%s does not compile cleanly", file)
	}
	return bicepFormat(ctx, file)
}

func bicepFormat(ctx context.Context, file string) error {
	formatted, err := output(ctx, "bicep", "format", "--stdout", file)
	if err != nil {
		return fmt.Errorf("formatting %s: %w", file, err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.TrimSpace(formatted) != strings.TrimSpace(string(written)) {
		return fmt.Errorf("%s: `bicep format %s` changes it", file, file)
	}
	return nil
}

// goRun runs the go command with both its outputs in out.
func goRun(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// output runs a program and returns its standard output.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), nil
}
