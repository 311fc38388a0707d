package rowstore

import (
	"fmt"
	"strings"
)

// Validate reports what makes a transaction one that the service would refuse
// or, worse, one that an emulator would accept and the service not. Every
// store calls it first. The error is ErrInvalid and holds no content.
func Validate(partition string, mutations []Mutation) error {
	if len(mutations) == 0 || len(mutations) > MaxTransaction {
		return fmt.Errorf("%w: %d mutations", ErrInvalid, len(mutations))
	}
	if err := ValidateKey(partition); err != nil {
		return fmt.Errorf("partition key: %w", err)
	}
	size := 0
	seen := make(map[string]struct{}, len(mutations))
	for i, m := range mutations {
		if m.Row.Partition != partition {
			return fmt.Errorf("%w: mutation %d is of another partition", ErrInvalid, i)
		}
		if _, twice := seen[m.Row.Key]; twice {
			return fmt.Errorf("%w: mutation %d names a row a second time", ErrInvalid, i)
		}
		seen[m.Row.Key] = struct{}{}
		if err := validateMutation(m); err != nil {
			return fmt.Errorf("mutation %d: %w", i, err)
		}
		size += rowSize(m.Row)
	}
	if size > MaxTransactionBytes {
		return fmt.Errorf("%w: a transaction of %d bytes", ErrInvalid, size)
	}
	return nil
}

// ValidateKey checks a partition or row key.
func ValidateKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("%w: a key of %d bytes", ErrInvalid, len(key))
	}
	for i := range len(key) {
		if !isKeyByte(key[i]) {
			return fmt.Errorf("%w: a key byte outside [A-Za-z0-9._|:-]", ErrInvalid)
		}
	}
	return nil
}

// ValidateRange checks the arguments of List.
func ValidateRange(partition string, r Range) error {
	if err := ValidateKey(partition); err != nil {
		return fmt.Errorf("partition key: %w", err)
	}
	for _, bound := range []string{r.From, r.To} {
		if bound == "" {
			continue
		}
		if err := ValidateKey(bound); err != nil {
			return fmt.Errorf("range bound: %w", err)
		}
	}
	if r.Limit < 1 || r.Limit > MaxPage {
		return fmt.Errorf("%w: a page of %d rows", ErrInvalid, r.Limit)
	}
	return nil
}

func validateMutation(m Mutation) error {
	if err := ValidateKey(m.Row.Key); err != nil {
		return fmt.Errorf("row key: %w", err)
	}
	switch m.Action {
	case Insert:
		if m.Row.Version != "" {
			return fmt.Errorf("%w: an insert with a version", ErrInvalid)
		}
	case Replace, Merge, Delete:
		if m.Row.Version == "" || m.Row.Version == "*" {
			return fmt.Errorf("%w: a change without the version it rests on", ErrInvalid)
		}
	default:
		return fmt.Errorf("%w: unknown action %d", ErrInvalid, m.Action)
	}
	if m.Action == Merge && len(m.Row.Body) > 0 {
		return fmt.Errorf("%w: a merge with a body", ErrInvalid)
	}
	if len(m.Row.Body) > MaxBody {
		return fmt.Errorf("%w: a body of %d bytes", ErrInvalid, len(m.Row.Body))
	}
	return validateAttributes(m.Row.Attributes)
}

func validateAttributes(attributes map[string]string) error {
	if len(attributes) > MaxAttributes {
		return fmt.Errorf("%w: %d attributes", ErrInvalid, len(attributes))
	}
	for name, value := range attributes {
		if !validAttributeName(name) {
			return fmt.Errorf("%w: an attribute name", ErrInvalid)
		}
		if len(value) > MaxAttribute {
			return fmt.Errorf("%w: attribute %s of %d bytes", ErrInvalid, name, len(value))
		}
	}
	return nil
}

func validAttributeName(name string) bool {
	if name == "" || len(name) > 32 || strings.HasPrefix(name, "Body") {
		return false
	}
	if name == "PartitionKey" || name == "RowKey" || name == "Timestamp" {
		return false
	}
	for i := range len(name) {
		if !isAlphanumeric(name[i]) || i == 0 && name[i] <= '9' {
			return false
		}
	}
	return true
}

func isAlphanumeric(b byte) bool {
	return '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}

func isKeyByte(b byte) bool {
	return isAlphanumeric(b) || strings.IndexByte("._|:-", b) >= 0
}

func rowSize(r Row) int {
	size := len(r.Partition) + len(r.Key) + len(r.Body)
	for name, value := range r.Attributes {
		size += len(name) + len(value)
	}
	return size
}
