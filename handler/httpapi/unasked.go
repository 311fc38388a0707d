package httpapi

import (
	"context"
	"sync/atomic"

	"golang.org/x/time/rate"

	"secureapi/handler/clock"
	"secureapi/handler/telemetry"
)

const (
	// toldRefusals is how many refusals a second of callers that nobody knows
	// are told one by one, and toldBurst how many at once.
	toldRefusals = 20
	toldBurst    = 200
)

// unasked bounds what refusals before authentication cost. Whoever sends them
// needs no account, so that they cannot be limited by caller, and must not be by
// all callers together: a flood would lock everybody out. Each is therefore
// kept as cheap as it can be:
//
//   - no body is read, no row, key or queue is asked;
//   - a token's shape, tenant and key id are looked at before its signature,
//     and one signature at most is verified;
//   - the audit log has one counted entry a reason and minute, and a few more
//     where the signature is good and names whom the token was stolen from;
//   - a request's event, which is a line of the log and an item of telemetry, is
//     written for the first ones only, and the number of the others with the next.
type unasked struct {
	now    clock.Clock
	told   *rate.Limiter
	untold *atomic.Int64
}

func newUnasked(now clock.Clock) unasked {
	return unasked{now: now, told: rate.NewLimiter(toldRefusals, toldBurst), untold: new(atomic.Int64)}
}

// tellRefused tells of a refused request whose caller is not known.
func (s *server) tellRefused(ctx context.Context, event telemetry.Request) {
	if !s.unasked.told.AllowN(s.unasked.now(), 1) {
		s.unasked.untold.Add(1)
		return
	}
	s.Telemetry.Request(ctx, event)
	if n := s.unasked.untold.Swap(0); n > 0 {
		s.Telemetry.Metric(ctx, telemetry.MetricRequestsUntold, float64(n))
	}
}
