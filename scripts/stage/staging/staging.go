// Package staging lays out the folder that the Functions host runs.
//
// The source tree keeps its functions in functions/, but the host finds a
// function.json only in a direct sub-folder of the script root. So the package
// is staged: dist/ holds host.json, one folder per function, the handler as a
// static binary, and .funcignore; the same tree runs locally and in Azure.
//
// Nothing else may enter it. In particular no settings file does: settings can
// hold secrets, and a package is copied, cached and downloaded. The tree is
// assembled beside its destination and moved into place as a whole, so that a
// failed run leaves the earlier package as it was.
package staging

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"secureapi/scripts/stage/funcjson"
)

// Names in the staged tree.
const (
	HostFile   = "host.json"
	HandlerBin = "handler"
	IgnoreFile = ".funcignore"
)

// Modes in the staged tree. The host starts the handler as another user than
// the one who unpacked it, so all may read and execute.
const (
	dirMode    os.FileMode = 0o755
	fileMode   os.FileMode = 0o644
	binaryMode os.FileMode = 0o755
)

//go:embed funcignore
var funcignore []byte

// Options say what to stage and where to.
type Options struct {
	// Root is the source tree: host.json, functions/, handler/. Required.
	Root string
	// Out is the folder to make. It is replaced if an earlier run made it,
	// and refused if it holds anything else. Required.
	Out string
	// Binary is a handler already built. Empty: build Root/handler.
	Binary string
	// GOOS and GOARCH choose the target of the build. Empty: this machine.
	GOOS, GOARCH string
	// Log receives the compiler's messages. Required when Binary is empty.
	Log io.Writer
}

// Stage makes the package.
func Stage(ctx context.Context, o Options) error {
	functions, err := funcjson.Load(filepath.Join(o.Root, "functions"))
	if err != nil {
		return fmt.Errorf("checking functions: %w", err)
	}
	if err := CheckPolicy(functions); err != nil {
		return fmt.Errorf("checking functions: %w", err)
	}
	if len(functions) == 0 {
		return errors.New("checking functions: there are none")
	}
	if err := refuseForeign(o.Out); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(o.Out))
	if err := os.MkdirAll(parent, dirMode); err != nil {
		return fmt.Errorf("making the parent folder: %w", err)
	}
	work, err := os.MkdirTemp(parent, "."+filepath.Base(o.Out)+"-staging-")
	if err != nil {
		return fmt.Errorf("making the staging folder: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // a leftover temporary folder does no harm and cannot be helped
	fresh := filepath.Join(work, "new")
	if err := assemble(ctx, o, functions, fresh); err != nil {
		return err
	}
	return replace(o.Out, fresh, filepath.Join(work, "old"))
}

func assemble(ctx context.Context, o Options, functions []funcjson.Function, dir string) error {
	if err := os.Mkdir(dir, dirMode); err != nil {
		return fmt.Errorf("making the package folder: %w", err)
	}
	if err := copyFile(filepath.Join(o.Root, HostFile), filepath.Join(dir, HostFile), fileMode); err != nil {
		return err
	}
	for _, f := range functions {
		if err := os.Mkdir(filepath.Join(dir, f.Name), dirMode); err != nil {
			return fmt.Errorf("making the folder of %s: %w", f.Name, err)
		}
		from := filepath.Join(o.Root, "functions", f.Name, funcjson.FileName)
		if err := copyFile(from, filepath.Join(dir, f.Name, funcjson.FileName), fileMode); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, IgnoreFile), funcignore, fileMode); err != nil {
		return fmt.Errorf("writing %s: %w", IgnoreFile, err)
	}
	binary := filepath.Join(dir, HandlerBin)
	if o.Binary != "" {
		if err := copyFile(o.Binary, binary, binaryMode); err != nil {
			return err
		}
	} else if err := Build(ctx, o, binary); err != nil {
		return err
	}
	if err := CheckStatic(binary); err != nil {
		return err
	}
	return fixModes(dir)
}

// fixModes makes the modes independent of the umask.
func fixModes(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fileMode
		if e.IsDir() {
			mode = dirMode
		} else if path == filepath.Join(dir, HandlerBin) {
			mode = binaryMode
		}
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("setting a mode: %w", err)
		}
		return nil
	})
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("opening a source file: %w", err)
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("creating a staged file: %w", err)
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(fmt.Errorf("copying %s: %w", filepath.Base(to), err), out.Close())
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("closing a staged file: %w", err)
	}
	return nil
}

// refuseForeign protects a folder that staging did not make: its replacement
// would delete whatever it holds.
func refuseForeign(out string) error {
	if out == "" {
		return errors.New("no output folder given")
	}
	entries, err := os.ReadDir(out)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the output folder: %w", err)
	}
	for _, name := range []string{HostFile, HandlerBin, IgnoreFile} {
		info, err := os.Stat(filepath.Join(out, name))
		if err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a package staged earlier (no file %s in it): remove it yourself, or choose another folder", out, name)
		}
	}
	return nil
}

// replace swaps the new tree in. A handler running from the old one keeps its
// open files.
func replace(out, fresh, old string) error {
	if err := os.Rename(out, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("moving the earlier package away: %w", err)
	}
	if err := os.Rename(fresh, out); err != nil {
		err = fmt.Errorf("moving the package into place: %w", err)
		if back := os.Rename(old, out); back != nil && !errors.Is(back, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("restoring the earlier package: %w", back))
		}
		return err
	}
	return nil
}
