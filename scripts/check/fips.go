package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// fipsModule is the version of the Go Cryptographic Module that has a CMVP
// certificate. The toolchain brings its frozen source.
const fipsModule = "v1.0.0"

// fipsPackages are those that call cryptographic functions themselves. They are
// tested in the mode in which everything that is not approved fails.
var fipsPackages = []string{
	"./handler/audit", "./handler/authn", "./handler/checkpoint", "./handler/envelope", "./handler/keyring", "./handler/rowseal",
}

// fips builds the handler on the certified module and looks into the binary, then
// tests its cryptography with enforcement.
func fips(ctx context.Context, out io.Writer) (err error) {
	root, err := output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	snapshot, err := certified(os.DirFS(filepath.Join(strings.TrimSpace(root), "lib", "fips140")))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "secureapi-fips-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "handler")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./handler")
	build.Env = append(os.Environ(), "GOFIPS140="+fipsModule, "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64") // as it is deployed
	build.Stdout, build.Stderr = out, out
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the handler: %w", err)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("reading the binary: %w", err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if err := builtOn(settings, snapshot); err != nil {
		return err
	}
	test := exec.CommandContext(ctx, "go", append([]string{"test"}, fipsPackages...)...) // #nosec G204 -- a fixed list
	test.Env = append(os.Environ(), "GOFIPS140="+fipsModule, "GODEBUG=fips140=only")
	test.Stdout, test.Stderr = out, out
	return test.Run()
}

// certified resolves the module's version in the toolchain's folder, and refuses
// a snapshot that the toolchain itself does not call certified.
func certified(toolchain fs.FS) (snapshot string, err error) {
	read := func(name string) (string, error) {
		b, err := fs.ReadFile(toolchain, name)
		return strings.TrimSpace(string(b)), err
	}
	snapshot, err = read(fipsModule + ".txt")
	if err != nil {
		return "", &notRunError{"this Go toolchain has no snapshot of the cryptographic module " + fipsModule}
	}
	list, err := read("certified.txt")
	if err != nil || !slices.Contains(strings.Fields(list), snapshot) {
		return "", fmt.Errorf("snapshot %s is not among the certified ones of this Go toolchain", snapshot)
	}
	return snapshot, nil
}

// builtOn reads what the linker wrote: the module's snapshot, and that the mode
// is on without anything in the environment.
func builtOn(settings map[string]string, snapshot string) error {
	var errs []error
	if settings["GOFIPS140"] != snapshot {
		errs = append(errs, fmt.Errorf("the binary is built on module %q, want %q", settings["GOFIPS140"], snapshot))
	}
	if !slices.Contains(strings.Split(settings["DefaultGODEBUG"], ","), "fips140=on") {
		errs = append(errs, errors.New("the binary does not start in FIPS 140-3 mode"))
	}
	return errors.Join(errs...)
}
