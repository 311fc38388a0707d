package tokencache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

const keySize = 32

var errExposed = errors.New("others may read or write it; it must be a file of mode 0600")

// readFile reads a small file that is its owner's alone.
func readFile(path string) (data []byte, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !private(info) {
		return nil, fmt.Errorf("%s: %w", path, errExposed)
	}
	file, err := os.Open(path) // #nosec G304 -- the user's own folder
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		return nil, fmt.Errorf("%w: it is too large", ErrDamaged)
	}
	return data, err
}

// private: a regular file of mode 0600. Windows has no such bits; there the
// user's profile is what keeps others out.
func private(info os.FileInfo) bool {
	return info.Mode().IsRegular() && (runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0)
}

func readKey(path string) ([]byte, error) {
	key, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: reading its key: %w", ErrFile, err)
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("%w: its key is no key", ErrDamaged)
	}
	return key, nil
}

func makeKey(path string) ([]byte, error) {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	return key, writeFile(path, key)
}

// writeFile makes the file appear as a whole, of mode 0600, and on disk.
func writeFile(path string, data []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("%w: writing: %w", ErrFile, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w: writing: %w", ErrFile, err), os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
