// Package clocktest makes times that no clock of a running test gives.
package clocktest

import (
	"time"
	"unsafe" //nolint:depguard // for tests only: package time has no other way to make such a time
)

// Frozen is the time d after now for a process that was frozen in between: the
// wall clock has gone on, the monotonic clock has not. d is in whole seconds, and
// now as time.Now gives it. Package time has no way to say so; this writes its
// representation, and panics where that is not what it knows.
func Frozen(now time.Time, d time.Duration) time.Time {
	const wallSecond = 1 << 30 // with a monotonic reading: a flag, 33 bits of seconds, 30 of nanoseconds
	then := now
	(*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&then)).wall += uint64(d/time.Second) * wallSecond //nolint:gosec // G115: a test's seconds
	if then.Sub(now) != 0 || then.Round(0).Sub(now.Round(0)) != d {
		panic("clocktest: package time has another representation")
	}
	return then
}
