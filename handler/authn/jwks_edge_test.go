package authn

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestARefreshJustAfterAnotherAsksNoMore(t *testing.T) {
	a := newAuthority(t)
	a.serve(http.StatusOK, keySetOf(t, "k1"))
	j := a.source()
	for range 3 {
		if r := <-j.refresh(t.Context(), testTenant, time.Time{}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if n := a.calls.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestFailedFetchesPauseToo(t *testing.T) {
	a := newAuthority(t)
	j := a.source()
	ask := func(kid string, wantErr error, wantCalls int64) {
		t.Helper()
		for range 3 {
			if _, err := j.Key(t.Context(), testTenant, kid); !errors.Is(err, wantErr) {
				t.Errorf("got %v", err)
			}
		}
		if n := a.calls.Load(); n != wantCalls {
			t.Errorf("%d fetches, want %d", n, wantCalls)
		}
	}
	// Without any key the pause is short: nothing works until one is there.
	a.serve(http.StatusServiceUnavailable, "")
	ask("k1", ErrUnavailable, 1)
	a.pass(coldPause - time.Second)
	ask("k1", ErrUnavailable, 1)
	a.pass(time.Second)
	ask("k1", ErrUnavailable, 2)
	a.serve(http.StatusOK, keySetOf(t, "k1"))
	a.pass(coldPause)
	ask("k1", nil, 3)
	// With keys it is long.
	a.serve(http.StatusServiceUnavailable, "")
	a.pass(fetchPause)
	ask("k2", ErrUnavailable, 4)
	a.pass(fetchPause - time.Second)
	ask("k2", ErrUnavailable, 4)
	a.pass(time.Second)
	ask("k2", ErrUnavailable, 5)
	a.serve(http.StatusOK, keySetOf(t, "k1", "k2"))
	a.pass(fetchPause)
	ask("k2", nil, 6)
}

func TestKnownKeysAreFetchedOnlyWhenStale(t *testing.T) {
	a := newAuthority(t)
	a.serve(http.StatusOK, keySetOf(t, "k1"))
	j := a.source()
	for _, step := range []struct {
		pass  time.Duration
		calls int64
	}{{0, 1}, {staleAfter - time.Second, 1}, {time.Second, 2}, {staleAfter, 3}} {
		a.pass(step.pass)
		if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
			t.Error(err)
		}
		if n := a.calls.Load(); n != step.calls {
			t.Errorf("%d fetches, want %d", n, step.calls)
		}
	}
}

func TestTenantsDoNotShareKeys(t *testing.T) {
	a := newAuthority(t)
	a.serve(http.StatusOK, keySetOf(t, "k1"))
	j := a.source()
	if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Key(t.Context(), "11111111-1111-4111-8111-111111111111", "k1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestACallerThatLeavesDoesNotStopTheFetch(t *testing.T) {
	a := newAuthority(t)
	a.serve(http.StatusOK, keySetOf(t, "k1"))
	j := a.source()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Key(gone, testTenant, "k1"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := j.Key(t.Context(), testTenant, "k1"); err != nil {
		t.Error(err)
	}
	if n := a.calls.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestKeySetsThatAreNotOne(t *testing.T) {
	good := keySetOf(t, "k1")
	for name, body := range map[string]string{
		"nothing":        "",
		"null":           "null",
		"a list":         "[]",
		"no keys":        `{}`,
		"keys an object": `{"keys":{}}`,
		"keys twice":     `{"keys":[],` + good[1:],
		"trailing":       good + "{}",
		"cut short":      good[:len(good)-1],
		"name folded":    strings.Replace(good, `"keys"`, `"Keys"`, 1),
		"member twice":   strings.Replace(good, `"kty":"RSA"`, `"kty":"RSA","kty":"RSA"`, 1),
		"padded modulus": strings.Replace(good, `","use"`, `=","use"`, 1),
		"two of one id":  keySetOf(t, "k1", "k2", "k1"),
	} {
		if _, err := parseKeySet([]byte(body)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	keys, err := parseKeySet([]byte(keySetOf(t, "k1", "../k2", "k3")))
	if err != nil || len(keys) != 2 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}
