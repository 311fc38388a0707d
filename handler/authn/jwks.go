package authn

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/singleflight"

	"secureapi/handler/clock"
)

const (
	refreshEvery = time.Hour
	// fetchPause is the least time between fetches for unknown keys, failed
	// ones included: a flood of invented key ids costs the authority nothing.
	fetchPause = 5 * time.Minute
	// lastGoodLife is how long keys serve while the authority does not answer.
	lastGoodLife = 24 * time.Hour
	fetchTimeout = 5 * time.Second
	maxKeySet    = 1 << 20
	minModulus   = 2048
	exponent     = 65537
)

// JWKS is the KeySource that asks the authority. A set is swapped in whole,
// and never for a broken or empty one; a key that the authority takes away
// stops working with the next refresh. Safe for concurrent use.
type JWKS struct {
	host   string
	client *http.Client
	now    clock.Clock
	logger *slog.Logger
	fetch  singleflight.Group

	mu      sync.Mutex
	tenants map[string]*keySet
}

type keySet struct {
	keys    map[string]Key
	good    time.Time // when keys were fetched
	tried   time.Time // when a fetch was last begun
	lastErr error
}

// NewJWKS returns the key source of an authority host such as
// https://login.microsoftonline.com. client must follow no redirects.
func NewJWKS(host string, client *http.Client, now clock.Clock, logger *slog.Logger) *JWKS {
	return &JWKS{host: host, client: client, now: now, logger: logger, tenants: map[string]*keySet{}}
}

// Key implements KeySource. The tenant is one of the allowed ones.
func (j *JWKS) Key(ctx context.Context, tenant, kid string) (Key, error) {
	set := j.snapshot(tenant)
	key, known := set.keys[kid]
	age := j.now().Sub(set.good)
	switch {
	case known && age < refreshEvery:
		return key, nil
	case j.now().Sub(set.tried) < fetchPause && !set.tried.IsZero():
		// Not again so soon: answer from what is there.
	default:
		if err := j.refresh(ctx, tenant); err != nil && ctx.Err() != nil {
			return Key{}, fmt.Errorf("fetching signing keys: %w", ctx.Err())
		}
		set = j.snapshot(tenant)
		key, known = set.keys[kid]
		age = j.now().Sub(set.good)
	}
	switch {
	case set.good.IsZero() || age >= lastGoodLife:
		return Key{}, fmt.Errorf("no signing keys: %w", errors.Join(set.lastErr, ErrUnavailable))
	case known:
		return key, nil
	case set.lastErr != nil:
		// A key that is new could be real: the authority has not said.
		return Key{}, fmt.Errorf("signing key not confirmed: %w", ErrUnavailable)
	default:
		return Key{}, ErrUnknownKey
	}
}

// Run refreshes the tenants' keys in the background until ctx ends.
func (j *JWKS) Run(ctx context.Context, tenants []string) {
	ticker := time.NewTicker(refreshEvery * 9 / 10)
	defer ticker.Stop()
	for {
		for _, tenant := range tenants {
			if err := j.refresh(ctx, tenant); err != nil && ctx.Err() == nil {
				j.logger.WarnContext(ctx, "signing keys not refreshed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (j *JWKS) snapshot(tenant string) keySet {
	j.mu.Lock()
	defer j.mu.Unlock()
	if set := j.tenants[tenant]; set != nil {
		return *set
	}
	return keySet{}
}

// refresh fetches a tenant's keys; concurrent calls share one fetch, which
// outlives the caller that began it.
func (j *JWKS) refresh(ctx context.Context, tenant string) error {
	done := j.fetch.DoChan(tenant, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		begun := j.now()
		// Another caller's fetch may have ended since this one looked.
		if set := j.snapshot(tenant); !set.tried.IsZero() && begun.Sub(set.tried) < fetchPause {
			return nil, set.lastErr
		}
		keys, err := j.get(ctx, tenant)
		j.mu.Lock()
		defer j.mu.Unlock()
		set := j.tenants[tenant]
		if set == nil {
			set = &keySet{}
			j.tenants[tenant] = set
		}
		set.tried, set.lastErr = begun, err
		if err == nil {
			set.keys, set.good = keys, begun
		}
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (j *JWKS) get(ctx context.Context, tenant string) (map[string]Key, error) {
	// The address is made here, not read from discovery: the host is pinned.
	url := j.host + "/" + tenant + "/discovery/v2.0/keys"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking for signing keys: %w", err)
	}
	response, err := j.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetching signing keys: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
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

type jwk struct {
	Type     string `json:"kty"`
	Use      string `json:"use"`
	KeyID    string `json:"kid"`
	Modulus  string `json:"n"`
	Exponent string `json:"e"`
	Issuer   string `json:"issuer"`
}

// parseKeySet reads a key set (RFC 7517). Keys that this API cannot use are
// passed over; a key id that stands twice spoils the whole set.
func parseKeySet(body []byte) (map[string]Key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("signing keys are not a key set")
	}
	keys := make(map[string]Key, len(set.Keys))
	seen := make(map[string]bool, len(set.Keys))
	for _, k := range set.Keys {
		if seen[k.KeyID] {
			return nil, errors.New("signing keys have a key id twice")
		}
		seen[k.KeyID] = true
		public, err := k.rsa()
		if err != nil || !keyIDShape.MatchString(k.KeyID) || k.Issuer == "" {
			continue
		}
		keys[k.KeyID] = Key{Public: public, Issuer: k.Issuer}
	}
	if len(keys) == 0 {
		return nil, errors.New("signing keys hold no usable key")
	}
	return keys, nil
}

func (k jwk) rsa() (*rsa.PublicKey, error) {
	if k.Type != "RSA" || k.Use != "sig" {
		return nil, errors.New("not an RSA signing key")
	}
	n, err := base64.RawURLEncoding.Strict().DecodeString(k.Modulus)
	if err != nil {
		return nil, fmt.Errorf("modulus: %w", err)
	}
	e, err := base64.RawURLEncoding.Strict().DecodeString(k.Exponent)
	if err != nil {
		return nil, fmt.Errorf("exponent: %w", err)
	}
	modulus := new(big.Int).SetBytes(n)
	if modulus.BitLen() < minModulus || new(big.Int).SetBytes(e).Cmp(big.NewInt(exponent)) != 0 {
		return nil, errors.New("modulus too short or exponent not 65537")
	}
	return &rsa.PublicKey{N: modulus, E: exponent}, nil
}
