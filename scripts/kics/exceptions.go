package kics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// An Exception says why a finding stands. It covers the listed resources only,
// so that a new one is looked at again, and until the day of its review.
type Exception struct {
	ID, File  string
	Resources []string
	Reason    string
	Owner     string
	Review    string
}

// Exceptions reads the written exceptions and refuses one that is not whole.
func Exceptions(file string) ([]Exception, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var all []Exception
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("reading the exceptions: %w", err)
	}
	for i, e := range all {
		if e.ID == "" || e.File == "" || len(e.Resources) == 0 || len(e.Reason) < 30 || e.Owner == "" {
			return nil, fmt.Errorf("exception %d (%s, %s) is not whole: id, file, resources, owner and a reason of a sentence", i+1, e.ID, e.File)
		}
		if _, err := time.Parse(time.DateOnly, e.Review); err != nil {
			return nil, fmt.Errorf("exception %d (%s, %s): review is no day: %w", i+1, e.ID, e.File, err)
		}
	}
	return all, nil
}

// Overdue fails on exceptions whose review is due. It is no part of Judge: a change
// must not fail because of the day on which it is made.
func Overdue(exceptions []Exception, today time.Time) error {
	var problems []error
	for _, e := range exceptions {
		if today.Format(time.DateOnly) > e.Review {
			problems = append(problems, fmt.Errorf("exception %s in %s was to be reviewed by %s by %s", e.ID, e.File, e.Review, e.Owner))
		}
	}
	return errors.Join(problems...)
}

// Judge fails on a finding without an exception, and on an exception without a
// finding.
func Judge(findings []Finding, exceptions []Exception) error {
	var problems []error
	used := make([]map[string]bool, len(exceptions))
	for i := range exceptions {
		used[i] = map[string]bool{}
	}
	for _, f := range findings {
		i := slices.IndexFunc(exceptions, func(e Exception) bool {
			return e.ID == f.ID && e.File == f.File && slices.Contains(e.Resources, f.Resource)
		})
		if i < 0 {
			problems = append(problems, fmt.Errorf("finding without an exception: %s", f))
			continue
		}
		used[i][f.Resource] = true
	}
	for i, e := range exceptions {
		for _, r := range e.Resources {
			if !used[i][r] {
				problems = append(problems, fmt.Errorf("stale exception: %s in %s finds nothing at %s", e.ID, e.File, r))
			}
		}
	}
	return errors.Join(problems...)
}
