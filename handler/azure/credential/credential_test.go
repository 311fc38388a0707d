package credential

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/azure"
)

const storageScope = "https://storage.azure.com/.default"

// fakeSource answers in the order of calls.
type fakeSource struct {
	calls atomic.Int32
	give  func(ctx context.Context, call int32, scope, claims string) (azcore.AccessToken, error)
	own   string
}

func (f *fakeSource) token(ctx context.Context, scope, claims string) (azcore.AccessToken, error) {
	return f.give(ctx, f.calls.Add(1), scope, claims)
}

func (f *fakeSource) step() string   { return "fake" }
func (f *fakeSource) tenant() string { return f.own }

func scopes(s ...string) policy.TokenRequestOptions { return policy.TokenRequestOptions{Scopes: s} }

// lasting gives tokens named by the call that last an hour.
func lasting(_ context.Context, call int32, _, _ string) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: fmt.Sprint("token", call), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func want(t *testing.T, c *Credential, token string) {
	t.Helper()
	got, err := c.GetToken(t.Context(), scopes(storageScope))
	if err != nil || got.Token != token {
		t.Errorf("token %q, %v; want %q", got.Token, err, token)
	}
}

func TestOneAcquisitionForManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{give: func(ctx context.Context, call int32, scope, claims string) (azcore.AccessToken, error) {
			time.Sleep(time.Second)
			return lasting(ctx, call, scope, claims)
		}}
		c := newCredential(source, Options{Clock: time.Now})
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { want(t, c, "token1") })
		}
		group.Wait()
		want(t, c, "token1")
		if n := source.calls.Load(); n != 1 {
			t.Errorf("%d acquisitions", n)
		}
	})
}

func TestRefreshBeforeExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{give: lasting}
		c := newCredential(source, Options{Clock: time.Now})
		want(t, c, "token1")
		time.Sleep(54 * time.Minute)
		want(t, c, "token1")
		synctest.Wait()
		if n := source.calls.Load(); n != 1 {
			t.Fatalf("%d acquisitions before it is due", n)
		}
		time.Sleep(2 * time.Minute)
		want(t, c, "token1") // still serves, and is refreshed meanwhile
		want(t, c, "token1")
		synctest.Wait()
		want(t, c, "token2")
		if n := source.calls.Load(); n != 2 {
			t.Errorf("%d acquisitions, want 2", n)
		}
	})
}

func TestRefreshWhenTheAuthoritySays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{give: func(_ context.Context, call int32, _, _ string) (azcore.AccessToken, error) {
			now := time.Now()
			return azcore.AccessToken{
				Token: fmt.Sprint("token", call), ExpiresOn: now.Add(24 * time.Hour), RefreshOn: now.Add(12 * time.Hour),
			}, nil
		}}
		c := newCredential(source, Options{Clock: time.Now})
		want(t, c, "token1")
		time.Sleep(12*time.Hour + time.Second)
		want(t, c, "token1")
		synctest.Wait()
		want(t, c, "token2")
	})
}

func TestAuthorityDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down: secret text")
		source := &fakeSource{give: func(ctx context.Context, call int32, scope, claims string) (azcore.AccessToken, error) {
			if call > 1 {
				return azcore.AccessToken{}, down
			}
			return lasting(ctx, call, scope, claims)
		}}
		var reported atomic.Int32
		c := newCredential(source, Options{Clock: time.Now, OnRefreshError: func(err error) {
			reported.Add(1)
			if err.Error() != "getting a token: fake: no usable answer" {
				t.Errorf("reported: %v", err)
			}
		}})
		want(t, c, "token1")
		time.Sleep(56 * time.Minute)
		for range 100 { // asks every second, tries every half minute
			want(t, c, "token1")
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := reported.Load(); n != 4 {
			t.Errorf("%d failures reported in 100 s, want 4", n)
		}
		time.Sleep(2 * time.Minute)
		_, err := c.GetToken(t.Context(), scopes(storageScope))
		var credential *azure.CredentialError
		if !errors.As(err, &credential) || errors.Is(err, down) {
			t.Errorf("after its end: %v, want a CredentialError that tells nothing", err)
		}
	})
}

func TestClaimsPassTheCache(t *testing.T) {
	source := &fakeSource{give: func(ctx context.Context, call int32, scope, claims string) (azcore.AccessToken, error) {
		if (call == 2) != (claims == `{"access_token":{}}`) {
			t.Errorf("call %d with claims %q", call, claims)
		}
		return lasting(ctx, call, scope, claims)
	}}
	c := newCredential(source, Options{Clock: time.Now})
	want(t, c, "token1")
	o := scopes(storageScope)
	o.Claims = `{"access_token":{}}`
	if got, err := c.GetToken(t.Context(), o); err != nil || got.Token != "token2" {
		t.Errorf("with claims: %q, %v", got.Token, err)
	}
	want(t, c, "token2")
}

func TestACallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{give: func(ctx context.Context, call int32, scope, claims string) (azcore.AccessToken, error) {
			time.Sleep(5 * time.Second)
			if ctx.Err() != nil {
				t.Error("the acquisition was cancelled with its first caller")
			}
			return lasting(ctx, call, scope, claims)
		}}
		c := newCredential(source, Options{Clock: time.Now})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := c.GetToken(ctx, scopes(storageScope)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want DeadlineExceeded", err)
			}
		})
		synctest.Wait()
		group.Go(func() { want(t, c, "token1") })
		group.Wait()
		if n := source.calls.Load(); n != 1 {
			t.Errorf("%d acquisitions", n)
		}
	})
}

func TestAcquisitionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fakeSource{give: func(ctx context.Context, _ int32, _, _ string) (azcore.AccessToken, error) {
			<-ctx.Done()
			return azcore.AccessToken{}, ctx.Err()
		}}
		c := newCredential(source, Options{Clock: time.Now})
		start := time.Now()
		if _, err := c.GetToken(t.Context(), scopes(storageScope)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if took := time.Since(start); took != acquireTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestRefused(t *testing.T) {
	source := &fakeSource{give: lasting, own: "0f8fad5b-d9cb-469f-a165-70867728950e"}
	c := newCredential(source, Options{Clock: time.Now})
	foreign := scopes(storageScope)
	foreign.TenantID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
	for name, o := range map[string]policy.TokenRequestOptions{
		"no scope": scopes(), "two scopes": scopes(storageScope, storageScope), "not a default scope": scopes("https://storage.azure.com/user"),
		"another tenant": foreign,
	} {
		if _, err := c.GetToken(t.Context(), o); err == nil {
			t.Errorf("%s: a token", name)
		}
	}
	if n := source.calls.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
	foreign.TenantID = "0F8FAD5B-D9CB-469F-A165-70867728950E"
	if _, err := c.GetToken(t.Context(), foreign); err != nil {
		t.Errorf("its own tenant: %v", err)
	}
	for i := range maxScopes + 2 {
		_, err := c.GetToken(t.Context(), scopes(fmt.Sprintf("https://service%d.example.com/.default", i)))
		if (err == nil) != (i < maxScopes-1) {
			t.Errorf("scope %d: %v", i, err)
		}
	}
}

func TestUselessTokens(t *testing.T) {
	for name, token := range map[string]azcore.AccessToken{
		"empty": {ExpiresOn: time.Now().Add(time.Hour)}, "expired": {Token: "x", ExpiresOn: time.Now().Add(-time.Second)}, "timeless": {Token: "x"},
	} {
		c := newCredential(&fakeSource{give: func(context.Context, int32, string, string) (azcore.AccessToken, error) {
			return token, nil
		}}, Options{Clock: time.Now})
		if got, err := c.GetToken(t.Context(), scopes(storageScope)); err == nil || got.Token != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPanicStaysInside(t *testing.T) {
	c := newCredential(&fakeSource{give: func(context.Context, int32, string, string) (azcore.AccessToken, error) {
		panic("secret")
	}}, Options{Clock: time.Now})
	if _, err := c.GetToken(t.Context(), scopes(storageScope)); err == nil || err.Error() != "getting a token: fake: the library panicked" {
		t.Errorf("%v", err)
	}
}
