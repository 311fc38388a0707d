package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
)

// timerStatus is what the host remembers of a schedule.
type timerStatus struct {
	Last        time.Time `json:"Last"`
	Next        time.Time `json:"Next"`
	LastUpdated time.Time `json:"LastUpdated"`
}

// timerStore keeps the status of one timer in a file; the host keeps it in a
// blob. It is replaced as a whole, so that a crash leaves the old or the new.
type timerStore struct{ file string }

func (s timerStore) load() (status timerStatus, found bool, err error) {
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return timerStatus{}, false, nil
	}
	if err != nil {
		return timerStatus{}, false, fmt.Errorf("reading the timer's state: %w", err)
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return timerStatus{}, false, fmt.Errorf("decoding the timer's state: %w", err)
	}
	return status, true, nil
}

func (s timerStore) save(status timerStatus) error {
	text, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encoding the timer's state: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	fresh := s.file + ".new"
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return fmt.Errorf("writing the timer's state: %w", err)
	}
	if err := os.Rename(fresh, s.file); err != nil {
		return fmt.Errorf("replacing the timer's state: %w", err)
	}
	return nil
}
