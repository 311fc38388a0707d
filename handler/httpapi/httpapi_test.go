package httpapi_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authn"
	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/httpapi"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
)

const (
	tenant    = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	audience  = "5a1b0a5e-0f41-4f0e-8f8e-3a2b6f1f9d11"
	authority = "https://login.microsoftonline.com"
)

// api is the whole handler over memory stores, behind a real socket.
type api struct {
	*httptest.Server
	key *rsa.PrivateKey
	log *memstore.Store
	out *strings.Builder

	imports *bulkimport.Imports
	queue   *memstore.Queue
	audit   *audit.Log
	// revocations is their table.
	revocations *memstore.Store
	// ahead is by how much tokens and revocations see a later time, in nanoseconds.
	ahead atomic.Int64
}

func (a *api) now() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) }

type keySource struct{ key authn.Key }

func (s keySource) Key(_ context.Context, _, kid string) (authn.Key, error) {
	if kid != "k1" {
		return authn.Key{}, authn.ErrUnknownKey
	}
	return s.key, nil
}

func newAPI(t testing.TB, change ...func(*httpapi.Options)) *api {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a := &api{key: key, log: memstore.New(), out: &strings.Builder{}, queue: memstore.NewQueue(), revocations: memstore.New()}
	logger := slog.New(slog.NewJSONHandler(a.out, nil))
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	ringOptions := keyring.Options{Store: memstore.New(), Wrapper: vault, Signer: vault, Clock: time.Now, Logger: logger}
	if _, err := keyring.Bootstrap(t.Context(), ringOptions); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(ringOptions)
	if err != nil {
		t.Fatal(err)
	}
	auditOptions := audit.Options{
		Store: a.log, Clock: time.Now, Instance: "test", Logger: logger,
		MACKey: ring.AuditMAC, Telemetry: telemetry.Log{Logger: logger},
	}
	log, err := audit.New(auditOptions)
	if err != nil {
		t.Fatal(err)
	}
	events, err := audit.NewReader(auditOptions)
	if err != nil {
		t.Fatal(err)
	}
	revocations, err := revocation.New(revocation.Options{
		Store: a.revocations, Keys: ring, Audit: log, Tenants: []string{tenant}, TokenLife: authn.AcceptedFor,
		Clock: a.now, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := authn.New(authn.Config{
		TenantIDs: []string{tenant}, Audience: audience, AuthorityHost: authority, Scope: "Vault.Access", StepUpContext: "c1",
	}, keySource{authn.Key{Public: &key.PublicKey, Issuer: authority + "/{tenantid}/v2.0"}}, revocations, a.now)
	if err != nil {
		t.Fatal(err)
	}
	domain, err := tokenvault.New(tokenvault.Options{
		Store: memstore.New(), Erased: memstore.New(), Keys: ring, Audit: log, StepUp: auth, Purposes: []string{"fraud-review"},
		Plans: operation.NewPlans[[]tokenvault.PlannedToken]("tokenize", memstore.New(), ring, time.Now),
		Clock: time.Now, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	erasures, err := tokenvault.NewErasures(domain, tokenvault.ErasureOptions{
		Operations: memstore.New(), BackupRetention: tokenvault.MinRetention,
	})
	if err != nil {
		t.Fatal(err)
	}
	imports, err := bulkimport.New(bulkimport.Options{
		Store: memstore.New(), Keys: ring, Blobs: memstore.NewBlobs(16 << 20), Queue: a.queue, Vault: domain, Audit: log,
		Clock: time.Now, Logger: logger, Telemetry: telemetry.Log{Logger: logger}, RepairAfter: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	a.imports, a.audit = imports, log
	options := httpapi.Options{
		Auth: auth, Vault: domain, Erasures: erasures, Imports: imports, Audit: log, Events: events, Keyring: ring, Revocations: revocations,
		Clock: time.Now, Logger: logger, Ready: func(context.Context) error { return nil }, Telemetry: telemetry.Log{Logger: logger},
		Limits: httpapi.Limits{Concurrent: 100, PerMinute: 60_000, Burst: 10_000}, ProxyHops: 1,
	}
	for _, c := range change {
		c(&options)
	}
	e := echo.New()
	if err := httpapi.Register(e, options); err != nil {
		t.Fatal(err)
	}
	a.Server = httptest.NewServer(e)
	t.Cleanup(func() {
		a.Close()
		a.log.OnApply(nil)
		if err := log.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a
}

// token mints a user's access token with a role, for a client that handles
// claims challenges.
func (a *api) token(t testing.TB, role authz.Role, contexts ...string) string {
	t.Helper()
	return a.tokenOf(t, role, []string{"cp1"}, contexts...)
}

func (a *api) tokenOf(t testing.TB, role authz.Role, capabilities []string, contexts ...string) string {
	t.Helper()
	return a.sign(t, claimsOf(role, capabilities, contexts...))
}

// claimsOf are those of a user's token with a role.
func claimsOf(role authz.Role, capabilities []string, contexts ...string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"ver": "2.0", "iss": authority + "/" + tenant + "/v2.0", "aud": audience, "tid": tenant,
		"oid": "aaaaaaaa-0000-4000-8000-000000000001", "azp": "bbbbbbbb-0000-4000-8000-000000000001", "idtyp": "user",
		"scp": "Vault.Access", "roles": []string{string(role)}, "acrs": contexts, "xms_cc": capabilities,
		"iat": now, "nbf": now, "exp": now + 3600,
	}
}

func (a *api) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: a.key, KeyID: "k1"}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a *api) call(t *testing.T, method, path, token, body string, change ...func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, c := range change {
		c(r)
	}
	response, err := a.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answer{response.StatusCode, response.Header, string(b)}
	checkContract(t, r, body, got)
	return got
}

func (r answer) decode(t *testing.T) (into struct {
	Token   string
	Code    string
	Results []struct {
		Status               int
		Token, Masked, Value string
	}
	Errors []struct{ Pointer, Header, Parameter, Code string }
	Events []struct{ Action, Phase, ReasonCode string }
	Next   string
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &into, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return into
}

func TestTheMainStory(t *testing.T) {
	a := newAPI(t)
	writer, reader := a.token(t, authz.Writer), a.token(t, authz.Reader)
	revealer, weak := a.token(t, authz.Revealer, "c1"), a.token(t, authz.Revealer)
	r := a.call(t, "POST", "/api/v1/tokens", writer, `{"class":"pan","value":"4111 1111 1111 1111","subject":"c-1"}`)
	if r.status != http.StatusCreated {
		t.Fatalf("tokenize: %d %s", r.status, r.body)
	}
	token := r.decode(t).Token
	r = a.call(t, "POST", "/api/v1/tokens/inspect", reader, `{"tokens":["`+token+`"]}`)
	if got := r.decode(t); r.status != 200 || got.Results[0].Masked != "************1111" {
		t.Errorf("inspect: %d %s", r.status, r.body)
	}
	ask := `{"tokens":["` + token + `"],"purpose":"fraud-review","reason":"CASE-2026-004711"}`
	r = a.call(t, "POST", "/api/v1/tokens/reveal", revealer, ask)
	if got := r.decode(t); r.status != 200 || got.Results[0].Value != "4111111111111111" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("reveal: %d %s", r.status, r.body)
	}
	if r = a.call(t, "POST", "/api/v1/tokens/reveal", reader, ask); r.status != http.StatusForbidden {
		t.Errorf("reader reveals: %d", r.status)
	}
	r = a.call(t, "POST", "/api/v1/tokens/reveal", weak, ask)
	challenge := r.header.Get("WWW-Authenticate")
	if r.status != http.StatusUnauthorized || !strings.Contains(challenge, `error="insufficient_claims"`) {
		t.Errorf("without step-up: %d %s", r.status, challenge)
	}
	_, claims, _ := strings.Cut(challenge, `claims="`)
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(claims, `"`))
	if err != nil || string(decoded) != `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}` {
		t.Errorf("claims challenge %s, %v", decoded, err)
	}
	r = a.call(t, "POST", "/api/v1/tokens/reveal", a.tokenOf(t, authz.Revealer, []string{}), ask)
	if r.status != http.StatusForbidden || r.header.Get("WWW-Authenticate") != "" || !strings.Contains(r.body, `"step_up_required"`) {
		t.Errorf("without step-up or a client that knows it: %d %s", r.status, r.body)
	}
	auditor := a.token(t, authz.Auditor)
	var seen []string
	next := ""
	for {
		r = a.call(t, "GET", "/api/v1/audit/events?limit=2"+next, auditor, "")
		page := r.decode(t)
		if r.status != http.StatusOK {
			t.Fatalf("events: %d %s", r.status, r.body)
		}
		for _, e := range page.Events {
			seen = append(seen, e.Action+" "+e.Phase)
		}
		// Each page adds an entry of its own: stop at those.
		if page.Next == "" || len(seen) >= 6 {
			break
		}
		next = "&cursor=" + page.Next
	}
	want := "tokens.create authorised|tokens.create completed|tokens.inspect authorised|tokens.reveal authorised|tokens.reveal denied|tokens.reveal denied"
	if got := strings.Join(seen[:6], "|"); got != want {
		t.Errorf("audit log: %s", got)
	}
	if strings.Contains(a.out.String(), "4111111111111111") || strings.Contains(a.out.String(), "4111 1111") || strings.Contains(a.out.String(), token) {
		t.Error("the process log holds a value or a token")
	}
}

const absentImport = "/api/v1/imports/0f8fad5b-d9cb-469f-a165-70867728950e"

func TestRoutesByRole(t *testing.T) {
	a := newAPI(t)
	routes := []struct {
		method, path, body string
		allowed            []authz.Role
		status             int
	}{
		{"POST", "/api/v1/tokens", `{"class":"email","value":"a@example.com"}`, []authz.Role{authz.Writer}, 201},
		{"POST", "/api/v1/tokens/batch", `{"items":[{"class":"email","value":"a@example.com","reference":"r"}]}`, []authz.Role{authz.Writer}, 200},
		{"POST", "/api/v1/tokens/inspect", `{"tokens":["tok_eml_0123456789abcdefghjkmnpqrstvwxyz"]}`, []authz.Role{authz.Reader, authz.Revealer}, 207},
		{"POST", "/api/v1/tokens/reveal", `{"tokens":["tok_eml_0123456789abcdefghjkmnpqrstvwxyz"],"purpose":"fraud-review","reason":"CASE-1"}`, []authz.Role{authz.Revealer}, 207},
		{"POST", "/api/v1/imports", `{"columns":[{"name":"email","class":"email"}]}`, []authz.Role{authz.Writer}, 201},
		{"POST", absentImport + "/commit", `{"parts":1}`, []authz.Role{authz.Writer}, 404},
		{"POST", absentImport + "/pause", "", []authz.Role{authz.Writer, authz.Operator}, 404},
		{"POST", absentImport + "/resume", "", []authz.Role{authz.Writer, authz.Operator}, 404},
		{"POST", absentImport + "/cancel", "", []authz.Role{authz.Writer, authz.Operator}, 404},
		{"GET", absentImport + "/result", "", []authz.Role{authz.Writer}, 404},
		{"GET", "/api/v1/operations/0f8fad5b-d9cb-469f-a165-70867728950e", "", []authz.Role{authz.Writer, authz.Operator}, 404},
		{"GET", "/api/v1/keys", "", []authz.Role{authz.Operator}, 200},
		{"POST", "/api/v1/keys/adopt", "", []authz.Role{authz.Operator}, 200},
		{"POST", "/api/v1/revocations", `{"tokenId":"of-nobody"}`, []authz.Role{authz.Operator}, 200},
		{"GET", "/api/v1/revocations", "", []authz.Role{authz.Operator}, 200},
		{"GET", "/api/v1/audit/events", "", []authz.Role{authz.Auditor}, 200},
		{"GET", "/api/v1/audit/checkpoint", "", []authz.Role{authz.Auditor}, 200},
		{"GET", "/api/v1/audit/proofs/0f8fad5b-d9cb-469f-a165-70867728950e", "", []authz.Role{authz.Auditor}, 404},
	}
	for _, route := range routes {
		if r := a.call(t, route.method, route.path, "", route.body); r.status != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", route.path, r.status)
		}
		for _, role := range authz.Roles() {
			want := http.StatusForbidden
			for _, allowed := range route.allowed {
				if role == allowed {
					want = route.status
				}
			}
			if r := a.call(t, route.method, route.path, a.token(t, role), route.body); r.status != want {
				t.Errorf("%s as %s: %d, want %d: %s", route.path, role, r.status, want, r.body)
			}
		}
	}
	for _, path := range []string{"/", "/api/v1/health/live", "/api/v1/health/ready"} {
		if r := a.call(t, "GET", path, "", ""); r.status != 200 || r.body != "" {
			t.Errorf("%s: %d %q", path, r.status, r.body)
		}
	}
}

func TestEveryBadBodyIsRefusedWithItsPointer(t *testing.T) {
	a := newAPI(t)
	writer := a.token(t, authz.Writer)
	const mark = "zq4111111111111112"
	cases := []struct {
		body, pointer, code string
		status              int
	}{
		{`{`, "", "json_syntax", 400},
		{`{"class":"pan","value":"` + mark + `"} x`, "", "json_syntax", 400},
		{`{"class":"pan","value":5}`, "/value", "type_mismatch", 400},
		{`{"class":["` + mark + `"]}`, "/class", "type_mismatch", 400},
		{`{"` + mark + `":1}`, "", "name_unknown", 400},
		{`{"class":"pan","class":"pan"}`, "", "name_repeated", 400},
		{`{"Class":"pan","value":"1"}`, "", "name_unknown", 400},
		{`{"class":"pan","value":"` + mark + `"}`, "/value", "pan_syntax", 400},
		{"{\"class\":\"text\",\"value\":\"\xff\"}", "/value", "json_syntax", 400},
		{`[]`, "", "type_mismatch", 400},
		{strings.Repeat(`[`, 20000), "", "type_mismatch", 400},
		{`{"class":"text","value":"` + strings.Repeat("x", 2<<20) + `"}`, "", "", 413},
	}
	for _, c := range cases {
		r := a.call(t, "POST", "/api/v1/tokens", writer, c.body)
		got := r.decode(t)
		name := c.body[:min(len(c.body), 40)]
		if r.status != c.status {
			t.Errorf("%s: status %d", name, r.status)
		} else if c.code != "" && (len(got.Errors) != 1 || got.Errors[0].Pointer != c.pointer || got.Errors[0].Code != c.code) {
			t.Errorf("%s: %s", name, r.body)
		}
		if strings.Contains(r.body, mark) || strings.Contains(a.out.String(), mark) {
			t.Errorf("%s: the answer or the log holds the value", name)
		}
		if r.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", name, r.header.Get("Content-Type"))
		}
	}
}

func TestHeadersAreStrict(t *testing.T) {
	a := newAPI(t)
	writer := a.token(t, authz.Writer)
	const body = `{"class":"email","value":"a@example.com"}`
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	cases := map[string]struct {
		change func(*http.Request)
		status int
	}{
		"good key":         {set("Idempotency-Key", "order-17"), 201},
		"key twice":        {set("Idempotency-Key", "a", "b"), 400},
		"key empty":        {set("Idempotency-Key", ""), 400},
		"key with a space": {set("Idempotency-Key", "a b"), 400},
		"key too long":     {set("Idempotency-Key", strings.Repeat("k", 65)), 400},
		"no media type":    {set("Content-Type"), 415},
		"text":             {set("Content-Type", "text/plain"), 415},
		"latin1":           {set("Content-Type", "application/json; charset=latin1"), 415},
		"utf-8":            {set("Content-Type", "application/json; charset=UTF-8"), 201},
		"gzip":             {set("Content-Encoding", "gzip"), 415},
		"two tokens":       {set("Authorization", "Bearer "+writer, "Bearer "+writer), 401},
		"basic":            {set("Authorization", "Basic eA=="), 401},
	}
	for name, c := range cases {
		if r := a.call(t, "POST", "/api/v1/tokens", writer, body, c.change); r.status != c.status {
			t.Errorf("%s: %d, want %d: %s", name, r.status, c.status, r.body)
		}
	}
	if r := a.call(t, "GET", "/api/v1/audit/events?limit=0&x=1&from=yesterday&cursor=abc", a.token(t, authz.Auditor), ""); r.status != 400 || len(r.decode(t).Errors) != 4 {
		t.Errorf("query: %d %s", r.status, r.body)
	}
}

func TestOnlyTheCanonicalPath(t *testing.T) {
	a := newAPI(t)
	writer := a.token(t, authz.Writer)
	for _, path := range []string{
		"/api/v1/tokens/", "//api/v1/tokens", "/api/v1//tokens", "/api/v1/%74okens", "/api/v1/x/..%5c..%5cSealAudit",
		"/api/v1/tokens;x", "/API/v1/tokens", "/api/V1/Tokens", "/api/v1/./tokens",
	} {
		if r := a.call(t, "POST", path, writer, `{}`); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

func TestTheAuditStoreDownIs503(t *testing.T) {
	a := newAPI(t)
	writer := a.token(t, authz.Writer)
	const body = `{"class":"email","value":"a@example.com"}`
	if r := a.call(t, "POST", "/api/v1/tokens", writer, body); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	a.log.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrUnavailable })
	r := a.call(t, "POST", "/api/v1/tokens", writer, body)
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
}
