package host

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// schedule is an NCRONTAB expression: six fields, seconds first, in UTC.
type schedule struct{ cron.Schedule }

// parseSchedule refuses what the host's parser and this one's would read
// differently: NCRONTAB demands that day of month *and* day of week match where
// cron is content with either; it knows no `?` and no descriptors. A plain time
// span would be a constant schedule, which a plan may not support.
func parseSchedule(text string) (schedule, error) {
	fields := strings.Fields(text)
	if len(fields) != 6 {
		return schedule{}, fmt.Errorf("schedule %q must have six fields", text)
	}
	if strings.ContainsAny(text, "?@=") {
		return schedule{}, fmt.Errorf("schedule %q: ?, @ and = are no NCRONTAB", text)
	}
	if fields[3] != "*" && fields[5] != "*" {
		return schedule{}, fmt.Errorf("schedule %q sets both day of month and day of week", text)
	}
	parser := cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	s, err := parser.Parse(text)
	if err != nil {
		return schedule{}, fmt.Errorf("schedule %q: %w", text, err)
	}
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return schedule{}, errors.Join(fmt.Errorf("schedule %q never comes", text))
	}
	return schedule{s}, nil
}

// next is the first occurrence after t.
func (s schedule) next(t time.Time) time.Time { return s.Next(t.UTC()) }

// belowMinute reports whether occurrences come faster than once a minute: for
// such a schedule the host keeps no state.
func (s schedule) belowMinute(now time.Time) bool {
	t := s.next(now)
	for range 5 {
		following := s.next(t)
		if following.Sub(t) < time.Minute {
			return true
		}
		t = following
	}
	return false
}
