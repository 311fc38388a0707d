//go:build unix

package azurite

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// exclusively runs do while no other process does so for the same file: tests of
// several packages may find at once that packages are to be installed, and npm ci
// begins by deleting what is there.
func exclusively(path string, do func() error) (err error) {
	file, err := os.Open(path) // #nosec G304 -- the project's own file
	if err != nil {
		return fmt.Errorf("locking the installation: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }() // closing unlocks
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking the installation: %w", err)
	}
	return do()
}
