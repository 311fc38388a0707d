//go:build unix

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// timerLock makes a timer run in one host at a time; the host uses the lease of
// a blob. The system releases it when the process ends, however it ends.
type timerLock struct{ file *os.File }

// tryTimerLock returns nil without an error when another host holds the lock.
func tryTimerLock(path string) (*timerLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the timer's lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return &timerLock{file: f}, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, f.Close()
	default:
		return nil, errors.Join(fmt.Errorf("locking the timer: %w", err), f.Close())
	}
}

func (l *timerLock) release() error { return l.file.Close() }
