package insights

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// threeItems is a payload as the library makes it.
func threeItems(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(strings.Repeat("{}\n", 3))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		statuses []int
		header   http.Header
		body     string
		sent     int
		dropped  uint64
		took     time.Duration
	}{
		"taken":                {[]int{200}, nil, "", 3, 0, 0},
		"throttled, then well": {[]int{429, 429, 200}, http.Header{"Retry-After": {"20"}}, "", 3, 0, 40 * time.Second},
		"down, then well":      {[]int{503, 500, 200}, nil, "", 3, 0, 10 * time.Second},
		"roles not yet there":  {[]int{401, 403, 200}, nil, "", 3, 0, 10 * time.Second},
		"down for long":        {[]int{503, 503, 503, 503}, nil, "", 0, 3, 42 * time.Second},
		"hangs":                {[]int{0, 0, 200}, nil, "", 3, 0, 30 * time.Second},
		"refused":              {[]int{400}, nil, "", 0, 3, 0},
		"quota of the day":     {[]int{439}, nil, "", 0, 3, 0},
		"partly taken":         {[]int{206}, nil, `{"itemsReceived":3,"itemsAccepted":2,"errors":[{"index":99}]}`, 3, 1, 0},
		"absurd answer":        {[]int{206}, nil, `{"itemsReceived":18446744073709551615,"itemsAccepted":0}`, 3, 3, 0},
		"more than were sent":  {[]int{206}, nil, `{"itemsReceived":1,"itemsAccepted":2}`, 3, 0, 0},
		"no answer":            {[]int{206}, nil, `x`, 3, 3, 0},
		"odd pause":            {[]int{429, 200}, http.Header{"Retry-After": {"Fri, 31 Dec 9999 23:59:59 GMT"}}, "", 3, 0, firstPause},
		"long pause":           {[]int{429, 200}, http.Header{"Retry-After": {"65000"}}, "", 3, 0, maxPause},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &endpoint{answer: func(request int, _ *http.Request) (int, http.Header, string) {
					if request > len(c.statuses) {
						t.Errorf("request %d", request)
						return 200, nil, ""
					}
					return c.statuses[request-1], c.header, c.body
				}}
				var dropped atomic.Uint64
				s := newSender(Options{
					Connection: Connection{TrackURL: "https://host.example.com/v2/track"},
					HTTP:       &http.Client{Transport: e, Timeout: 10 * time.Second},
				}, &dropped)
				s.offer(threeItems(t))
				began := time.Now()
				s.drain(t.Context())
				took := time.Since(began)
				s.stop()
				if took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if e.count() != c.sent || dropped.Load() != c.dropped || e.requests != len(c.statuses) {
					t.Errorf("%d sent, %d dropped, %d requests", e.count(), dropped.Load(), e.requests)
				}
			})
		})
	}
}

func TestNoTokenNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		asked := 0
		e := &endpoint{}
		s := newSender(Options{
			HTTP:       &http.Client{Transport: e},
			Credential: credentialFunc(func() (string, error) { asked++; return "", errors.New("no token") }),
		}, &dropped)
		s.offer(threeItems(t))
		s.drain(t.Context())
		s.stop()
		if e.requests != 0 || asked != attempts || dropped.Load() != 3 {
			t.Errorf("%d requests, %d tokens asked, %d dropped", e.requests, asked, dropped.Load())
		}
	})
}

func TestQueueOfPayloadsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		e := &endpoint{answer: func(int, *http.Request) (int, http.Header, string) { return 0, nil, "" }}
		s := newSender(Options{
			Connection: Connection{TrackURL: "https://host.example.com/v2/track"}, HTTP: &http.Client{Transport: e},
		}, &dropped)
		payload := threeItems(t)
		s.offer(payload)
		synctest.Wait() // the first is under way
		for range payloads + 5 {
			s.offer(payload)
		}
		if dropped.Load() != 5*3 {
			t.Errorf("%d items dropped, want those of 5 payloads", dropped.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.drain(ctx)
		s.stop()
		if dropped.Load() != (payloads+6)*3 {
			t.Errorf("%d items dropped after stop, want all", dropped.Load())
		}
	})
}

func TestOddPayloads(t *testing.T) {
	if n := countItems([]byte("not gzip")); n != 1 {
		t.Errorf("not gzip counts %d", n)
	}
	if n := countItems(threeItems(t)[:15]); n != 1 {
		t.Errorf("half a payload counts %d", n)
	}
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Uint64
		e := &endpoint{}
		s := newSender(Options{HTTP: &http.Client{Transport: e}}, &dropped)
		s.offer(make([]byte, maxPayload+1))
		s.drain(t.Context())
		s.stop()
		if dropped.Load() != 1 || e.requests != 0 {
			t.Errorf("%d dropped, %d requests", dropped.Load(), e.requests)
		}
	})
}
