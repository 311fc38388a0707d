package rowstore

import (
	"fmt"
	"strings"
	"time"
)

// Limits of what stands beside rows: blobs' names and queue messages. As with
// rows they are the services' own or stricter.
const (
	// MaxBlobName is the longest blob name; the service takes 1,024 characters.
	MaxBlobName = 512
	// MaxMessage is the longest message text in bytes.
	MaxMessage = 64 << 10
	// MaxMessageDelay keeps a message's delay under its seven days of life, as
	// the service demands.
	MaxMessageDelay = 6 * 24 * time.Hour
)

// ValidateBlobName takes segments of key bytes between slashes, "." and ".."
// left out: names that no URL library rewrites into another blob's.
func ValidateBlobName(name string) error {
	invalid := fmt.Errorf("%w: a blob name", ErrInvalid)
	if len(name) > MaxBlobName {
		return invalid
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "." || segment == ".." || ValidateKey(segment) != nil {
			return invalid
		}
	}
	return nil
}

// ValidateMessage takes printable ASCII: everything else the service's XML
// could refuse or, worse, alter.
func ValidateMessage(text string, delay time.Duration) error {
	if text == "" || len(text) > MaxMessage {
		return fmt.Errorf("%w: a message of %d bytes", ErrInvalid, len(text))
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return fmt.Errorf("%w: a message byte outside printable ASCII", ErrInvalid)
		}
	}
	if delay < 0 || delay > MaxMessageDelay {
		return fmt.Errorf("%w: a delay of %s", ErrInvalid, delay)
	}
	return nil
}
