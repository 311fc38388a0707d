package staging

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build compiles Root/handler. CGO_ENABLED=0 makes the binary static: the
// image it runs on is chosen by the platform and need not have a C library
// that fits. -trimpath keeps the builder's paths out, -s -w the symbol tables.
func Build(ctx context.Context, o Options, out string) error {
	if o.GOOS == "windows" {
		return errors.New("building the handler: the package runs on Linux (stage on Windows with -goos linux)")
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("building the handler: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "./handler")
	cmd.Dir = o.Root
	cmd.Stdout, cmd.Stderr = o.Log, o.Log
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if o.GOOS != "" {
		cmd.Env = append(cmd.Env, "GOOS="+o.GOOS)
	}
	if o.GOARCH != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+o.GOARCH)
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the handler: %w", err)
	}
	return nil
}

// ErrDynamic tells that the handler would need libraries of the machine.
var ErrDynamic = errors.New("the handler is not a static binary: build it with CGO_ENABLED=0")

// CheckStatic refuses an ELF binary that asks for a dynamic loader. Another
// format (a developer's macOS) never reaches Azure and passes.
func CheckStatic(binary string) error {
	f, err := elf.Open(binary)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the handler: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return ErrDynamic
		}
	}
	return nil
}
