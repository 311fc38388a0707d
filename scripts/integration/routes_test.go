package integration

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"secureapi/handler/authz"
	"secureapi/handler/httpapi"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/host"
)

// expectations has a row for each request of the table and a column for each
// caller: the status that the caller gets. "a/b" is a user's and an application's
// where they differ, "-" a caller that does not exist.
//
//	anonymous  no Authorization header
//	garbage    a bearer token that is none
//	foreign    signed by a known key, of a tenant that is not on the list
//	noscope    a user with every role, delegated for another scope only
//	norole     no role; an application's token then grants nothing at all
//	weak       a revealer whose sign-in was not stepped up
//	stale      a revealer whose step-up is older than ten minutes
//	other:     a caller of the other tenant
//
// The import of these rows is the Vault.Writer user's own: the application is
// another caller, and learns no more than that there is none.
const expectations = `
request                                  anonymous garbage foreign noscope  norole Vault.Writer Vault.Reader Vault.Revealer Vault.Approver Vault.PrivacyOfficer Vault.Auditor Vault.Operator  weak  stale other:Vault.Writer other:Vault.Revealer
POST /api/v1/tokens                            401     401     401     403 403/401          201          403            403            403                  403           403            403   403    403               201              403/-
POST /api/v1/tokens/batch                      401     401     401     403 403/401          200          403            403            403                  403           403            403   403    403               200              403/-
POST /api/v1/tokens/inspect                    401     401     401     403 403/401          403          200            200            403                  403           403            403   200    200               403              207/-
POST /api/v1/tokens/reveal                     401     401     401     403 403/401          403          403            200            403                  403           403            403   200    200               403              207/-
POST /api/v1/tokens/reveal#pan                 401     401     401     403 403/401          403          403        200/403            403                  403           403            403   401    401               403              207/-
POST /api/v1/subjects/erase                    401     401     401     403 403/401          403          403            403            403                  202           403            403   403    403               403              403/-
POST /api/v1/imports                           401     401     401     403 403/401          201          403            403            403                  403           403            403   403    403               201              403/-
PUT  /api/v1/imports/{id:guid}/parts           401     401     401     403 403/401      200/404          403            403            403                  403           403            403   403    403               404              403/-
POST /api/v1/imports/{id:guid}/commit          401     401     401     403 403/401      409/404          403            403            403                  403           403            403   403    403               404              403/-
POST /api/v1/imports/{id:guid}/pause           401     401     401     403 403/401      409/404          403            403            403                  403           403            409   403    403               404              403/-
POST /api/v1/imports/{id:guid}/resume          401     401     401     403 403/401      409/404          403            403            403                  403           403            409   403    403               404              403/-
POST /api/v1/imports/{id:guid}/cancel#another  401     401     401     403 403/401      202/404          403            403            403                  403           403            202   403    403               404              403/-
GET  /api/v1/imports/{id:guid}/result          401     401     401     403 403/401      409/404          403            403            403                  403           403            403   403    403               404              403/-
GET  /api/v1/operations/{id:guid}              401     401     401     403 403/401      200/404          403            403            403                  403           403            200   403    403               404              403/-
GET  /api/v1/operations/{id:guid}#erasure      401     401     401     403 403/401          403          403            403            403                  200           403            200   403    403               403              403/-
GET  /api/v1/keys                              401     401     401     403 403/401          403          403            403            403                  403           403            200   403    403               403              403/-
POST /api/v1/keys/adopt                        401     401     401     403 403/401          403          403            403            403                  403           403            200   403    403               403              403/-
POST /api/v1/revocations                       401     401     401     403 403/401          403          403            403            403                  403           403            200   403    403               403              403/-
GET  /api/v1/revocations                       401     401     401     403 403/401          403          403            403            403                  403           403            200   403    403               403              403/-
GET  /api/v1/audit/events                      401     401     401     403 403/401          403          403            403            403                  403           200            403   403    403               403              403/-
GET  /api/v1/audit/checkpoint                  401     401     401     403 403/401          403          403            403            403                  403           200            403   403    403               403              403/-
GET  /api/v1/audit/proofs/{id:guid}            401     401     401     403 403/401          403          403            403            403                  403           404            403   403    403               403              403/-
GET  /api/v1/health/live                       200     200     200     200     200          200          200            200            200                  200           200            200   200    200               200              200/-
GET  /api/v1/health/ready                      200     200     200     200     200          200          200            200            200                  200           200            200   200    200               200              200/-
`

// idPattern is the path parameter of routes.
const idPattern = "{id:guid}"

// part is the first part of the imports that the rows are about.
const part = "email\r\nroute.table@example.com\r\n"

func importBody() map[string]any {
	return map[string]any{"columns": []any{map[string]any{"name": "email", "class": "email"}}}
}

// newImport makes an import of the writer's, with one of its two parts.
func (a *app) newImport(t *testing.T) string {
	t.Helper()
	id := a.call(t, "writer", http.MethodPost, "/api/v1/imports", importBody()).want(t, http.StatusCreated).decode(t).ID
	a.do(t, request{
		method: http.MethodPut, target: "/api/v1/imports/" + id + "/parts?number=1", contentType: "text/csv",
		token: a.token(t, "writer"), body: part,
	}).want(t, http.StatusCreated)
	return id
}

// newErasure erases a subject that the vault does not know.
func (a *app) newErasure(t *testing.T) string {
	t.Helper()
	return a.call(t, "privacy-officer", http.MethodPost, "/api/v1/subjects/erase", eraseBody()).want(t, http.StatusAccepted).decode(t).ID
}

func eraseBody() map[string]any {
	return map[string]any{"subject": "route-table", "reason": "CASE-2026-000017"}
}

// cell is one expectation.
type cell struct {
	name   string // of the request, "METHOD /path#variant"
	caller string
	kind   authz.Kind
	status string
}

// peopleOnly lists the columns of users, and of nobody at all.
func peopleOnly() []string {
	return []string{"anonymous", "garbage", "foreign", "noscope", "weak", "stale"}
}

// parseExpectations reads the table. A malformed one is the test's own fault.
func parseExpectations(t *testing.T, table string) []cell {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(table), "\n")
	callers := strings.Fields(lines[0])[1:]
	var cells []cell
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) != len(callers)+2 {
			t.Fatalf("row %q has %d cells for %d callers", fields[0], len(fields)-2, len(callers))
		}
		for i, caller := range callers {
			user, app, differ := strings.Cut(fields[i+2], "/")
			if !differ {
				app = user
			}
			name := fields[0] + " " + fields[1]
			cells = append(cells, cell{name, caller, authz.User, user})
			if slices.Contains(peopleOnly(), caller) {
				continue
			}
			cells = append(cells, cell{name, caller, authz.App, app})
		}
	}
	return cells
}

func TestExpectationsAreComplete(t *testing.T) {
	rows, callers := map[string]bool{}, map[string]bool{}
	for _, c := range parseExpectations(t, expectations) {
		route, _, _ := strings.Cut(c.name, "#")
		rows[route], callers[c.caller] = true, true
	}
	for _, route := range httpapi.Routes() {
		if !rows[route] {
			t.Errorf("%s has no row of expectations", route)
		}
		delete(rows, route)
	}
	for route := range rows {
		t.Errorf("the row %s has no route", route)
	}
	for _, role := range authz.Roles() {
		if !callers[string(role)] {
			t.Errorf("%s has no column of expectations", role)
		}
	}
}

// TestEveryRouteForEveryCaller asks for each cell of the table, in both modes.
func TestEveryRouteForEveryCaller(t *testing.T) {
	for _, mode := range []host.Mode{host.Proxying, host.Forwarding} {
		t.Run(string(mode), func(t *testing.T) {
			a := startApp(t, mode)
			fixture := a.fixture(t)
			for _, c := range parseExpectations(t, expectations) {
				if c.status == "-" {
					continue
				}
				t.Run(c.name+" as "+string(c.kind)+" "+c.caller, func(t *testing.T) {
					r := a.prepared(t, c.name, fixture)
					r.token = a.callerToken(t, c.caller, c.kind)
					got := a.do(t, r)
					if c.status != strconv.Itoa(got.status) {
						t.Errorf("status %d, want %s: %s", got.status, c.status, got.body)
					}
					checkAnswer(t, c.name, got)
				})
			}
			t.Run("methods", func(t *testing.T) { testMethods(t, a) })
		})
	}
}

// fixture is what the requests are about: tokens by class, and what operations'
// routes name by the variant of the request.
func (a *app) fixture(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"email": a.tokenize(t, "email", "route.table@example.com"),
		"pan":   a.tokenize(t, "pan", "4111111111111111"),
		"":      a.newImport(t), "another": a.newImport(t), "erasure": a.newErasure(t),
	}
}

// checkAnswer holds what every answer of the API has to have.
func checkAnswer(t *testing.T, name string, got answer) {
	t.Helper()
	if strings.Contains(name, "/health/") {
		if got.body != "" {
			t.Errorf("health answers with a body of %d bytes", len(got.body))
		}
		return
	}
	if got.header.Get("Cache-Control") != "no-store" {
		t.Error("the answer may be stored by caches")
	}
	if got.status < 400 {
		return
	}
	if got.header.Get("Content-Type") != "application/problem+json" || got.decode(t).Code == "" {
		t.Errorf("not a problem document: %s", got.body)
	}
	if got.status == http.StatusUnauthorized && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
		t.Error("401 without a Bearer challenge")
	}
}

// prepared is the well-formed request of a row: what is refused is the caller.
func (a *app) prepared(t *testing.T, name string, fixture map[string]string) request {
	t.Helper()
	route, variant, _ := strings.Cut(name, "#")
	method, target, _ := strings.Cut(route, " ")
	target = strings.ReplaceAll(target, idPattern, fixture[variant])
	token := fixture["email"]
	if variant == "pan" {
		token = fixture["pan"]
	}
	value := map[string]any{"class": "email", "value": "route.table@example.com"}
	if strings.HasSuffix(target, "/parts") {
		return request{method: method, target: target + "?number=1", contentType: "text/csv", body: part}
	}
	body := map[string]any{
		"POST /api/v1/tokens":                           value,
		"POST /api/v1/tokens/batch":                     map[string]any{"items": []any{value}},
		"POST /api/v1/tokens/inspect":                   map[string]any{"tokens": []string{token}},
		"POST /api/v1/tokens/reveal":                    revealBody(token),
		"POST /api/v1/subjects/erase":                   eraseBody(),
		"POST /api/v1/imports":                          importBody(),
		"POST /api/v1/imports/" + idPattern + "/commit": map[string]any{"parts": 2},
		"POST /api/v1/revocations":                      map[string]any{"tokenId": "of-nobody"},
	}[route]
	r := request{method: method, target: target}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r.body = string(text)
	}
	return r
}

// callerToken mints the token of a column.
func (a *app) callerToken(t *testing.T, caller string, kind authz.Kind) string {
	t.Helper()
	tenant := entra.HomeTenant
	role, other := strings.CutPrefix(caller, "other:")
	if other {
		tenant = entra.OtherTenant
	}
	var claims map[string]any
	switch caller {
	case "anonymous":
		return ""
	case "garbage":
		return "not.a.token"
	case "foreign":
		claims = a.Entra.PersonaClaims(persona(t, tenant, "Vault.Writer"), entra.Grant{})
		claims["tid"] = "0a4f1c66-7f0d-4b61-9d51-3f2b8f4f9e10"
		claims["iss"] = "https://login.microsoftonline.com/0a4f1c66-7f0d-4b61-9d51-3f2b8f4f9e10/v2.0"
	case "noscope":
		claims = a.Entra.PersonaClaims(persona(t, tenant, "Vault.Writer"), entra.Grant{})
		claims["roles"] = authz.Roles()
		claims["scp"] = "Other.Access"
	case "norole":
		role = ""
	case "weak":
		claims = a.Entra.PersonaClaims(persona(t, tenant, "Vault.Revealer"), entra.Grant{ACRS: []string{}, Capable: true})
	case "stale":
		claims = a.Entra.PersonaClaims(persona(t, tenant, "Vault.Revealer"), entra.Grant{Age: 11 * time.Minute, Capable: true})
	}
	switch {
	case claims != nil:
	case kind == authz.App:
		claims = a.Entra.AppClaims(a.application(t, tenant, role), "2")
	default:
		claims = a.Entra.PersonaClaims(persona(t, tenant, role), entra.Grant{})
	}
	token, err := a.Entra.Sign(tenant, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// persona finds the person of a tenant who has the role and nothing else.
func persona(t *testing.T, tenant, role string) entra.Persona {
	t.Helper()
	for _, p := range entra.Personas() {
		if p.Tenant == tenant && slices.Equal(p.Roles, rolesOf(role)) {
			return p
		}
	}
	t.Fatalf("no persona has the role %q in %s", role, tenant)
	return entra.Persona{}
}

func (a *app) application(t *testing.T, tenant, role string) entra.App {
	t.Helper()
	for _, one := range a.Entra.Apps() {
		if one.Tenant == tenant && slices.Equal(one.Roles, rolesOf(role)) {
			return one
		}
	}
	t.Fatalf("no application has the role %q in %s", role, tenant)
	return entra.App{}
}

func rolesOf(role string) []string {
	if role == "" {
		return nil
	}
	return []string{role}
}

// testMethods asks each path for every method it does not have: the host has no
// such function, and behind it the handler has no such route.
func testMethods(t *testing.T, a *app) {
	routes := map[string][]string{}
	for _, route := range httpapi.Routes() {
		method, path, _ := strings.Cut(route, " ")
		path = strings.ReplaceAll(path, idPattern, "00000000-0000-4000-8000-000000000000")
		routes[path] = append(routes[path], method)
	}
	writer := a.token(t, "writer")
	for _, path := range slices.Sorted(maps.Keys(routes)) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"} {
			if slices.Contains(routes[path], method) {
				continue
			}
			r := request{method: method, target: path, token: writer}
			if got := a.do(t, r); got.status != http.StatusNotFound {
				t.Errorf("%s %s: status %d, want the host's 404", method, path, got.status)
			}
			r.direct = true
			if got := a.do(t, r); got.status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s at the handler: status %d, want 405", method, path, got.status)
			}
		}
	}
}
