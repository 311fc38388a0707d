package clock_test

import (
	"testing"
	"time"

	"secureapi/handler/clock"
	"secureapi/handler/clock/clocktest"
)

func TestAgeIsTheFurtherClocks(t *testing.T) {
	// A time with a monotonic reading, as clock.System gives it.
	started := time.Now()
	for name, c := range map[string]struct {
		now  time.Time
		want time.Duration
	}{
		"both clocks":                      {started.Add(time.Minute), time.Minute},
		"frozen: only the wall clock went": {clocktest.Frozen(started, 10*time.Minute), 10 * time.Minute},
		"both back":                        {started.Add(-time.Minute), -time.Minute},
	} {
		if got := clock.Age(c.now, started); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestJitterStaysWithinATenth(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 1000 {
		d := clock.Jitter(time.Hour)
		if d < time.Hour-6*time.Minute || d > time.Hour+6*time.Minute {
			t.Fatalf("%s", d)
		}
		seen[d] = true
	}
	if len(seen) < 900 {
		t.Errorf("%d different values of 1000", len(seen))
	}
}
