package host

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/stage/funcjson"
)

// tickSeen is one call of a timer function.
type tickSeen struct {
	At      string // time of day
	Status  string // ScheduleStatus as sent
	PastDue bool
}

// clockwork runs a timer in virtual time, which begins at 2000-01-01T00:00:00Z.
type clockwork struct {
	*timerListener
	ticks []tickSeen
	log   *logBuffer
	takes time.Duration
}

func newClockwork(t *testing.T, dir, expression string) *clockwork {
	t.Helper()
	s, err := parseSchedule(expression)
	if err != nil {
		t.Fatal(err)
	}
	c := &clockwork{log: &logBuffer{}}
	c.timerListener = &timerListener{
		function: funcjson.Function{Name: "Tick", Bindings: []funcjson.Binding{{Type: funcjson.TimerTrigger, Name: "timer", Schedule: expression}}},
		schedule: s, monitored: !s.belowMinute(time.Now()), log: newLogger(c.log),
		store: timerStore{filepath.Join(dir, "Tick.timer.json")}, lockFile: filepath.Join(dir, "Tick.timer.lock"),
	}
	c.invoke = func(_ context.Context, payload string) error {
		_, status, _ := strings.Cut(payload, `"ScheduleStatus":`)
		status, rest, _ := strings.Cut(status, `,"IsPastDue":`)
		c.ticks = append(c.ticks, tickSeen{time.Now().UTC().Format("15:04:05"), status, strings.HasPrefix(rest, "true")})
		time.Sleep(c.takes)
		return errInvocation // a failure changes nothing
	}
	return c
}

func (c *clockwork) runFor(t *testing.T, d time.Duration) []tickSeen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	c.run(ctx)
	if strings.Contains(c.log.String(), "[Error]") {
		t.Errorf("log: %s", c.log)
	}
	ticks := c.ticks
	c.ticks = nil
	return ticks
}

func status(last, next, updated string) string {
	full := func(s string) string {
		if s == "" {
			return "0001-01-01T00:00:00+00:00"
		}
		return "2000-01-01T" + s + "+00:00"
	}
	return `{"Last":"` + full(last) + `","Next":"` + full(next) + `","LastUpdated":"` + full(updated) + `"}`
}

// First run, ordinary ticks, a stop, and the tick that was missed meanwhile.
func TestTimerLife(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(10 * time.Second)
		c := newClockwork(t, dir, "0 * * * * *")
		want := []tickSeen{
			{"00:01:00", status("", "00:01:00", ""), false},
			{"00:02:00", status("00:01:00", "00:02:00", "00:01:00"), false},
		}
		if diff := cmp.Diff(want, c.runFor(t, 2*time.Minute)); diff != "" {
			t.Error(diff)
		}
		time.Sleep(3*time.Minute + 20*time.Second) // stopped until 00:05:30
		want = []tickSeen{
			{"00:05:30", status("00:02:00", "00:03:00", "00:02:00"), true},
			{"00:06:00", status("00:05:30", "00:06:00", "00:05:30"), false},
		}
		if diff := cmp.Diff(want, newClockwork(t, dir, "0 * * * * *").runFor(t, time.Minute)); diff != "" {
			t.Error(diff)
		}
	})
}

// A host that stops before a timer's very first tick does not lose it.
func TestTimerFirstTickMissed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		newClockwork(t, dir, "0 * * * * *").runFor(t, 30*time.Second)
		time.Sleep(time.Minute)
		got := newClockwork(t, dir, "0 * * * * *").runFor(t, time.Second)
		if len(got) != 1 || !got[0].PastDue || !strings.Contains(got[0].Status, `"Last":"0001-01-01T00:00:00+00:00"`) {
			t.Errorf("%+v", got)
		}
	})
}

// A changed schedule is not past due because of the change.
func TestTimerScheduleChanged(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		newClockwork(t, dir, "0 * * * * *").runFor(t, 90*time.Second)
		time.Sleep(2 * time.Hour)
		if got := newClockwork(t, dir, "0 30 * * * *").runFor(t, time.Second); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		if got := newClockwork(t, dir, "0 30 * * * *").runFor(t, time.Hour); len(got) != 1 || got[0].At != "02:30:00" || got[0].PastDue {
			t.Errorf("%+v", got)
		}
	})
}

// Calls of one timer do not overlap; a tick that falls into a call comes at its
// end.
func TestTimerDoesNotOverlap(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork(t, dir, "0 * * * * *")
		c.takes = 90 * time.Second
		var at []string
		for _, tick := range c.runFor(t, 5*time.Minute) {
			at = append(at, tick.At)
		}
		if diff := cmp.Diff([]string{"00:01:00", "00:02:30", "00:04:00"}, at); diff != "" {
			t.Error(diff)
		}
	})
}

// Below a minute the host keeps no state and sends none.
func TestTimerBelowMinute(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		want := []tickSeen{{"00:00:10", "null", false}, {"00:00:20", "null", false}}
		if diff := cmp.Diff(want, newClockwork(t, dir, "*/10 * * * * *").runFor(t, 25*time.Second)); diff != "" {
			t.Error(diff)
		}
	})
	if files, _ := filepath.Glob(filepath.Join(dir, "*.json")); len(files) != 0 {
		t.Errorf("state: %v", files)
	}
}

func TestTimerRunOnStartup(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork(t, dir, "0 0 * * * *")
		c.runOnStartup = true
		if got := c.runFor(t, time.Minute); len(got) != 1 || got[0].At != "00:00:00" || got[0].PastDue {
			t.Errorf("%+v", got)
		}
	})
}

// One host runs a timer; another takes over when the first ends.
func TestTimerSingleton(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first, second := newClockwork(t, dir, "0 * * * * *"), newClockwork(t, dir, "0 * * * * *")
		go first.runFor(t, 3*time.Minute+30*time.Second)
		time.Sleep(time.Second)
		got := second.runFor(t, 4*time.Minute+29*time.Second)
		if len(got) != 1 || got[0].At != "00:04:00" {
			t.Errorf("the second ticked %+v", got)
		}
		synctest.Wait()
	})
}

// A state that cannot be read is said, and the timer goes on as a new one.
func TestTimerBrokenState(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Tick.timer.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork(t, dir, "0 * * * * *")
		ctx, cancel := context.WithTimeout(t.Context(), 61*time.Second)
		defer cancel()
		c.run(ctx)
		if len(c.ticks) != 1 || !strings.Contains(c.log.String(), "decoding the timer's state") {
			t.Errorf("%+v\n%s", c.ticks, c.log)
		}
	})
}

// End to end: a real tick reaches a real handler process.
func TestTimerEndToEnd(t *testing.T) {
	l := startLab(t, labOptions{functions: map[string]string{"Tick": strings.Replace(timerFunction, "%s", "%EVERY%", 1)}, env: []string{"EVERY=* * * * * *"}})
	got := l.wait()
	if got.Method != http.MethodPost || got.Target != "/Tick" || got.header("Transfer-Encoding") != "chunked" || !strings.Contains(got.Body, `"ScheduleStatus":null`) {
		t.Errorf("%+v", got)
	}
}

func TestParseSchedule(t *testing.T) {
	from := time.Date(2026, 2, 27, 23, 59, 30, 0, time.UTC)
	for expression, want := range map[string]string{
		"0 * * * * *":      "2026-02-28T00:00:00Z",
		"30 */5 * * * *":   "2026-02-28T00:00:30Z",
		"0 17 3 * * *":     "2026-02-28T03:17:00Z",
		"0 0 0 1 * *":      "2026-03-01T00:00:00Z",
		"0 0 0 * * Mon":    "2026-03-02T00:00:00Z",
		"0 0 9-17 * * 1-5": "2026-03-02T09:00:00Z",
		"0 0 0 29 2 *":     "2028-02-29T00:00:00Z",
	} {
		s, err := parseSchedule(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got := s.next(from).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
	for _, expression := range []string{
		"", "* * * * *", "0 0 0 1 * 1", "0 0 0 ? * 1", "@daily", "@every 1s", "CRON_TZ=UTC 0 * * * * *", "00:01:00",
		"60 * * * * *", "0 0 0 31 2 *", "0 * * * * * *", "a * * * * *",
	} {
		if _, err := parseSchedule(expression); err == nil {
			t.Errorf("%q was accepted", expression)
		}
	}
}
