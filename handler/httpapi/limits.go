package httpapi

import (
	"errors"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"secureapi/handler/authz"
	"secureapi/handler/clock"
)

// Limits bound what this process takes on. They protect the instance, and are
// its own: ten instances let through ten times as much (invariant I4).
type Limits struct {
	// Concurrent is how many API requests are worked on at once. Health, the
	// host's GET / and the functions of queues and timers do not count.
	Concurrent int
	// PerMinute is how many requests one caller may make for ever, and Burst
	// how many at once after a pause.
	PerMinute, Burst int
}

func (l Limits) check() error {
	if l.Concurrent < 1 || l.PerMinute < 1 || l.Burst < 1 {
		return errors.New("httpapi: every limit must be positive")
	}
	return nil
}

// share is a part of the places, but one at least.
func (l Limits) share(part int) int { return max(1, l.Concurrent/part) }

const (
	// callerShare: one caller has a quarter of the places at most, so that
	// slow requests of his leave the others theirs.
	callerShare = 4
	// largeShare: an eighth of the places takes bodies of 8 MiB, which are held
	// in memory as a whole.
	largeShare = 8
	// maxCallers bounds the callers that are told apart.
	maxCallers = 10_000
	// sweepPause is the least time between two searches for callers to forget.
	sweepPause = time.Second
	// tellPause is the least time between two audit entries on one caller's
	// excess; what lies between is counted.
	tellPause = time.Minute

	reasonRateLimited = "rate_limited"
)

// gate lets a number of requests in at once. Whoever finds it full is refused
// at once: a queue would only hold memory for answers that come too late.
type gate chan struct{}

func (g gate) through(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		select {
		case g <- struct{}{}:
		default:
			p := newProblem(http.StatusServiceUnavailable, "overloaded", "The service has as much to do as it can. Try again.")
			p.retryAfter = 1
			return &refusal{p}
		}
		defer func() { <-g }()
		return next(c)
	}
}

// callers is what each caller has left. A caller is a verified identity, never
// an address or a header. Safe for concurrent use.
type callers struct {
	limits Limits
	now    clock.Clock

	mu    sync.Mutex
	known map[callerID]*allowance
	// others is shared by all for whom there is no room.
	others *allowance
	swept  time.Time
}

type callerID struct{ tenant, id string }

// allowance is what is left. Its owner holds callers.mu.
type allowance struct {
	tokens   *rate.Limiter
	inFlight int
	told     time.Time
}

// excess is a request too many.
type excess struct {
	wait time.Duration
	// first of the minute: it is worth an audit entry.
	first bool
}

func newCallers(limits Limits, now clock.Clock) *callers {
	c := &callers{limits: limits, now: now, known: map[callerID]*allowance{}}
	c.others = c.fresh()
	return c
}

func (c *callers) fresh() *allowance {
	return &allowance{tokens: rate.NewLimiter(rate.Limit(c.limits.PerMinute)/60, c.limits.Burst)}
}

// enter takes one request off the caller's allowance. Without an excess, leave
// must be called at the request's end.
func (c *callers) enter(p authz.Principal) (leave func(), over *excess) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	a := c.of(callerID{p.TenantID, p.ID()}, now)
	if a.inFlight >= c.limits.share(callerShare) {
		return nil, a.refuse(now, time.Second)
	}
	taken := a.tokens.ReserveN(now, 1)
	if wait := taken.DelayFrom(now); wait > 0 {
		taken.CancelAt(now)
		return nil, a.refuse(now, wait)
	}
	a.inFlight++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		a.inFlight--
	}, nil
}

func (a *allowance) refuse(now time.Time, wait time.Duration) *excess {
	first := now.Sub(a.told) >= tellPause
	if first {
		a.told = now
	}
	return &excess{wait: wait, first: first}
}

// of finds the caller's allowance. Only one that is whole again is forgotten,
// since a fresh one is the same: nobody gets more by being pushed out. Where
// there is none to forget, newcomers share one.
func (c *callers) of(id callerID, now time.Time) *allowance {
	if a, ok := c.known[id]; ok {
		return a
	}
	if len(c.known) >= maxCallers {
		c.sweep(now)
	}
	if len(c.known) >= maxCallers {
		return c.others
	}
	a := c.fresh()
	c.known[id] = a
	return a
}

func (c *callers) sweep(now time.Time) {
	if now.Sub(c.swept) < sweepPause {
		return
	}
	c.swept = now
	for id, a := range c.known {
		if a.inFlight == 0 && a.tokens.TokensAt(now) >= float64(c.limits.Burst) && now.Sub(a.told) >= tellPause {
			delete(c.known, id)
		}
	}
}

// limitCaller refuses what is beyond the caller's allowance. The first time in
// a minute stands in the audit log with the caller's name; the rest is counted.
func (s *server) limitCaller(permission authz.Permission, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		p := caller(c)
		leave, over := s.callers.enter(p)
		if over == nil {
			defer leave()
			return next(c)
		}
		if over.first {
			s.Audit.Refuse(c.Request().Context(), p, permission, reasonRateLimited)
		} else {
			s.Audit.CountRefusal(reasonRateLimited)
		}
		refused := newProblem(http.StatusTooManyRequests, reasonRateLimited, "The caller has made too many requests. Try again later.")
		refused.retryAfter = int(math.Ceil(over.wait.Seconds()))
		return &refusal{refused}
	}
}
