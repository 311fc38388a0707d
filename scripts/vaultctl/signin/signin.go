// Package signin gets a person's tokens for the API with MSAL's public client:
// in the browser by authorization code and PKCE, or by device code, and from the
// cache after that.
//
// The client declares that it understands claims challenges (cp1), asks no host
// but the authority about the authority, and follows no redirect; its HTTP client
// verifies TLS. One person is signed in at a time.
//
// Trust boundary: MSAL's errors quote requests and answers, tokens among them.
// None of them leaves this package: an error names the step and the authority's
// code.
package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

var (
	// ErrNeeded: nobody is signed in, or the authority wants to see the person.
	ErrNeeded = errors.New("a sign-in is needed")
	// ErrAnotherPerson: a challenge was answered by somebody else than the one
	// who is signed in.
	ErrAnotherPerson = errors.New("another person signed in than the one whose request it is")
)

// Cache is where tokens are kept; *tokencache.File is one.
type Cache interface {
	cache.ExportReplace
	// Release ends an operation on the cache.
	Release() error
	// Remove deletes what is kept.
	Remove(ctx context.Context) error
}

// Options are the parts of a Client; all are required.
type Options struct {
	// Authority is https://<host>/<tenant>.
	Authority string
	ClientID  string
	// Scope is the API's delegated permission, <api>/Vault.Access.
	Scope string
	HTTP  *http.Client
	Cache Cache
}

// Client signs a person in and out.
type Client struct {
	msal   public.Client
	scopes []string
	cache  Cache
}

// Token is an access token for the API and whose it is. It prints as that.
type Token struct {
	Access  string
	Expires time.Time
	// Person is the account's name, for people.
	Person string
}

// String implements fmt.Stringer.
func (t Token) String() string { return "token of " + t.Person }

// GoString implements fmt.GoStringer.
func (t Token) GoString() string { return t.String() }

// New makes the client. It asks nobody anything yet.
func New(o Options) (*Client, error) {
	msal, err := public.New(o.ClientID, public.WithAuthority(o.Authority), public.WithHTTPClient(o.HTTP), public.WithCache(o.Cache),
		public.WithInstanceDiscovery(false), public.WithClientCapabilities([]string{"cp1"}))
	if err != nil {
		return nil, fmt.Errorf("sign-in: authority %q or client %q cannot be used", o.Authority, o.ClientID)
	}
	return &Client{msal: msal, scopes: []string{o.Scope}, cache: o.Cache}, nil
}

// Silent gives a token without the person: the kept one, or a refreshed one. It
// is ErrNeeded where that cannot be.
func (c *Client) Silent(ctx context.Context) (token Token, err error) {
	defer func() { err = c.released(err) }()
	account, err := c.account(ctx)
	if err != nil {
		return Token{}, err
	}
	if account.IsZero() {
		return Token{}, ErrNeeded
	}
	result, err := c.msal.AcquireTokenSilent(ctx, c.scopes, public.WithSilentAccount(account))
	if err != nil {
		return Token{}, fail("getting a token silently", err)
	}
	return tokenOf(result), nil
}

// SignIn signs a person in, in place of whoever was.
func (c *Client) SignIn(ctx context.Context, way Way) (token Token, err error) {
	defer func() { err = c.released(err) }()
	before, err := c.msal.Accounts(ctx)
	if err != nil {
		return Token{}, fail("reading the token cache", err)
	}
	// A person takes minutes: others may use the cache meanwhile.
	if err := c.cache.Release(); err != nil {
		return Token{}, err
	}
	result, err := way.acquire(ctx, c, "", "")
	if err != nil {
		return Token{}, err
	}
	for _, account := range before {
		if account.HomeAccountID == result.Account.HomeAccountID {
			continue
		}
		if err := c.msal.RemoveAccount(ctx, account); err != nil {
			return Token{}, fail("signing the former person out", err)
		}
	}
	return tokenOf(result), nil
}

// Satisfy has the person who is signed in meet a claims challenge. A token of
// somebody else is ErrAnotherPerson, and is not kept.
func (c *Client) Satisfy(ctx context.Context, way Way, claims string) (token Token, err error) {
	defer func() { err = c.released(err) }()
	account, err := c.account(ctx)
	if err != nil {
		return Token{}, err
	}
	if account.IsZero() {
		return Token{}, ErrNeeded
	}
	if err := c.cache.Release(); err != nil {
		return Token{}, err
	}
	result, err := way.acquire(ctx, c, claims, account.PreferredUsername)
	if err != nil {
		return Token{}, err
	}
	if result.Account.HomeAccountID != account.HomeAccountID {
		return Token{}, errors.Join(ErrAnotherPerson, c.msal.RemoveAccount(ctx, result.Account))
	}
	return tokenOf(result), nil
}

// SignOut forgets every account, and the files even where they do not open. The
// authority is not told: what was copied before stays good until it ends or an
// administrator revokes the person's sessions.
func (c *Client) SignOut(ctx context.Context) (people []string, err error) {
	defer func() { err = c.released(err) }()
	accounts, err := c.msal.Accounts(ctx)
	if err != nil {
		return nil, c.cache.Remove(ctx)
	}
	for _, account := range accounts {
		if err := c.msal.RemoveAccount(ctx, account); err != nil {
			return nil, errors.Join(fail("signing out", err), c.cache.Remove(ctx))
		}
		people = append(people, account.PreferredUsername)
	}
	return people, c.cache.Remove(ctx)
}

// Forget drops a cache that does not open, so that a sign-in can begin anew.
func (c *Client) Forget(ctx context.Context) (err error) {
	defer func() { err = c.released(err) }()
	return c.cache.Remove(ctx)
}

func (c *Client) account(ctx context.Context) (public.Account, error) {
	accounts, err := c.msal.Accounts(ctx)
	if err != nil {
		return public.Account{}, fail("reading the token cache", err)
	}
	if len(accounts) == 0 {
		return public.Account{}, nil
	}
	return accounts[0], nil
}

// released gives the cache back at the end of an operation that ended with err.
func (c *Client) released(err error) error {
	if released := c.cache.Release(); released != nil {
		return errors.Join(err, released)
	}
	return err
}

func tokenOf(r public.AuthResult) Token {
	return Token{Access: r.AccessToken, Expires: r.ExpiresOn, Person: r.Account.PreferredUsername}
}
