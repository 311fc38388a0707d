package authn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"secureapi/handler/clock"
)

const (
	// refreshEvery is how often Run fetches, give or take a tenth, so that
	// instances that were started together do not ask together.
	refreshEvery = time.Hour
	// staleAfter is the age from which a call does not rely on Run.
	staleAfter = refreshEvery + refreshEvery/5
	// lastGoodLife is how long keys serve while the authority does not answer.
	lastGoodLife = 24 * time.Hour

	// fetchPause is the least time between a fetch, failed ones included, and
	// one that a call brings about: a flood of invented key ids costs the
	// authority nothing. Meanwhile the last answer stands for all ids that it
	// does not have; it is the negative cache, and no attacker fills it.
	fetchPause = 5 * time.Minute
	// coldPause is the same while there is no key at all.
	coldPause = 5 * time.Second
	// firstRetry is when Run tries again, then twice as long each time.
	firstRetry = 2 * time.Second

	fetchTimeout = 5 * time.Second
	maxKeySet    = 1 << 20
)

// JWKS is the KeySource that asks the authority. A set is swapped in whole, and
// never for a broken or empty one; a key that the authority takes away stops
// working with the next refresh. Safe for concurrent use.
type JWKS struct {
	host   string
	client http.Client
	now    clock.Clock
	logger *slog.Logger
	fetch  singleflight.Group

	mu      sync.RWMutex
	tenants map[string]keySet
}

// keySet is what is known of a tenant's keys. The map is never changed.
type keySet struct {
	keys  map[string]Key
	good  time.Time // when keys were fetched; zero: never
	tried time.Time // when the last fetch began; zero: never
	err   error     // of the last fetch
}

// due reports whether a call should bring about a fetch.
func (s keySet) due(now time.Time, known bool) bool {
	age, since := clock.Age(now, s.good), clock.Age(now, s.tried)
	switch {
	case s.good.IsZero() || age >= lastGoodLife:
		return s.tried.IsZero() || since >= coldPause
	case known && age < staleAfter:
		return false
	default:
		return since >= fetchPause
	}
}

// answer is what is known now.
func (s keySet) answer(now time.Time, kid string) (Key, error) {
	key, known := s.keys[kid]
	switch {
	case s.good.IsZero() || clock.Age(now, s.good) >= lastGoodLife:
		return Key{}, errors.Join(ErrUnavailable, s.err)
	case known:
		return key, nil
	case s.err != nil:
		// The id could be that of a new key: the authority has not said.
		return Key{}, fmt.Errorf("%w: key not confirmed: %w", ErrUnavailable, s.err)
	default:
		return Key{}, ErrUnknownKey
	}
}

// NewJWKS returns the key source of an authority host such as
// https://login.microsoftonline.com. Redirects are refused whatever the client
// says, so that no answer moves the source of the keys.
func NewJWKS(host string, client *http.Client, now clock.Clock, logger *slog.Logger) *JWKS {
	j := &JWKS{host: host, client: *client, now: now, logger: logger, tenants: map[string]keySet{}}
	j.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return j
}

// Key implements KeySource. It fetches only where Run has not, or for a key id
// that is not known; it does not wait for an authority that did not answer the
// last time while it has a key to give.
func (j *JWKS) Key(ctx context.Context, tenant, kid string) (Key, error) {
	set, now := j.snapshot(tenant), j.now()
	key, known := set.keys[kid]
	if !set.due(now, known) {
		return set.answer(now, kid)
	}
	done := j.refresh(ctx, tenant, set.tried)
	if known && set.err != nil && clock.Age(now, set.good) < lastGoodLife {
		return key, nil
	}
	select {
	case <-done:
	case <-ctx.Done():
		return Key{}, fmt.Errorf("waiting for signing keys: %w", context.Cause(ctx))
	}
	return j.snapshot(tenant).answer(j.now(), kid)
}

// Run keeps the tenants' keys fresh until ctx ends.
func (j *JWKS) Run(ctx context.Context, tenants []string) {
	var group sync.WaitGroup
	for _, tenant := range tenants {
		group.Go(func() { j.keepFresh(ctx, tenant) })
	}
	group.Wait()
}

func (j *JWKS) keepFresh(ctx context.Context, tenant string) {
	retry := firstRetry
	for ctx.Err() == nil {
		wait := clock.Jitter(refreshEvery)
		result := <-j.refresh(ctx, tenant, j.snapshot(tenant).tried)
		if result.Err != nil {
			j.logger.WarnContext(ctx, "signing keys not refreshed", "tenant", tenant, "error", result.Err)
			wait = clock.Jitter(retry)
			retry = min(2*retry, fetchPause)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (j *JWKS) snapshot(tenant string) keySet {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.tenants[tenant]
}

// refresh fetches a tenant's keys, unless that has happened since the caller
// saw that it was last tried at seen. Concurrent calls share one fetch, which
// outlives the call that began it: the next one needs the keys too.
func (j *JWKS) refresh(ctx context.Context, tenant string, seen time.Time) <-chan singleflight.Result {
	return j.fetch.DoChan(tenant, func() (any, error) {
		set := j.snapshot(tenant)
		if !set.tried.Equal(seen) {
			return nil, set.err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		set.tried = j.now()
		keys, err := j.get(ctx, tenant)
		if set.err = err; err == nil {
			set.keys, set.good = keys, set.tried
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.tenants[tenant] = set
		return nil, err
	})
}

// get asks the authority. The address is made here and not read from a
// discovery document: there is no other host to be led to.
func (j *JWKS) get(ctx context.Context, tenant string) (map[string]Key, error) {
	if !isGUID(tenant) {
		return nil, errors.New("fetching signing keys: the tenant is not a GUID")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, j.host+"/"+tenant+"/discovery/v2.0/keys", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking for signing keys: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := j.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetching signing keys: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching signing keys: status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("reading signing keys: %w", err)
	}
	if len(body) > maxKeySet {
		return nil, errors.New("reading signing keys: too large")
	}
	return parseKeySet(body)
}
