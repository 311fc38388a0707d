package customhandler

import (
	"net/http"
	"time"

	"secureapi/handler/clock"
)

const (
	// bodyGrace is how long any body may take, and bodyRate the bytes a second
	// that a longer one has to arrive with: 8 MiB within 42 seconds.
	bodyGrace = 10 * time.Second
	bodyRate  = 256 << 10
	// maxTimed is the longest body that gives more time. Nothing longer is read.
	maxTimed = 8 << 20
)

// bodyTime is how long a body of the declared length may take to arrive; -1 is
// a length that is not known, as the host's own calls have it.
func bodyTime(length int64) time.Duration {
	if length < 0 {
		length = maxBody
	}
	return bodyGrace + time.Duration(min(length, maxTimed))*time.Second/bodyRate
}

// boundBodies cuts a body that trickles: reading it fails with
// os.ErrDeadlineExceeded. http.Server.ReadTimeout would be one limit for a
// hundred bytes and for 8 MiB. The server lifts the deadline when the body has
// been read to its end, and gives what follows on the connection its own. For a
// request without a body it would not, and end the context of whatever works on
// it for longer (https://go.dev/issue/70834): none is set there.
func boundBodies(next http.Handler, now clock.Clock) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			if err := http.NewResponseController(w).SetReadDeadline(now().Add(bodyTime(r.ContentLength))); err != nil {
				// Unbounded is worse than unanswered; the connection is gone anyway.
				panic(http.ErrAbortHandler)
			}
		}
		next.ServeHTTP(w, r)
	})
}
