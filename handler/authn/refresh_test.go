package authn

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// answers is an authority without a network, so that time can be simulated.
type answers struct {
	body  atomic.Value // string; "" fails, "hang" never answers
	calls atomic.Int64
}

func (s *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls.Add(1)
	body, ok := s.body.Load().(string)
	switch {
	case !ok || body == "":
		return nil, errors.New("no route to host")
	case body == "hang":
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (s *answers) source() *JWKS {
	return NewJWKS(testHost, &http.Client{Transport: s}, time.Now, slog.New(slog.DiscardHandler))
}

func TestRunKeepsKeysFresh(t *testing.T) {
	one, two := keySetOf(t, "k1"), keySetOf(t, "k2")
	synctest.Test(t, func(t *testing.T) {
		s := &answers{}
		s.body.Store(one)
		j := s.source()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { j.Run(ctx, []string{testTenant}); close(done) }()
		synctest.Wait()
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d fetches at the start", n)
		}
		s.body.Store(two)
		time.Sleep(refreshEvery - refreshEvery/10 - time.Second)
		if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
			t.Errorf("before the refresh: %v", err)
		}
		time.Sleep(refreshEvery/5 + 2*time.Second)
		if _, err := j.Key(t.Context(), testTenant, "k2"); err != nil {
			t.Errorf("a new key: %v", err)
		}
		if n := s.calls.Load(); n != 2 {
			t.Errorf("%d fetches: a call had to", n)
		}
		if _, err := j.Key(t.Context(), testTenant, "k1"); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("a removed key: %v", err)
		}
		time.Sleep(24 * time.Hour)
		if n := s.calls.Load(); n < 22 || n > 30 {
			t.Errorf("%d fetches in a day", n)
		}
		stop()
		<-done
	})
}

func TestRunRetriesSoonAndThenSlower(t *testing.T) {
	good := keySetOf(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		s := &answers{}
		j := s.source()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go j.Run(ctx, []string{testTenant})
		time.Sleep(time.Minute)
		if n := s.calls.Load(); n < 4 || n > 7 {
			t.Errorf("%d fetches in the first minute", n)
		}
		before := s.calls.Load()
		time.Sleep(5 * time.Hour)
		if n := s.calls.Load() - before; n < 50 || n > 80 {
			t.Errorf("%d fetches in five hours", n)
		}
		s.body.Store(good)
		time.Sleep(fetchPause + fetchPause/10 + time.Second)
		if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
			t.Errorf("recovered: %v", err)
		}
	})
}

func TestAnAuthorityThatHangsCostsFiveSeconds(t *testing.T) {
	good := keySetOf(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		s := &answers{}
		s.body.Store("hang")
		j := s.source()
		waited := func(kid string, want error) time.Duration {
			t.Helper()
			begun := time.Now()
			if _, err := j.Key(t.Context(), testTenant, kid); !errors.Is(err, want) {
				t.Errorf("got %v", err)
			}
			return time.Since(begun)
		}
		if d := waited("k1", ErrUnavailable); d != fetchTimeout {
			t.Errorf("no key at all: waited %s", d)
		}
		s.body.Store(good)
		time.Sleep(coldPause)
		if d := waited("k1", nil); d != 0 {
			t.Errorf("the authority answers: waited %s", d)
		}
		s.body.Store("hang")
		time.Sleep(staleAfter)
		if d := waited("k1", nil); d != fetchTimeout {
			t.Errorf("the first to find it hanging: waited %s", d)
		}
		time.Sleep(fetchPause)
		calls := s.calls.Load()
		if d := waited("k1", nil); d != 0 {
			t.Errorf("later ones: waited %s", d)
		}
		synctest.Wait()
		if n := s.calls.Load() - calls; n != 1 {
			t.Errorf("%d fetches meanwhile", n)
		}
		time.Sleep(lastGoodLife)
		if d := waited("k1", ErrUnavailable); d != fetchTimeout {
			t.Errorf("the last good keys have ended: waited %s", d)
		}
	})
}

func TestACallerThatLeavesIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &answers{}
		s.body.Store("hang")
		j := s.source()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := j.Key(ctx, testTenant, "k1"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		time.Sleep(fetchTimeout)
	})
}

func TestKeysComeFromNowhereElse(t *testing.T) {
	good := keySetOf(t, "k1")
	var elsewhere atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		if _, err := io.WriteString(w, good); err != nil {
			t.Error(err)
		}
	}))
	defer other.Close()
	for _, status := range []int{http.StatusFound, http.StatusPermanentRedirect} {
		moved := httptest.NewTLSServer(http.RedirectHandler(other.URL, status))
		// Both servers have the same certificate: only the redirect stands between.
		j := NewJWKS(moved.URL, moved.Client(), time.Now, slog.New(slog.DiscardHandler))
		if _, err := j.Key(t.Context(), testTenant, "k1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("status %d: %v", status, err)
		}
		moved.Close()
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the redirect was followed %d times", n)
	}
	j := NewJWKS(other.URL, other.Client(), time.Now, slog.New(slog.DiscardHandler))
	if _, err := j.Key(t.Context(), "../"+testTenant, "k1"); !errors.Is(err, ErrUnavailable) || elsewhere.Load() != 0 {
		t.Errorf("a path for a tenant: %v", err)
	}
}
