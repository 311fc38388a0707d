package authn

import (
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"secureapi/handler/authz"
)

// TestEveryReasonIsGiven has one attack for each reason code of the package,
// and finds the codes in the source, so that none is without.
func TestEveryReasonIsGiven(t *testing.T) {
	key := newKey(t)
	a, err := New(func() Config {
		c := goodConfig()
		c.AllowedClients = []string{testClient}
		return c
	}(), staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}}, revokedMarks, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	good := mint(t, key, goodHeader(), userClaims())
	head := func(name string, value any) []string {
		return []string{"Bearer " + mint(t, key, with(goodHeader(), name, value), userClaims())}
	}
	raw := func(header, claims any) []string { return []string{"Bearer " + mint(t, key, header, claims)} }
	user := func(name string, value any) []string { return raw(goodHeader(), with(userClaims(), name, value)) }
	app := func(name string, value any) []string { return raw(goodHeader(), with(appClaims(), name, value)) }
	now := testNow.Unix()

	before := map[string][]string{
		ReasonAuthorizationMissing:  nil,
		ReasonAuthorizationRepeated: {"Bearer " + good, "Bearer " + good},
		ReasonAuthorizationTooLong:  {"Bearer " + strings.Repeat("a", maxAuthorization)},
		ReasonSchemeNotBearer:       {"DPoP " + good},
		ReasonNotThreeParts:         {"Bearer " + good + "."},
		ReasonBase64Malformed:       {"Bearer " + good + "="},
		ReasonTooDeep:               raw(goodHeader(), `{"tid":`+strings.Repeat("[", maxDepth)+strings.Repeat("]", maxDepth)+`}`),
		ReasonHeaderMalformed:       raw(`{"alg":"RS256",`, userClaims()),
		ReasonHeaderDuplicate:       raw(`{"alg":"RS256","kid":"k1","kid":"k1","typ":"JWT"}`, userClaims()),
		ReasonHeaderMember:          head("jku", "https://attacker.example/keys"),
		ReasonAlgorithm:             head("alg", "none"),
		ReasonType:                  head("typ", "at+jwt"),
		ReasonKeyIDMalformed:        head("kid", "../k1"),
		ReasonClaimsMalformed:       raw(goodHeader(), `{"tid":"`+testTenant+`"`),
		ReasonClaimsDuplicate:       raw(goodHeader(), `{"tid":"`+testTenant+`","aud":"a","aud":"b"}`),
		ReasonTenantNotAllowed:      user("tid", consumerTenant),
		ReasonKeyUnknown:            head("kid", "k2"),
		ReasonSignature:             {"Bearer " + mint(t, newKey(t), goodHeader(), userClaims())},
	}
	after := map[string][]string{
		ReasonTokenRevoked:     user("uti", "revoked-token"),
		ReasonSubjectRevoked:   user("oid", revokedSubject),
		ReasonClaimType:        user("aud", []string{testAPI}),
		ReasonNotAccessToken:   user("idtyp", nil),
		ReasonVersion:          user("ver", "1.0"),
		ReasonIssuer:           user("iss", testHost+"/"+testTenant+"/v2.0/"),
		ReasonAudience:         user("aud", "00000003-0000-0000-c000-000000000000"),
		ReasonTimeMissing:      user("exp", nil),
		ReasonTimeRange:        user("exp", int64(1)<<62),
		ReasonExpired:          user("exp", now-60),
		ReasonNotYetValid:      user("nbf", now+61),
		ReasonIssuedInFuture:   user("iat", now+61),
		ReasonLifetime:         user("exp", now+30*3600),
		ReasonClientMissing:    user("azp", nil),
		ReasonClientNotAllowed: user("azp", testUser),
		ReasonClientUnproven:   app("azpacr", "0"),
		ReasonClientSecret:     raw(goodHeader(), with(with(appClaims(), "azpacr", "1"), "roles", []string{"Vault.Revealer"})),
		ReasonScopeMalformed:   user("scp", "Vault.Access  openid"),
		ReasonScopeOfApp:       app("scp", "Vault.Access"),
		ReasonRolesMalformed:   user("roles", []string{"Vault.Writer\u00a0"}),
		ReasonNoScopeNorRole:   app("roles", nil),
		ReasonSubjectMissing:   user("oid", nil),
		ReasonIDMalformed:      user("uti", "a b"),
		ReasonOverage:          user("_claim_names", map[string]string{"groups": "src1"}),
		ReasonContexts:         user("acrs", []string{""}),
	}
	check := func(a *Authenticator, want string, header []string, verified bool) {
		t.Helper()
		p, err := a.Authenticate(t.Context(), header)
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok || refusal.Reason != want || refusal.Verified != verified {
			t.Errorf("%s: %v (%+v)", want, err, refusal)
			return
		}
		if p.Kind != "" || p.ObjectID != "" {
			t.Errorf("%s: a principal came with the refusal", want)
		}
		if verified != (refusal.Principal.TenantID == testTenant) {
			t.Errorf("%s: claimed identity %+v", want, refusal.Principal)
		}
	}
	for reason, header := range before {
		check(a, reason, header, false)
	}
	for reason, header := range after {
		check(a, reason, header, true)
	}
	other := newAuthenticator(t, staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/" + consumerTenant + "/v2.0"}})
	check(other, ReasonKeyIssuer, []string{"Bearer " + good}, true)
	after[ReasonKeyIssuer] = nil

	if _, err := a.Authenticate(t.Context(), []string{"Bearer " + good}); err != nil {
		t.Errorf("the token that all of them vary: %v", err)
	}
	given := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	slices.Sort(given)
	if declared := declaredReasons(t); !slices.Equal(given, declared) {
		t.Errorf("attacks give\n%q, declared are\n%q", given, declared)
	}
}

const revokedSubject = "aaaaaaaa-0000-4000-8000-000000000666"

// revokedMarks takes back the token and the subject of that name.
var revokedMarks = revocationFunc(func(p authz.Principal) (r authz.Revocation, _ error) {
	if p.ObjectID == revokedSubject {
		r.IssuedBefore = testNow.Add(time.Second)
	}
	r.Token = p.TokenID == "revoked-token"
	return r, nil
})

// declaredReasons are the values of the package's Reason constants.
func declaredReasons(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "refusal.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is not a text", spec.Names[0].Name)
		}
		text, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, text)
		return true
	})
	slices.Sort(reasons)
	if len(slices.Compact(slices.Clone(reasons))) != len(reasons) {
		t.Errorf("a reason is declared twice: %q", reasons)
	}
	return reasons
}

// A refused token's identity goes into the audit log: what is malformed in it
// does not.
func TestTheClaimedIdentityIsWellFormed(t *testing.T) {
	a, sign := edgeAuthenticator(t)
	claims := userClaims()
	claims["ver"] = "3.0"
	for name, value := range map[string]any{
		"oid": "anna@example.com", "azp": "an application", "uti": "a\nb", "iat": -1,
		"roles": []string{"Vault.Writer", "anna maria"}, "acrs": []string{"c1", strings.Repeat("x", maxEntry+1)},
	} {
		claims[name] = value
	}
	_, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), claims)})
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok || !refusal.Verified {
		t.Fatalf("got %v", err)
	}
	p := refusal.Principal
	if p.Kind != authz.User || p.TenantID != testTenant {
		t.Errorf("identity %+v", p)
	}
	if p.ObjectID != "" || p.ClientID != "" || p.TokenID != "" || p.Roles != nil || p.AuthContexts != nil || !p.IssuedAt.IsZero() {
		t.Errorf("identity %+v", p)
	}
}

func TestSecretsAreNotEnoughForPrivilegedRoles(t *testing.T) {
	a, sign := edgeAuthenticator(t)
	for _, role := range append(authz.Roles(), "Vault.OfALaterVersion") {
		for proof, want := range map[string]bool{
			"0": false, "1": role == authz.Writer || role == authz.Reader, "2": true,
		} {
			claims := with(with(appClaims(), "azpacr", proof), "roles", []string{"Vault.Writer", string(role)})
			_, err := a.Authenticate(t.Context(), []string{"Bearer " + sign(goodHeader(), claims)})
			if (err == nil) != want {
				t.Errorf("%s with azpacr %s: %v", role, proof, err)
			}
		}
	}
}

func TestVersion1OnlyWhereConfigured(t *testing.T) {
	key := newKey(t)
	const uri = "api://vault.example"
	config := goodConfig()
	config.AcceptV1, config.AppIDURI = true, uri
	keys := staticKeys{key: Key{Public: &key.PublicKey, Issuer: testHost + "/{tenantid}/v2.0"}}
	both, err := New(config, keys, nothingRevoked, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	only2 := newAuthenticator(t, keys)
	v1 := func() map[string]any {
		c := with(with(userClaims(), "azp", nil), "azpacr", nil)
		c["ver"], c["iss"], c["aud"] = "1.0", publicV1Host+"/"+testTenant+"/", uri
		c["appid"], c["appidacr"] = testClient, "0"
		return c
	}
	for name, c := range map[string]struct {
		claims map[string]any
		reason string
	}{
		"version 2":                {userClaims(), ""},
		"version 1":                {v1(), ""},
		"version 1 by client id":   {with(v1(), "aud", testAPI), ""},
		"version 1 of issuer 2":    {with(v1(), "iss", testHost+"/"+testTenant+"/v2.0"), ReasonIssuer},
		"version 1 without slash":  {with(v1(), "iss", publicV1Host+"/"+testTenant), ReasonIssuer},
		"version 2 of issuer 1":    {with(userClaims(), "iss", publicV1Host+"/"+testTenant+"/"), ReasonIssuer},
		"version 2 for the URI":    {with(userClaims(), "aud", uri), ReasonAudience},
		"version 1, URI and slash": {with(v1(), "aud", uri+"/"), ReasonAudience},
		"version 1 by azp":         {with(with(v1(), "appid", nil), "azp", testClient), ReasonClientMissing},
		"version 2 by appid":       {with(with(userClaims(), "azp", nil), "appid", testClient), ReasonClientMissing},
		"version 1 app by azpacr": {
			with(with(with(with(v1(), "idtyp", "app"), "scp", nil), "appidacr", nil), "azpacr", "2"), ReasonClientUnproven,
		},
	} {
		header := []string{"Bearer " + mint(t, key, goodHeader(), c.claims)}
		_, err := both.Authenticate(t.Context(), header)
		if reason, _ := reasonOf(t, err); reason != c.reason {
			t.Errorf("%s: %q, want %q", name, reason, c.reason)
		}
		if c.claims["ver"] == "1.0" {
			_, err := only2.Authenticate(t.Context(), header)
			if reason, _ := reasonOf(t, err); reason != ReasonVersion {
				t.Errorf("%s, not configured: %q", name, reason)
			}
		}
	}
}
