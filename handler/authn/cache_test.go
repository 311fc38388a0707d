package authn

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secureapi/handler/authz"
)

// cached is an Authenticator whose keys, revocations and time a test moves, and
// whose signature checks it counts.
type cached struct {
	*Authenticator
	signing *rsa.PrivateKey
	checks  atomic.Int64

	mu      sync.Mutex
	now     time.Time
	key     Key
	keyErr  error
	revoked authz.Revocation
	listErr error
}

func (c *cached) Key(_ context.Context, _, kid string) (Key, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keyErr == nil && kid != "k1" {
		return Key{}, ErrUnknownKey
	}
	return c.key, c.keyErr
}

func (c *cached) Check(context.Context, authz.Principal) (authz.Revocation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked, c.listErr
}

func (c *cached) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func newCached(t *testing.T) *cached {
	t.Helper()
	c := &cached{now: testNow, signing: newKey(t)}
	c.key = Key{Public: &c.signing.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}
	a, err := New(goodConfig(), c, c, func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.now
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Authenticator = a
	inner := a.verify
	a.verify = func(t *token, key *rsa.PublicKey) error {
		c.checks.Add(1)
		return inner(t, key)
	}
	return c
}

// presents a token and wants it accepted or refused with the reason, after so
// many signature checks in all.
func (c *cached) presents(t *testing.T, step, raw, want string, checks int64) {
	t.Helper()
	_, err := c.Authenticate(t.Context(), []string{"Bearer " + raw})
	if reason, _ := reasonOf(t, err); reason != want {
		t.Errorf("%s: %q, want %q", step, reason, want)
	}
	if n := c.checks.Load(); n != checks {
		t.Errorf("%s: %d signature checks, want %d", step, n, checks)
	}
}

func TestACachedTokenIsNotVerifiedAgain(t *testing.T) {
	c := newCached(t)
	raw := mint(t, c.signing, goodHeader(), userClaims())
	for range 3 {
		c.presents(t, "the same token", raw, "", 1)
	}
	c.presents(t, "another", mint(t, c.signing, goodHeader(), with(userClaims(), "uti", "other")), "", 2)
	c.presents(t, "the first once more", raw, "", 2)
}

func TestACachedTokenIsWhatItsPrincipalWas(t *testing.T) {
	c := newCached(t)
	raw := []string{"Bearer " + mint(t, c.signing, goodHeader(), userClaims())}
	first, err := c.Authenticate(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	first.Roles[0], first.AuthContexts[0] = authz.Operator, "c99"
	for range 2 {
		p, err := c.Authenticate(t.Context(), raw)
		if err != nil || !p.HasRole(authz.Writer) || p.HasRole(authz.Operator) || p.AuthContexts[0] != "c1" || p.ObjectID != testUser {
			t.Errorf("%+v, %v", p, err)
		}
		p.Roles[0] = authz.Operator
	}
}

func TestACachedTokenExpires(t *testing.T) {
	c := newCached(t)
	raw := mint(t, c.signing, goodHeader(), userClaims())
	c.presents(t, "fresh", raw, "", 1)
	c.change(func() { c.now = testNow.Add(time.Hour + maxSkew - time.Second) })
	c.presents(t, "in its last second", raw, "", 1)
	c.change(func() { c.now = testNow.Add(time.Hour + maxSkew) })
	c.presents(t, "expired", raw, ReasonExpired, 2)
	c.change(func() { c.now = testNow.Add(-maxSkew - time.Second) })
	c.presents(t, "after the clock went back", raw, ReasonNotYetValid, 3)
	c.change(func() { c.now = testNow })
	c.presents(t, "at its time", raw, "", 4)
	c.change(func() { c.now = testNow.Add(-maxSkew - time.Second) })
	c.presents(t, "cached, and the clock went back", raw, ReasonNotYetValid, 5)
}

// A step-up is not part of what is remembered.
func TestACachedTokenGrowsTooOldForAStepUp(t *testing.T) {
	c := newCached(t)
	raw := []string{"Bearer " + mint(t, c.signing, goodHeader(), userClaims())}
	for age, want := range map[time.Duration]bool{0: true, stepUpAge: true, stepUpAge + time.Second: false} {
		c.change(func() { c.now = testNow.Add(age) })
		p, err := c.Authenticate(t.Context(), raw)
		if err != nil || (c.RequireStepUp(p) == nil) != want {
			t.Errorf("at the age of %s: %v, %v", age, err, c.RequireStepUp(p))
		}
	}
}

func TestACachedTokenEndsWithItsKey(t *testing.T) {
	other := newKey(t)
	good := newCached(t).key.Issuer
	for name, tt := range map[string]struct {
		change func(*cached)
		want   string
		checks int64
	}{
		"removed":                 {func(c *cached) { c.keyErr = ErrUnknownKey }, ReasonKeyUnknown, 1},
		"replaced under its name": {func(c *cached) { c.key.Public = &other.PublicKey }, ReasonSignature, 2},
		"another exponent": {func(c *cached) {
			c.key.Public = &rsa.PublicKey{N: c.key.Public.N, E: 3}
		}, ReasonSignature, 2},
		"another issuer": {func(c *cached) { c.key.Issuer = testHost + "/" + consumerTenant + "/v2.0" }, ReasonKeyIssuer, 2},
		"fetched anew": {func(c *cached) {
			c.key = Key{Public: &rsa.PublicKey{N: c.key.Public.N, E: c.key.Public.E}, Issuer: good}
		}, "", 1},
	} {
		c := newCached(t)
		raw := mint(t, c.signing, goodHeader(), userClaims())
		c.presents(t, name, raw, "", 1)
		c.change(func() { tt.change(c) })
		c.presents(t, name, raw, tt.want, tt.checks)
	}
}

// As above with the real key set: the token ends with the next refresh.
func TestACachedTokenEndsWithinOneRefreshOfTheKeys(t *testing.T) {
	signing, err := keyOfSets()
	if err != nil {
		t.Fatal(err)
	}
	with1, without1 := keySetOf(t, "k1", "k2"), keySetOf(t, "k2")
	synctest.Test(t, func(t *testing.T) {
		s := &answers{}
		s.body.Store(with1)
		j := s.source()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { j.Run(ctx, []string{testTenant}); close(done) }()
		a, err := New(goodConfig(), j, nothingRevoked, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		claims := userClaims()
		claims["iat"], claims["nbf"], claims["exp"] = time.Now().Unix(), time.Now().Unix(), time.Now().Add(24*time.Hour).Unix()
		header := []string{"Bearer " + mint(t, signing, goodHeader(), claims)}
		synctest.Wait()
		if _, err := a.Authenticate(t.Context(), header); err != nil {
			t.Error(err)
		}
		s.body.Store(without1)
		time.Sleep(refreshEvery + refreshEvery/10)
		synctest.Wait()
		_, err = a.Authenticate(t.Context(), header)
		if reason, _ := reasonOf(t, err); reason != ReasonKeyUnknown {
			t.Errorf("after a refresh without the key: %q", reason)
		}
		stop()
		<-done
	})
}

func TestWithoutKeysACachedTokenIsNeitherAcceptedNorForgotten(t *testing.T) {
	c := newCached(t)
	raw := mint(t, c.signing, goodHeader(), userClaims())
	c.presents(t, "fresh", raw, "", 1)
	c.change(func() { c.keyErr = errors.New("no answer") })
	if _, err := c.Authenticate(t.Context(), []string{"Bearer " + raw}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without keys: %v", err)
	}
	c.change(func() { c.keyErr = nil })
	c.presents(t, "with keys", raw, "", 1)
}

func TestRevocationsAreAskedOnEveryHit(t *testing.T) {
	c := newCached(t)
	raw := mint(t, c.signing, goodHeader(), with(userClaims(), "xms_cc", []string{"cp1"}))
	c.presents(t, "fresh", raw, "", 1)
	c.change(func() { c.revoked = authz.Revocation{Token: true} })
	c.presents(t, "token revoked", raw, ReasonTokenRevoked, 1)
	c.change(func() { c.revoked = authz.Revocation{IssuedBefore: testNow.Add(time.Second)} })
	c.presents(t, "subject revoked", raw, ReasonSubjectRevoked, 1)
	c.change(func() { c.revoked, c.listErr = authz.Revocation{}, errors.New("no list") })
	_, err := c.Authenticate(t.Context(), []string{"Bearer " + raw})
	if _, refused := errors.AsType[*Refusal](err); refused || !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a list: %v", err)
	}
	c.change(func() { c.listErr = nil })
	c.presents(t, "as before", raw, "", 1)
}

func TestTheChallengeOfARevokedSubject(t *testing.T) {
	c := newCached(t)
	c.revoked = authz.Revocation{Token: true, IssuedBefore: time.Unix(1604106651, 0)}
	// The moment is that of the example in Microsoft's documentation.
	const want = `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/v2.0/authorize", ` +
		`error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNjA0MTA2NjUxIn19fQ=="`
	for capable, challenge := range map[bool]string{true: want, false: `Bearer error="invalid_token"`} {
		claims := userClaims()
		if capable {
			claims["xms_cc"] = []string{"cp1"}
		}
		_, err := c.Authenticate(t.Context(), []string{"Bearer " + mint(t, c.signing, goodHeader(), claims)})
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok || refusal.Reason != ReasonSubjectRevoked || !refusal.Verified || refusal.Principal.ObjectID != testUser || refusal.Challenge() != challenge {
			t.Errorf("capable %t: %+v", capable, refusal)
		}
	}
}

// A token counts as another as soon as one byte of it differs, the signature's
// included, and what is refused is never remembered.
func TestTheCacheCannotBePoisoned(t *testing.T) {
	c := newCached(t)
	raw := mint(t, c.signing, goodHeader(), userClaims())
	dot := strings.LastIndexByte(raw, '.')
	forged := raw[:dot+1] + b64(make([]byte, 256))
	parts := strings.Split(raw, ".")
	altered := parts[0] + "." + b64([]byte(strings.Replace(decode(t, parts[1]), "Vault.Writer", "Vault.Reader", 1))) + "." + parts[2]
	c.presents(t, "the forged first", forged, ReasonSignature, 1)
	c.presents(t, "the true one", raw, "", 2)
	c.presents(t, "the forged beside it", forged, ReasonSignature, 3)
	c.presents(t, "the forged once more", forged, ReasonSignature, 4)
	c.presents(t, "another key's signature", mint(t, newKey(t), goodHeader(), userClaims()), ReasonSignature, 5)
	c.presents(t, "other claims under the true signature", altered, ReasonSignature, 6)
	c.presents(t, "without a signature", raw[:dot+1], ReasonSignature, 7)
	c.presents(t, "the true one still", raw, "", 7)
	if n := c.cache.tokens.Len(); n != 1 {
		t.Errorf("%d tokens are remembered", n)
	}
	expired := mint(t, c.signing, goodHeader(), with(with(userClaims(), "exp", testNow.Unix()-3600), "iat", testNow.Unix()-7200))
	c.presents(t, "a refused one", expired, ReasonExpired, 8)
	c.change(func() { c.revoked.Token = true })
	c.presents(t, "a revoked one", mint(t, c.signing, goodHeader(), with(userClaims(), "uti", "v")), ReasonTokenRevoked, 9)
	if n := c.cache.tokens.Len(); n != 1 {
		t.Errorf("%d tokens are remembered, refused ones among them", n)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	c := newCached(t)
	small, err := newCache(2)
	if err != nil {
		t.Fatal(err)
	}
	c.cache = small
	var tokens []string
	for i := range 3 {
		tokens = append(tokens, mint(t, c.signing, goodHeader(), with(userClaims(), "uti", fmt.Sprint("u", i))))
		c.presents(t, "filling", tokens[i], "", int64(i+1))
	}
	c.presents(t, "the newest", tokens[2], "", 3)
	c.presents(t, "the least recently used", tokens[0], "", 4)
	long := mint(t, c.signing, goodHeader(), with(userClaims(), "aio", strings.Repeat("x", maxCachedToken)))
	c.presents(t, "a long one", long, "", 5)
	c.presents(t, "a long one again", long, "", 6)
	if n := c.cache.tokens.Len(); n != 2 {
		t.Errorf("%d tokens are remembered", n)
	}
}

func TestTheCacheUnderConcurrentUse(t *testing.T) {
	c := newCached(t)
	small, err := newCache(4)
	if err != nil {
		t.Fatal(err)
	}
	c.cache = small
	forged := strings.Split(mint(t, newKey(t), goodHeader(), userClaims()), ".")
	tokens := make([]string, 8)
	for i := range tokens {
		tokens[i] = mint(t, c.signing, goodHeader(), with(userClaims(), "uti", fmt.Sprint("u", i)))
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 50 {
				raw := tokens[(worker+i)%len(tokens)]
				p, err := c.Authenticate(t.Context(), []string{"Bearer " + raw})
				if err != nil || p.TokenID != fmt.Sprint("u", (worker+i)%len(tokens)) {
					t.Errorf("%+v, %v", p, err)
				}
				p.Roles[0] = authz.Operator
				bad := raw[:strings.LastIndexByte(raw, '.')+1] + forged[2]
				if _, err := c.Authenticate(t.Context(), []string{"Bearer " + bad}); err == nil {
					t.Error("a forged signature was taken")
				}
			}
		})
	}
	group.Wait()
}
