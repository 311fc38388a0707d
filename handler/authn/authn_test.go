package authn

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/fuzzcheck"
)

const (
	testTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	testAPI    = "5a1b0a5e-0f41-4f0e-8f8e-3a2b6f1f9d11"
	testHost   = "https://login.microsoftonline.com"
	testUser   = "aaaaaaaa-0000-4000-8000-000000000001"
	testClient = "bbbbbbbb-0000-4000-8000-000000000001"
)

var testNow = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

type staticKeys struct {
	key Key
	err error
}

func (s staticKeys) Key(_ context.Context, _, kid string) (Key, error) {
	if s.err != nil {
		return Key{}, s.err
	}
	if kid != "k1" {
		return Key{}, ErrUnknownKey
	}
	return s.key, nil
}

// revocationFunc is a list of revocations.
type revocationFunc func(p authz.Principal) (authz.Revocation, error)

func (f revocationFunc) Check(_ context.Context, p authz.Principal) (authz.Revocation, error) {
	return f(p)
}

var nothingRevoked = revocationFunc(func(authz.Principal) (authz.Revocation, error) { return authz.Revocation{}, nil })

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthenticator(t testing.TB, keys KeySource) *Authenticator {
	t.Helper()
	a, err := New(Config{
		TenantIDs: []string{testTenant}, Audience: testAPI, AuthorityHost: testHost, Scope: "Vault.Access", StepUpContext: "c1",
	}, keys, nothingRevoked, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func userClaims() map[string]any {
	return map[string]any{
		"ver": "2.0", "iss": testHost + "/" + testTenant + "/v2.0", "aud": testAPI, "tid": testTenant, "oid": testUser,
		"azp": testClient, "azpacr": "0", "idtyp": "user", "scp": "openid Vault.Access", "roles": []string{"Vault.Writer"},
		"acrs": []string{"c1"}, "uti": "u", "iat": testNow.Unix(), "nbf": testNow.Unix(), "exp": testNow.Unix() + 3600,
	}
}

func appClaims() map[string]any {
	c := userClaims()
	delete(c, "scp")
	c["idtyp"], c["azpacr"] = "app", "2"
	return c
}

func goodHeader() map[string]any { return map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"} }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// mint signs header and claims, given as maps or as raw JSON text.
func mint(t testing.TB, key *rsa.PrivateKey, header, claims any) string {
	t.Helper()
	part := func(v any) string {
		if text, ok := v.(string); ok {
			return b64([]byte(text))
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64(b)
	}
	signed := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(signature)
}

func with(m map[string]any, name string, value any) map[string]any {
	m = maps.Clone(m)
	m[name] = value
	if value == nil {
		delete(m, name)
	}
	return m
}

func reasonOf(t *testing.T, err error) (reason string, verified bool) {
	t.Helper()
	if err == nil {
		return "", false
	}
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("not a refusal: %v", err)
	}
	return refusal.Reason, refusal.Verified
}

func TestGoodTokensGiveAPrincipal(t *testing.T) {
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	p, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), userClaims())})
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != authz.User || !p.Scoped || p.TenantID != testTenant || p.ObjectID != testUser || !p.HasRole(authz.Writer) {
		t.Errorf("user: %+v", p)
	}
	if err := a.RequireStepUp(p); err != nil {
		t.Errorf("step-up: %v", err)
	}
	p, err = a.Authenticate(t.Context(), []string{"bearer " + mint(t, key, goodHeader(), appClaims())})
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != authz.App || p.Scoped || !p.HasRole(authz.Writer) {
		t.Errorf("app: %+v", p)
	}
	step, ok := errors.AsType[*StepUpRequired](a.RequireStepUp(p))
	if !ok || step.Challenge != "" {
		t.Error("an app can step up")
	}
	p, err = a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), with(userClaims(), "scp", "Vault.Accessible openid"))})
	if err != nil || p.Scoped {
		t.Errorf("a scope's prefix: %+v, %v", p, err)
	}
}

func TestStepUpIsFresh(t *testing.T) {
	a := newAuthenticator(t, staticKeys{})
	p := authz.Principal{Kind: authz.User, AuthContexts: []string{"c1"}}
	for age, want := range map[time.Duration]bool{
		0: true, 10 * time.Minute: true, 10*time.Minute + time.Second: false, -time.Minute: true, -2 * time.Minute: false,
	} {
		p.IssuedAt = testNow.Add(-age)
		if err := a.RequireStepUp(p); (err == nil) != want {
			t.Errorf("age %s: %v", age, err)
		}
	}
	p.IssuedAt, p.AuthContexts = testNow, []string{"c10"}
	if a.RequireStepUp(p) == nil {
		t.Error("another context was enough")
	}
}

func TestAttacksOnTheHeaderAndShapeAreRefused(t *testing.T) {
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	good := mint(t, key, goodHeader(), userClaims())
	parts := strings.Split(good, ".")
	header := func(name string, value any) string {
		return mint(t, key, with(goodHeader(), name, value), userClaims())
	}
	hs256 := b64([]byte(`{"alg":"HS256","kid":"k1","typ":"JWT"}`)) + "." + parts[1]
	m := hmac.New(sha256.New, key.N.Bytes())
	m.Write([]byte(hs256))
	last := parts[2][:len(parts[2])-1]
	spare := string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", parts[2][len(parts[2])-1])^1])
	cases := map[string]struct{ token, reason string }{
		"alg none":             {b64([]byte(`{"alg":"none","typ":"JWT","kid":"k1"}`)) + "." + parts[1] + ".", "algorithm_not_allowed"},
		"alg none signed":      {header("alg", "none"), "algorithm_not_allowed"},
		"alg nOnE":             {header("alg", "nOnE"), "algorithm_not_allowed"},
		"alg empty":            {header("alg", ""), "algorithm_not_allowed"},
		"alg missing":          {header("alg", nil), "algorithm_not_allowed"},
		"alg array":            {header("alg", []string{"RS256"}), "header_malformed"},
		"alg HS256 by the key": {hs256 + "." + b64(m.Sum(nil)), "algorithm_not_allowed"},
		"alg RS384":            {header("alg", "RS384"), "algorithm_not_allowed"},
		"alg PS256":            {header("alg", "PS256"), "algorithm_not_allowed"},
		"alg ES256":            {header("alg", "ES256"), "algorithm_not_allowed"},
		"typ at+jwt":           {header("typ", "at+jwt"), "type_not_allowed"},
		"typ missing":          {header("typ", nil), "type_not_allowed"},
		"crit":                 {header("crit", []string{"exp"}), "header_member_not_allowed"},
		"b64 false":            {header("b64", false), "header_member_not_allowed"},
		"jku":                  {header("jku", "https://attacker.example"), "header_member_not_allowed"},
		"x5u":                  {header("x5u", "https://attacker.example"), "header_member_not_allowed"},
		"jwk":                  {header("jwk", map[string]string{"kty": "RSA"}), "header_member_not_allowed"},
		"x5c":                  {header("x5c", []string{"AA"}), "header_member_not_allowed"},
		"zip":                  {header("zip", "DEF"), "header_member_not_allowed"},
		"cty":                  {header("cty", "JWT"), "header_member_not_allowed"},
		"nonce":                {header("nonce", "n"), "header_member_not_allowed"},
		"header twice alg":     {mint(t, key, `{"alg":"RS256","alg":"none","kid":"k1","typ":"JWT"}`, userClaims()), "header_duplicate_name"},
		"header ALG":           {mint(t, key, `{"ALG":"RS256","kid":"k1","typ":"JWT"}`, userClaims()), "header_member_not_allowed"},
		"header trailing":      {mint(t, key, `{"alg":"RS256","kid":"k1","typ":"JWT"}x`, userClaims()), "header_malformed"},
		"header BOM":           {mint(t, key, "\ufeff"+`{"alg":"RS256","kid":"k1","typ":"JWT"}`, userClaims()), "header_malformed"},
		"kid missing":          {header("kid", nil), "key_id_malformed"},
		"kid path":             {header("kid", "../../k1"), "key_id_malformed"},
		"kid url":              {header("kid", "file:///dev/null"), "key_id_malformed"},
		"kid sql":              {header("kid", "' OR 1=1"), "key_id_malformed"},
		"kid NUL":              {header("kid", "k1\x00"), "key_id_malformed"},
		"kid long":             {header("kid", strings.Repeat("k", 129)), "key_id_malformed"},
		"kid case":             {header("kid", "K1"), "key_unknown"},
		"kid homoglyph":        {header("kid", "к1"), "key_id_malformed"},
		"one part":             {parts[0], "not_three_parts"},
		"two parts":            {parts[0] + "." + parts[1], "not_three_parts"},
		"four parts":           {good + ".x", "not_three_parts"},
		"five parts":           {good + ".x.y", "not_three_parts"},
		"many dots":            {strings.Repeat(".", 16000), "not_three_parts"},
		"JSON form":            {`{"payload":"` + parts[1] + `"}`, "not_three_parts"},
		"padding":              {good + "=", "base64_malformed"},
		"plus":                 {parts[0] + "." + parts[1] + ".+" + parts[2][1:], "base64_malformed"},
		"line end":             {parts[0] + "." + parts[1] + "." + parts[2][:5] + "\n" + parts[2][5:], "base64_malformed"},
		"spare bits":           {parts[0] + "." + parts[1] + "." + last + spare, "base64_malformed"},
		"claims altered":       {parts[0] + "." + b64([]byte(strings.Replace(decode(t, parts[1]), "Vault.Writer", "Vault.Reader", 1))) + "." + parts[2], "signature_invalid"},
		"signature short":      {parts[0] + "." + parts[1] + "." + b64(make([]byte, 255)), "signature_invalid"},
		"signature zero":       {parts[0] + "." + parts[1] + "." + b64(make([]byte, 256)), "signature_invalid"},
		"signature one":        {parts[0] + "." + parts[1] + "." + b64(append(make([]byte, 255), 1)), "signature_invalid"},
		"signature n":          {parts[0] + "." + parts[1] + "." + b64(key.N.Bytes()), "signature_invalid"},
		"signature long":       {parts[0] + "." + parts[1] + "." + b64(make([]byte, 257)), "signature_invalid"},
		"another's signature":  {mint(t, newKey(t), goodHeader(), userClaims()), "signature_invalid"},
		"claims not JSON":      {mint(t, key, goodHeader(), `x`), "claims_malformed"},
		"claims twice tid":     {mint(t, key, goodHeader(), `{"tid":"`+testTenant+`","tid":"x"}`), "claims_duplicate_name"},
		"claims deep":          {mint(t, key, goodHeader(), `{"a":`+strings.Repeat("[", 9)+strings.Repeat("]", 9)+`}`), "too_deep"},
		"claims bad UTF-8":     {mint(t, key, goodHeader(), "{\"tid\":\"\xff\"}"), "claims_malformed"},
		"claims trailing":      {mint(t, key, goodHeader(), `{"tid":"x"} {}`), "claims_malformed"},
	}
	for name, c := range cases {
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + c.token})
		if reason, verified := reasonOf(t, err); reason != c.reason || verified {
			t.Errorf("%s: %q (verified %v), want %q", name, reason, verified, c.reason)
		}
	}
	headers := map[string]struct {
		values []string
		reason string
	}{
		"none":   {nil, "authorization_missing"},
		"two":    {[]string{"Bearer " + good, "Bearer " + good}, "authorization_repeated"},
		"long":   {[]string{"Bearer " + strings.Repeat("x", 16<<10)}, "authorization_too_long"},
		"basic":  {[]string{"Basic " + good}, "scheme_not_bearer"},
		"bare":   {[]string{good}, "scheme_not_bearer"},
		"empty":  {[]string{"Bearer "}, "scheme_not_bearer"},
		"spaces": {[]string{"Bearer  " + good}, "base64_malformed"},
	}
	for name, c := range headers {
		_, err := a.Authenticate(t.Context(), c.values)
		if reason, _ := reasonOf(t, err); reason != c.reason {
			t.Errorf("header %s: %q, want %q", name, reason, c.reason)
		}
	}
}

func decode(t *testing.T, part string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAttacksOnTheClaimsAreRefused(t *testing.T) {
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	now := testNow.Unix()
	issuer := testHost + "/" + testTenant + "/v2.0"
	user := func(name string, value any) map[string]any { return with(userClaims(), name, value) }
	app := func(name string, value any) map[string]any { return with(appClaims(), name, value) }
	cases := map[string]struct {
		claims   map[string]any
		reason   string
		verified bool
	}{
		"other tenant":       {user("tid", "11111111-1111-4111-8111-111111111111"), "tenant_not_allowed", false},
		"tenant missing":     {user("tid", nil), "tenant_not_allowed", false},
		"tenant upper case":  {user("tid", strings.ToUpper(testTenant)), "tenant_not_allowed", false},
		"tenant as a list":   {user("tid", []string{testTenant}), "claims_malformed", false},
		"v1":                 {user("ver", "1.0"), "version_not_accepted", true},
		"version missing":    {user("ver", nil), "version_not_accepted", true},
		"issuer v1":          {user("iss", "https://sts.windows.net/"+testTenant+"/"), "issuer_mismatch", true},
		"issuer slash":       {user("iss", issuer+"/"), "issuer_mismatch", true},
		"issuer case":        {user("iss", strings.ToUpper(issuer)), "issuer_mismatch", true},
		"issuer user info":   {user("iss", "https://login.microsoftonline.com@attacker.example/"+testTenant+"/v2.0"), "issuer_mismatch", true},
		"issuer look-alike":  {user("iss", strings.Replace(issuer, "microsoft", "rnicrosoft", 1)), "issuer_mismatch", true},
		"issuer of another":  {user("iss", testHost+"/11111111-1111-4111-8111-111111111111/v2.0"), "issuer_mismatch", true},
		"audience other":     {user("aud", "00000003-0000-0000-c000-000000000000"), "audience_mismatch", true},
		"audience URI":       {user("aud", "api://"+testAPI), "audience_mismatch", true},
		"audience list":      {user("aud", []string{testAPI}), "claim_type_wrong", true},
		"audience AUD":       {with(user("aud", nil), "AUD", testAPI), "audience_mismatch", true},
		"exp missing":        {user("exp", nil), "time_missing", true},
		"exp text":           {user("exp", "9999999999"), "claim_type_wrong", true},
		"exp float":          {user("exp", 1.5), "claim_type_wrong", true},
		"exp huge":           {user("exp", json.Number("1e400")), "claim_type_wrong", true},
		"exp over int64":     {user("exp", json.Number("9223372036854775808")), "claim_type_wrong", true},
		"exp negative":       {user("exp", -1), "time_out_of_range", true},
		"exp at the limit":   {with(user("exp", now-60), "iat", now-3600), "expired", true},
		"nbf missing":        {user("nbf", nil), "time_missing", true},
		"nbf beyond skew":    {user("nbf", now+61), "not_yet_valid", true},
		"iat missing":        {user("iat", nil), "time_missing", true},
		"iat beyond skew":    {user("iat", now+61), "issued_in_future", true},
		"lifetime too long":  {user("exp", now+29*3600+1), "lifetime_not_accepted", true},
		"exp before iat":     {with(user("exp", now-30), "iat", now), "lifetime_not_accepted", true},
		"oid missing":        {user("oid", nil), "subject_missing", true},
		"oid an e-mail":      {user("oid", "anna@example.com"), "subject_missing", true},
		"azp missing":        {user("azp", nil), "client_missing", true},
		"ID token":           {user("idtyp", nil), "not_an_access_token", true},
		"idtyp device":       {user("idtyp", "device"), "not_an_access_token", true},
		"user without scope": {user("scp", nil), "neither_scope_nor_role", true},
		"scope as a list":    {user("scp", []string{"Vault.Access"}), "claim_type_wrong", true},
		"app with scope":     {app("scp", "Vault.Access"), "scope_of_an_app", true},
		"app without role":   {app("roles", nil), "neither_scope_nor_role", true},
		"app unproven":       {app("azpacr", "0"), "client_not_authenticated", true},
		"roles as text":      {user("roles", "Vault.Writer"), "claim_type_wrong", true},
		"roles as numbers":   {user("roles", []int{1}), "claim_type_wrong", true},
		"roles nested":       {user("roles", [][]string{{"Vault.Writer"}}), "claim_type_wrong", true},
		"overage names":      {user("_claim_names", map[string]string{"groups": "src1"}), "claims_overage", true},
		"overage flag":       {user("hasgroups", true), "claims_overage", true},
	}
	for name, c := range cases {
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), c.claims)})
		if reason, verified := reasonOf(t, err); reason != c.reason || verified != c.verified {
			t.Errorf("%s: %q (verified %v), want %q", name, reason, verified, c.reason)
		}
	}
	for name, claims := range map[string]map[string]any{
		"exp within skew":  with(user("exp", now-59), "iat", now-3600),
		"nbf within skew":  user("nbf", now+60),
		"iat within skew":  user("iat", now+60),
		"longest lifetime": user("exp", now+29*3600),
	} {
		if _, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), claims)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAKeyOfAnotherIssuerIsRefused(t *testing.T) {
	key := newKey(t)
	for _, issuer := range []string{"", testHost + "/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"} {
		a := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: issuer}})
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), userClaims())})
		if reason, _ := reasonOf(t, err); reason != "key_issuer_mismatch" {
			t.Errorf("issuer %q: %s", issuer, reason)
		}
	}
}

func TestKeysThatCannotBeHadAreNotARefusal(t *testing.T) {
	key := newKey(t)
	a := newAuthenticator(t, staticKeys{err: errors.New("down")})
	_, err := a.Authenticate(t.Context(), []string{"Bearer " + mint(t, key, goodHeader(), userClaims())})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestBadConfigurationsNameEveryProblem(t *testing.T) {
	_, err := New(Config{TenantIDs: []string{consumerTenant}}, staticKeys{}, nothingRevoked, time.Now)
	if err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("got %v", err)
	}
}

func FuzzToken(f *testing.F) {
	key := newKey(f)
	a := newAuthenticator(f, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	good := mint(f, key, goodHeader(), userClaims())
	f.Add(good)
	f.Add("a.b.c")
	f.Add(fmt.Sprintf("%s.%s.", b64([]byte(`{"alg":"none"}`)), b64([]byte(`{}`))))
	f.Add(strings.Repeat(".", 16000))
	f.Add(b64([]byte(strings.Repeat("[", 12000))) + ".e30.")
	f.Fuzz(func(t *testing.T, token string) {
		authenticate := func(token string) error {
			_, err := a.Authenticate(t.Context(), []string{"Bearer " + token})
			return err
		}
		err := authenticate(token)
		if err == nil {
			if token != good {
				t.Errorf("accepted %q", token)
			}
			return
		}
		if _, verified := reasonOf(t, err); verified {
			t.Errorf("%q was verified: %v", token, err)
		}
		if err := authenticate(fuzzcheck.Marked(token)); err == nil || fuzzcheck.Quotes(err.Error()) {
			t.Errorf("marked %q: %v", token, err)
		}
		if n, ok := fuzzcheck.Allocates(len(token), func() { _ = authenticate(token) }); !ok {
			t.Errorf("refusing %d bytes took %d", len(token), n)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	key := newKey(b)
	a := newAuthenticator(b, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}})
	header := []string{"Bearer " + mint(b, key, goodHeader(), userClaims())}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), header); err != nil {
			b.Fatal(err)
		}
	}
}
