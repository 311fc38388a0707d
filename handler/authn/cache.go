package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"

	"secureapi/handler/authz"
)

const (
	// cacheSize bounds the tokens that are remembered: 2 MiB at the usual 520
	// bytes each. The least recently used goes first.
	cacheSize = 4096
	// maxCachedToken is the longest token that is remembered, so that tokens with
	// hundreds of roles do not take a multiple of that. Entra ID's are about 1,500
	// bytes long.
	maxCachedToken = 4 << 10
)

// verified is a token whose signature and claims were found good, with all
// that a later look at it has to compare with the time and the key set.
type verified struct {
	principal authz.Principal
	window    window
	keyID     string
	key       Key
}

// digest names a token in the cache: SHA-256 of all of it, the signature
// included, so that nothing of one token can be taken for another's. The token
// itself is not kept.
type digest [sha256.Size]byte

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// cache remembers accepted tokens, and only those: it saves the parsing and
// the signature check, never a decision that can come out differently later.
type cache struct{ tokens *lru.Cache[digest, verified] }

func newCache(size int) (cache, error) {
	tokens, err := lru.New[digest, verified](size)
	return cache{tokens}, err
}

func (c cache) remember(d digest, token string, t verified) {
	if len(token) <= maxCachedToken {
		c.tokens.Add(d, t)
	}
}

// recall gives a remembered token that still holds: its key stands unchanged
// in the tenant's key set, and its time has come and not passed. ok is false
// for every other, which then goes the whole way and learns why it is refused.
func (a *Authenticator) recall(ctx context.Context, d digest) (t verified, ok bool, err error) {
	if t, ok = a.cache.tokens.Get(d); !ok {
		return verified{}, false, nil
	}
	key, err := a.keyOf(ctx, t.principal.TenantID, t.keyID)
	if err != nil {
		if !errors.Is(err, ErrUnavailable) {
			a.cache.tokens.Remove(d)
		}
		return verified{}, false, err
	}
	if !key.same(t.key) || a.checkWindow(t.window) != "" {
		a.cache.tokens.Remove(d)
		return verified{}, false, nil
	}
	return t, true, nil
}

// same reports whether k is the key that other is: a set fetched anew holds
// the same keys at other addresses.
func (k Key) same(other Key) bool {
	return k.Issuer == other.Issuer && k.Public.Equal(other.Public)
}

// caller is the Principal for one request. Its lists are the request's own:
// what a caller does to them must not be another's role.
func (t verified) caller() authz.Principal {
	p := t.principal
	p.Roles, p.AuthContexts = slices.Clone(p.Roles), slices.Clone(p.AuthContexts)
	return p
}
