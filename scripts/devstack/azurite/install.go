package azurite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// minNode is the oldest Node that Azurite runs on.
const minNode = 22

// script is Azurite's entry point, below node_modules.
var script = filepath.Join("azurite", "dist", "src", "azurite.js")

// FindRoot walks up from the working directory to the module's root.
func FindRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the project: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "devstack", "package-lock.json")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("finding the project: no scripts/devstack above the working directory")
		}
		dir = parent
	}
}

// Install runs `npm ci` in dir when what is installed is missing or older than
// the lockfile: exactly the locked packages, checked by hash, and none of their
// install scripts, which could fetch or run what no lockfile names.
func Install(ctx context.Context, dir string, log io.Writer) error {
	return exclusively(filepath.Join(dir, "package-lock.json"), func() error { return install(ctx, dir, log) })
}

func install(ctx context.Context, dir string, log io.Writer) error {
	lock, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("installing Azurite: %w", err)
	}
	installed, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", script)); err == nil {
			return nil
		}
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return errors.New("installing Azurite: npm is not on PATH; install Node.js with npm")
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("installing Azurite by npm ci: %w", err)
	}
	return nil
}

// lockedNode is where the npm package of this platform holds Node.
func lockedNode(dir string) string {
	cpu := runtime.GOARCH
	if cpu == "amd64" {
		cpu = "x64"
	}
	return filepath.Join(dir, "node_modules", "node-"+runtime.GOOS+"-"+cpu, "bin", "node")
}

// node returns a Node that is new enough: the npm package's where there is
// one for this platform, else the machine's own.
func node(ctx context.Context, dir string) (string, error) {
	locked := lockedNode(dir)
	if _, err := os.Stat(locked); err == nil {
		return locked, nil
	}
	path, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("starting Azurite: Node %d or newer is not on PATH", minNode)
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("asking Node for its version: %w", err)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	if major, err := strconv.Atoi(version); err != nil || major < minNode {
		return "", fmt.Errorf("starting Azurite: Node is version %s, and %d or newer is needed", version, minNode)
	}
	return path, nil
}

// environment passes on what a program needs to run and no secret of ours.
func environment(extra ...string) []string {
	kept := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return !slices.Contains([]string{"PATH", "HOME", "TMPDIR", "LANG", "TZ"}, name)
	})
	return append(kept, extra...)
}
