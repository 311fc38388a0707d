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

import "time"

// Clock returns the current time. It must be safe for concurrent use.
type Clock func() time.Time

// System is the clock of the machine. Only main wires it in; it is never
// reassigned.
var System Clock = time.Now
