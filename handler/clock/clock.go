// Package clock is the only place in the handler that may read the wall clock.
//
// Everything that decides by time (token lifetimes, step-up freshness, leases,
// retention, audit sealing) takes a Clock from its caller. That keeps time an
// explicit input: a test can move it, and a reader can see from a constructor
// whether a security decision depends on it. The linter rejects a call of
// time.Now in any other handler package.
//
// Trust boundary: the host's clock is trusted. Code that compares it with a
// time another party wrote (a token's nbf or exp, a lease in a table) states
// the skew it tolerates where it compares.
package clock

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"time"
)

// Clock returns the current time. It must be safe for concurrent use.
type Clock func() time.Time

// System is the clock of the machine. Only main wires it in; it is never
// reassigned.
var System Clock = time.Now

// Age is how long ago a moment was, by the clock that went further: the
// monotonic clock stands still while an instance is frozen, and the wall clock
// can be set back. Where both went back, it is negative.
func Age(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// Jitter is d, give or take a tenth: processes that start together are not to
// come back together for ever.
func Jitter(d time.Duration) time.Duration {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	part := int64(binary.NativeEndian.Uint16(b[:]))
	return d - d/10 + time.Duration(int64(d/5)*part/math.MaxUint16)
}

// Sleep waits, and reports whether the time passed before ctx ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
