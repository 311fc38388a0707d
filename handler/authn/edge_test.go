package authn

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/fuzzcheck"
)

func edgeAuthenticator(t testing.TB) (*Authenticator, func(header, claims any) string) {
	t.Helper()
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	return a, func(header, claims any) string { return mint(t, key, header, claims) }
}

func TestTimesAtTheEdgesOfTheirRange(t *testing.T) {
	a, sign := edgeAuthenticator(t)
	now := testNow.Unix()
	type times struct{ iat, nbf, exp int64 }
	for name, c := range map[string]struct {
		times
		reason string
	}{
		"expired by a second":           {times{now - 3600, now - 3600, now - 61}, "expired"},
		"expired at the bound":          {times{now - 3600, now - 3600, now - 60}, "expired"},
		"not expired":                   {times{now - 3600, now - 3600, now - 59}, ""},
		"nbf at the bound":              {times{now, now + 60, now + 3600}, ""},
		"nbf over the bound":            {times{now, now + 61, now + 3600}, "not_yet_valid"},
		"nbf is the last second":        {times{now, math.MaxInt64, now + 3600}, "time_out_of_range"},
		"nbf is the first second":       {times{now, math.MinInt64, now + 3600}, "time_out_of_range"},
		"iat at the bound":              {times{now + 60, now, now + 3600}, ""},
		"iat over the bound":            {times{now + 61, now, now + 3600}, "issued_in_future"},
		"iat is the last second":        {times{math.MaxInt64, now, now + 3600}, "time_out_of_range"},
		"iat is the first second":       {times{math.MinInt64, now, now + 3600}, "time_out_of_range"},
		"exp is the last second":        {times{now, now, math.MaxInt64}, "time_out_of_range"},
		"exp is the first second":       {times{now, now, math.MinInt64}, "time_out_of_range"},
		"lifetime beyond 64 bits":       {times{-1<<62 - 1, now, 1 << 62}, "time_out_of_range"},
		"lifetime at the bound":         {times{now, now, now + 29*3600}, ""},
		"lifetime over the bound":       {times{now, now, now + 29*3600 + 1}, "lifetime_not_accepted"},
		"lifetime of nothing":           {times{now, now, now}, "lifetime_not_accepted"},
		"issued before the epoch":       {times{-1, now, now + 3600}, "time_out_of_range"},
		"all of the last representable": {times{math.MaxInt64, math.MaxInt64, math.MaxInt64}, "time_out_of_range"},
	} {
		claims := userClaims()
		claims["iat"], claims["nbf"], claims["exp"] = c.iat, c.nbf, c.exp
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), claims)})
		if reason, _ := reasonOf(t, err); reason != c.reason {
			t.Errorf("%s: %q, want %q", name, reason, c.reason)
		}
	}
}

func TestRolesAndScopesAreMatchedToTheLetter(t *testing.T) {
	a, sign := edgeAuthenticator(t)
	for _, role := range []string{"vault.writer", "Vault.Write", "Vault.Writers", "*"} {
		p, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), with(userClaims(), "roles", []string{role}))})
		if err != nil || p.HasRole(authz.Writer) {
			t.Errorf("role %q: %v, %v", role, p.Roles, err)
		}
	}
	for _, role := range []string{"", "Vault.Writer ", "Vault.Writer\u00a0", "Vault.Wr\u0456ter", "Vault.Writer\x00", strings.Repeat("r", maxEntry+1)} {
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), with(userClaims(), "roles", []string{role}))})
		if reason, _ := reasonOf(t, err); reason != ReasonRolesMalformed {
			t.Errorf("role %q: %s", role, reason)
		}
	}
	for scope, want := range map[string]bool{
		"Vault.Access": true, "a Vault.Access b": true,
		"vault.access": false, "Vault.Access,a": false, "xVault.Access": false,
	} {
		p, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), with(userClaims(), "scp", scope))})
		if err != nil || p.Scoped != want {
			t.Errorf("scope %q: %v, %v", scope, p.Scoped, err)
		}
	}
	for _, scope := range []string{"a  Vault.Access", "Vault.Access\ta", "Vault.Access\u00a0a", " ", "Vault.Access "} {
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), with(userClaims(), "scp", scope))})
		if reason, _ := reasonOf(t, err); reason != ReasonScopeMalformed {
			t.Errorf("scope %q: %s", scope, reason)
		}
	}
}

func TestOnlyAllowedClients(t *testing.T) {
	key := newKey(t)
	config := goodConfig()
	config.AllowedClients = []string{"cccccccc-0000-4000-8000-000000000001"}
	a, err := New(config, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}}, nothingRevoked, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), userClaims())})
	if reason, verified := reasonOf(t, err); reason != "client_not_allowed" || !verified {
		t.Errorf("%q (verified %v)", reason, verified)
	}
	claims := with(userClaims(), "azp", config.AllowedClients[0])
	if _, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), claims)}); err != nil {
		t.Error(err)
	}
}

func goodConfig() Config {
	return Config{TenantIDs: []string{testTenant}, Audience: testAPI, AuthorityHost: testHost, Scope: "Vault.Access", StepUpContext: "c1"}
}

func TestEachBadSettingIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no tenant":         func(c *Config) { c.TenantIDs = nil },
		"tenant common":     func(c *Config) { c.TenantIDs = append(c.TenantIDs, "common") },
		"tenant upper case": func(c *Config) { c.TenantIDs = []string{strings.ToUpper(testTenant)} },
		"tenant consumers":  func(c *Config) { c.TenantIDs = []string{consumerTenant} },
		"audience URI":      func(c *Config) { c.Audience = "api://" + testAPI },
		"authority http":    func(c *Config) { c.AuthorityHost = "http://login.microsoftonline.com" },
		"authority slash":   func(c *Config) { c.AuthorityHost += "/" },
		"scope missing":     func(c *Config) { c.Scope = "" },
		"two scopes":        func(c *Config) { c.Scope = "a b" },
		"context c0":        func(c *Config) { c.StepUpContext = "c0" },
		"context c100":      func(c *Config) { c.StepUpContext = "c100" },
		"context c01":       func(c *Config) { c.StepUpContext = "c01" },
		"context cx":        func(c *Config) { c.StepUpContext = "cx" },
		"authority path":    func(c *Config) { c.AuthorityHost += "/common" },
		"authority user":    func(c *Config) { c.AuthorityHost = "https://login.microsoftonline.com@attacker.example" },
		"authority case":    func(c *Config) { c.AuthorityHost = "https://Login.microsoftonline.com" },
		"no authority":      func(c *Config) { c.AuthorityHost = "https://" },
		"version 1 host":    func(c *Config) { c.V1Host = "https://sts.windows.net/" },
		"client a name":     func(c *Config) { c.AllowedClients = []string{testClient, "*"} },
		"URI of version 2":  func(c *Config) { c.AppIDURI = "api://vault" },
		"URI a word":        func(c *Config) { c.AcceptV1, c.AppIDURI = true, "vault" },
		"skew too long":     func(c *Config) { c.Skew = maxSkew + time.Second },
		"skew negative":     func(c *Config) { c.Skew = -time.Second },
		"lifetime too long": func(c *Config) { c.MaxLifetime = maxLifetime + time.Second },
		"lifetime negative": func(c *Config) { c.MaxLifetime = -time.Hour },
	} {
		config := goodConfig()
		spoil(&config)
		if _, err := New(config, staticKeys{}, nothingRevoked, time.Now); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := New(goodConfig(), staticKeys{}, nothingRevoked, time.Now); err != nil {
		t.Error(err)
	}
	if _, err := New(goodConfig(), nil, nothingRevoked, time.Now); err == nil {
		t.Error("without keys: taken")
	}
	if _, err := New(goodConfig(), staticKeys{}, nil, time.Now); err == nil {
		t.Error("without a list of revocations: taken")
	}
	if _, err := New(goodConfig(), staticKeys{}, nothingRevoked, nil); err == nil {
		t.Error("without a clock: taken")
	}
}

func TestARefusalTellsNothingOfTheToken(t *testing.T) {
	a, sign := edgeAuthenticator(t)
	claims := with(userClaims(), "oid", "zqmark@example.com")
	_, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), claims)})
	if err == nil || strings.Contains(err.Error(), "zqmark") {
		t.Errorf("got %v", err)
	}
	if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.Challenge() != `Bearer error="invalid_token"` {
		t.Errorf("not the uniform challenge: %v", err)
	}
}

func FuzzBearer(f *testing.F) {
	for _, seed := range []string{"Bearer a.b.c", "bearer  a", "Bearer", "Bearer ", "", "Basic QQ==", "Bearer\ta", "Bearer a, Bearer b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, err := bearer([]string{value})
		if err == nil && (token == "" || len(value) > maxAuthorization || !strings.EqualFold(value[:7], "Bearer ") || value[7:] != token) {
			t.Errorf("%q gives %q", value, token)
		}
		if _, err := bearer([]string{value, value}); err == nil {
			t.Error("two headers were taken")
		}
		if _, err := bearer([]string{fuzzcheck.Marked(value)}); err != nil && fuzzcheck.Quotes(err.Error()) {
			t.Errorf("the refusal quotes the header: %v", err)
		}
	})
}

func FuzzClaims(f *testing.F) {
	key := newKey(f)
	a := newAuthenticator(f, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	for _, claims := range []map[string]any{userClaims(), appClaims()} {
		b, err := json.Marshal(claims)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(`{"tid":"` + testTenant + `","exp":9223372036854775807,"nbf":-1,"iat":-9223372036854775808}`)
	f.Fuzz(func(t *testing.T, claims string) {
		p, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), claims)})
		if err != nil {
			return
		}
		var read map[string]any
		if err := json.Unmarshal([]byte(claims), &read); err != nil {
			t.Fatal(err)
		}
		names := slices.Sorted(maps.Keys(read))
		if p.TenantID != testTenant || read["aud"] != testAPI || !isGUID(p.ObjectID) || p.IssuedAt.After(testNow.Add(maxSkew)) {
			t.Errorf("accepted %v", names)
		}
	})
}
