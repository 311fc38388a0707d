// Package credential gets the service's own tokens with MSAL and hands them to
// the Azure SDKs as an azcore.TokenCredential: by managed identity in Azure,
// by certificate or federated assertion elsewhere. There is no client secret
// and no account key to configure.
//
// A token is fetched once however many callers wait for it, is refreshed in
// the background before it expires, and is served until it does when the
// authority is down. Tokens are held in memory only. Errors name the step and
// the authority's code; its text, which can quote requests, stays behind.
//
// Trust boundary: a service's challenge may ask for a token of another tenant;
// it does not get one.
package credential

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"golang.org/x/sync/singleflight"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
)

const (
	// acquireTimeout bounds one acquisition, MSAL's own retries included.
	acquireTimeout = 30 * time.Second
	// refreshMargin before its end a token is due, where the authority names
	// no time. MSAL serves nothing from its cache that is closer to its end.
	refreshMargin = 5 * time.Minute
	// minLife is the least life of a token worth sending.
	minLife = time.Minute
	// refreshPause spaces attempts to refresh a token that still serves.
	refreshPause = 30 * time.Second
	// maxScopes bounds the cache: storage, vault and telemetry need three.
	maxScopes = 8

	scopeSuffix = "/.default"
)

var (
	errScope  = errors.New("not one scope ending in /.default")
	errScopes = errors.New("too many scopes")
	errTenant = errors.New("a token of another tenant was asked for")
	errShort  = errors.New("the token is expired already")
	errPanic  = errors.New("the library panicked")
)

// source gets a token from an authority. It must honour ctx.
type source interface {
	token(ctx context.Context, scope, claims string) (azcore.AccessToken, error)
	// step names the source in errors.
	step() string
	// tenant is the one tenant of the source, or "" if it has no say in it.
	tenant() string
}

// Options are the parts of a Credential.
type Options struct {
	// Clock is required.
	Clock clock.Clock
	// OnRefreshError is told of a failed background refresh, while the old
	// token still serves: the early warning of an outage. It may be nil.
	OnRefreshError func(error)
}

// Credential is an azcore.TokenCredential. It is safe for concurrent use.
type Credential struct {
	source  source
	options Options
	flights singleflight.Group

	mu     sync.Mutex
	tokens map[string]held
}

// held is a token and when to look for the next one.
type held struct {
	token azcore.AccessToken
	due   time.Time
}

var _ azcore.TokenCredential = (*Credential)(nil)

func newCredential(s source, o Options) *Credential {
	return &Credential{source: s, options: o, tokens: make(map[string]held)}
}

// GetToken implements azcore.TokenCredential. Claims (of a continuous access
// evaluation challenge) pass by every cache.
func (c *Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if err := c.check(o); err != nil {
		return azcore.AccessToken{}, c.fail(err)
	}
	scope := o.Scopes[0]
	if o.Claims == "" {
		token, due, ok := c.cached(scope)
		if ok && due {
			go c.refresh(context.WithoutCancel(ctx), scope)
		}
		if ok {
			return token, nil
		}
	}
	select {
	case result := <-c.acquire(ctx, scope, o.Claims):
		if result.Err != nil {
			return azcore.AccessToken{}, c.fail(result.Err)
		}
		token, ok := result.Val.(azcore.AccessToken)
		if !ok {
			return azcore.AccessToken{}, c.fail(errPanic)
		}
		return token, nil
	case <-ctx.Done():
		return azcore.AccessToken{}, c.fail(ctx.Err())
	}
}

func (c *Credential) check(o policy.TokenRequestOptions) error {
	if len(o.Scopes) != 1 || !strings.HasSuffix(o.Scopes[0], scopeSuffix) {
		return errScope
	}
	if own := c.source.tenant(); own != "" && o.TenantID != "" && !strings.EqualFold(o.TenantID, own) {
		return errTenant
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.tokens[o.Scopes[0]]; !known && len(c.tokens) >= maxScopes {
		return errScopes
	}
	return nil
}

// cached gives a token that still serves. due is true for one caller per
// refreshPause once the token should be refreshed.
func (c *Credential) cached(scope string) (token azcore.AccessToken, due, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.tokens[scope]
	now := c.options.Clock()
	if !ok || now.Add(minLife).After(h.token.ExpiresOn) {
		return azcore.AccessToken{}, false, false
	}
	if now.Before(h.due) {
		return h.token, false, true
	}
	h.due = now.Add(refreshPause)
	c.tokens[scope] = h
	return h.token, true, true
}

func (c *Credential) refresh(ctx context.Context, scope string) {
	result := <-c.acquire(ctx, scope, "")
	if result.Err != nil && c.options.OnRefreshError != nil {
		c.options.OnRefreshError(c.fail(result.Err))
	}
}

// acquire joins or starts the one acquisition of the scope. It outlives a
// caller that gives up, because others wait for the same token.
func (c *Credential) acquire(ctx context.Context, scope, claims string) <-chan singleflight.Result {
	return c.flights.DoChan(scope+"\x00"+claims, func() (_ any, err error) {
		// A panic on singleflight's own goroutine would end the process.
		defer func() {
			if recover() != nil {
				err = errPanic
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acquireTimeout)
		defer cancel()
		token, err := c.source.token(ctx, scope, claims)
		if err != nil {
			return nil, err
		}
		return token, c.hold(scope, token)
	})
}

func (c *Credential) hold(scope string, token azcore.AccessToken) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.options.Clock()
	if token.Token == "" || !now.Before(token.ExpiresOn) {
		return errShort
	}
	due := token.RefreshOn
	if due.IsZero() {
		due = token.ExpiresOn.Add(-refreshMargin)
	}
	// MSAL may give again what it has until the token's last minutes.
	if !due.After(now) {
		due = now.Add(refreshPause)
	}
	c.tokens[scope] = held{token, due}
	return nil
}

// fail builds the one error that leaves this package.
func (c *Credential) fail(err error) error {
	for _, own := range []error{errScope, errScopes, errTenant, errShort, errPanic, errExpired, errEarly} {
		if errors.Is(err, own) {
			return &azure.CredentialError{Step: c.source.step(), Code: authorityCode(err), Cause: own}
		}
	}
	return azure.NewCredentialError(c.source.step(), authorityCode(err), err)
}
