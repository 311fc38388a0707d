package host

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"secureapi/scripts/stage/funcjson"
)

// lockRetry is the pause before a host that is not the singleton asks again.
const lockRetry = 5 * time.Second

// timerListener runs one timer function.
type timerListener struct {
	function funcjson.Function
	schedule schedule
	// monitored timers have a state; others tick while the host runs.
	monitored    bool
	runOnStartup bool
	store        timerStore
	lockFile     string
	invoke       func(ctx context.Context, payload string) error
	log          *logger

	mu     sync.Mutex
	status *timerStatus
}

func (h *Host) newTimerListener(f funcjson.Function, env environment, stateDir string) (*timerListener, error) {
	trigger := f.Trigger()
	if stateDir == "" {
		return nil, fmt.Errorf("%s: timers need Options.StateDir", f.Name)
	}
	text, err := env.expand(trigger.Schedule)
	if err != nil {
		return nil, fmt.Errorf("%s: schedule: %w", f.Name, err)
	}
	s, err := parseSchedule(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	return &timerListener{
		function: f, schedule: s, log: h.log, runOnStartup: trigger.RunOnStartup,
		monitored: (trigger.UseMonitor == nil || *trigger.UseMonitor) && !s.belowMinute(time.Now()),
		store:     timerStore{filepath.Join(stateDir, f.Name+".timer.json")},
		lockFile:  filepath.Join(stateDir, f.Name+".timer.lock"),
		invoke:    func(ctx context.Context, payload string) error { return h.invoke(ctx, f, payload) },
	}, nil
}

// run ticks until ctx ends. One call runs at a time, in one host.
func (t *timerListener) run(ctx context.Context) {
	lock := t.lock(ctx)
	if lock == nil {
		return
	}
	defer func() {
		if err := lock.release(); err != nil {
			t.log.printf(warning, "Host.Triggers.Timer", "%s: %v", t.function.Name, err)
		}
	}()
	now := time.Now()
	pastDue := t.load(now)
	switch {
	case pastDue:
		t.tick(ctx, now, true, true)
	case t.runOnStartup:
		t.tick(ctx, now, false, true)
	}
	for {
		now := time.Now()
		due := t.due(now)
		select {
		case <-time.After(due.Sub(now)):
			if ctx.Err() == nil {
				t.tick(ctx, time.Now(), false, false)
			}
		case <-ctx.Done():
			return
		}
	}
}

// lock waits to become the singleton. nil: ctx ended first.
func (t *timerListener) lock(ctx context.Context) *timerLock {
	for {
		lock, err := tryTimerLock(t.lockFile)
		if err != nil {
			t.log.printf(failure, "Host.Triggers.Timer", "%s: %v", t.function.Name, err)
		}
		if lock != nil {
			return lock
		}
		select {
		case <-time.After(lockRetry):
		case <-ctx.Done():
			return nil
		}
	}
}

// load reads the state and reports whether a tick was missed. A new timer gets
// a state at once, so that its very first tick cannot be missed either; a
// schedule that was changed is not past due because of the change.
func (t *timerListener) load(now time.Time) (pastDue bool) {
	if !t.monitored {
		return false
	}
	stored, found, err := t.store.load()
	if err != nil {
		t.log.printf(failure, "Host.Triggers.Timer", "%s: %v", t.function.Name, err)
	}
	if !found {
		next := t.schedule.next(now)
		t.save(timerStatus{Next: next, LastUpdated: now})
		t.keep(timerStatus{Next: next})
		return false
	}
	basis := stored.Last
	if basis.IsZero() {
		basis = stored.LastUpdated
	}
	if expected := t.schedule.next(basis); !stored.Next.Equal(expected) {
		if now.After(expected) {
			expected = t.schedule.next(now)
		}
		stored.Next, stored.LastUpdated = expected, basis
		t.save(stored)
	}
	t.keep(stored)
	return now.After(stored.Next)
}

func (t *timerListener) due(now time.Time) time.Time {
	if status := t.snapshot(); status != nil {
		return status.Next
	}
	return t.schedule.next(now)
}

// tick calls the function and moves the schedule on, whatever came of it: there
// is no retry.
func (t *timerListener) tick(ctx context.Context, now time.Time, pastDue, early bool) {
	status := t.snapshot()
	payload := timerPayload(t.function.Name, t.function.Trigger().Name, status, pastDue, nil, time.Now())
	// The outcome is in the log of the call.
	_ = t.invoke(context.WithoutCancel(ctx), payload) //nolint:errcheck // logged, and there is no retry
	if status == nil {
		return
	}
	// A clock that fires a little early must not make the same tick due twice.
	if !early && status.Next.After(now) {
		now = status.Next
	}
	moved := timerStatus{Last: now, Next: t.schedule.next(now), LastUpdated: now}
	t.keep(moved)
	t.save(moved)
}

func (t *timerListener) save(status timerStatus) {
	if err := t.store.save(status); err != nil {
		t.log.printf(failure, "Host.Triggers.Timer", "%s: %v", t.function.Name, err)
	}
}

func (t *timerListener) keep(status timerStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status = &status
}

func (t *timerListener) snapshot() *timerStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status == nil {
		return nil
	}
	status := *t.status
	return &status
}

// timerPayload is the invocation for one tick. input is what the admin endpoint
// was given.
func timerPayload(function, binding string, status *timerStatus, pastDue bool, input *string, now time.Time) string {
	scheduleStatus := "null"
	if status != nil {
		scheduleStatus = members{
			{"Last", quote(offsetTime(status.Last))},
			{"Next", quote(offsetTime(status.Next))},
			{"LastUpdated", quote(offsetTime(status.LastUpdated))},
		}.String()
	}
	value := members{
		{"Schedule", `{"AdjustForDST":true}`},
		{"ScheduleStatus", scheduleStatus},
		{"IsPastDue", strconv.FormatBool(pastDue)},
	}
	var metadata members
	if input != nil {
		metadata.set(binding, quoteTwice(*input))
	}
	metadata.set("sys", sys(function, now))
	return envelope(binding, value.String(), metadata)
}
