package integration

import (
	"flag"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/authz"
	"secureapi/handler/httpapi"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/stage/funcjson"
)

var writeAccess = flag.Bool("write-access", false, "write docs/access-matrix.md anew")

const accessFile = "../../docs/access-matrix.md"

const accessHead = `# Who may do what

Rendered from the policy in ` + "`scripts/integration/access_test.go`" + `, which knows nothing of the handler's own table, by
` + "`TestAccessMatrix`" + `. ` + "`TestTheBinaryAnswersByTheAccessMatrix`" + ` asks the built handler for every cell, behind the Functions host in
both modes: each role alone, pairs, all and none; users and applications; this tenant, another one and one that is not allowed; with and
without the delegated scope; each strength of sign-in, for clients that understand a claims challenge and for those that do not.

A cell is what a caller of the tenant gets who has that one role, the delegated scope and a fresh step-up, for a well-formed request: a user,
or "user / application" where they differ. "maker: 200, else 404" is what the creator of the import gets, and what others do. A 409 is the
answer of those who may, while the import's state does not allow it; a 404 under an audit role, of those who ask for an entry that is none.

`

const accessCallers = `
The same for every route but health:

| caller | gets |
| --- | --- |
`

const accessTail = `| a method that the route does not have | 404 from the host, 405 from the handler |

Values of the classes ` + "`pan` and `ssn`" + ` (` + "`POST /api/v1/tokens/reveal#pan`" + ` above), by a Vault.Revealer:

| sign-in | client understands a challenge | client does not |
| --- | --- | --- |
`

// commonCallers are those of whom one request tells for all.
func commonCallers() []struct {
	text, request string
	q             requester
} {
	user := func(tenant string, roles ...string) requester {
		return requester{kind: "user", tenant: tenant, roles: roles, scoped: true, signIn: fresh}
	}
	unscoped := user(entra.HomeTenant, allRoles()...)
	unscoped.scoped = false
	return []struct {
		text, request string
		q             requester
	}{
		{"no token, or one that is refused for any reason", "GET /api/v1/keys", requester{}},
		{"a tenant that is not on the list", "GET /api/v1/keys", user(notAllowed, operator)},
		{"an application without a role", "GET /api/v1/keys", requester{kind: "app", tenant: entra.HomeTenant}},
		{
			"an application that proved itself by a secret, with a role other than Vault.Writer and Vault.Reader", "GET /api/v1/keys",
			requester{kind: "app", tenant: entra.HomeTenant, roles: []string{operator}, secret: true},
		},
		{"a user without the delegated scope, whatever the roles", "GET /api/v1/keys", unscoped},
		{"a user without a role", "GET /api/v1/keys", user(entra.HomeTenant)},
		{
			"a route's role, in another allowed tenant, for an import or an operation of this one", "GET /api/v1/operations/{id:guid}",
			user(entra.OtherTenant, operator),
		},
		{
			"a route's role, in another allowed tenant, for tokens of this one: each is not found", "POST /api/v1/tokens/inspect",
			user(entra.OtherTenant, reader),
		},
	}
}

// TestAccessMatrix compares the document with the policy.
func TestAccessMatrix(t *testing.T) {
	want := renderAccess()
	if *writeAccess {
		if err := os.WriteFile(accessFile, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(accessFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/access-matrix.md is not the policy (-policy +document); -write-access writes it:\n%s", diff)
	}
}

func renderAccess() string {
	var b strings.Builder
	b.WriteString(accessHead)
	b.WriteString("| request | " + strings.Join(allRoles(), " | ") + " |\n|" + strings.Repeat(" --- |", len(allRoles())+1) + "\n")
	for _, r := range rules() {
		b.WriteString("| `" + r.request + "` |")
		for _, role := range allRoles() {
			b.WriteString(" " + r.cell(role) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString(accessCallers)
	for _, c := range commonCallers() {
		fmt.Fprintf(&b, "| %s | %d |\n", c.text, ruleOf(c.request).answer(c.q).status)
	}
	b.WriteString(accessTail)
	for _, s := range []signIn{fresh, stale, another, none} {
		fmt.Fprintf(&b, "| %s |", s)
		for _, capable := range []bool{true, false} {
			o := ruleOf("POST /api/v1/tokens/reveal#pan").answer(requester{
				kind: "user", roles: []string{revealer}, tenant: entra.HomeTenant, scoped: true, signIn: s, capable: capable,
			})
			text := strconv.Itoa(o.status)
			if o.status == 401 {
				text += " with a claims challenge"
			}
			b.WriteString(" " + text + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// cell is what somebody with this one role gets.
func (r rule) cell(role string) string {
	ask := func(q requester) string {
		q.roles, q.tenant, q.signIn = []string{role}, entra.HomeTenant, fresh
		return strconv.Itoa(r.answer(q).status)
	}
	user, app := ask(requester{kind: "user", scoped: true}), ask(requester{kind: "app"})
	maker := ask(requester{kind: "user", scoped: true, maker: true})
	switch {
	case maker != user:
		return "maker: " + maker + ", else " + user
	case user != app:
		return user + " / " + app
	}
	return user
}

// ruleOf is the zero rule where there is none.
func ruleOf(request string) rule {
	for _, r := range rules() {
		if r.request == request {
			return r
		}
	}
	return rule{}
}

// TestEveryRouteHasARule holds the policy against the routes and the functions.
func TestEveryRouteHasARule(t *testing.T) {
	var ruled, functions []string
	for _, r := range rules() {
		if !slices.Contains(ruled, r.route()) {
			ruled = append(ruled, r.route())
		}
	}
	loaded, err := funcjson.Load("../../functions")
	must(t, err)
	for _, f := range loaded {
		if f.Trigger().Type != funcjson.HTTPTrigger {
			continue
		}
		for _, method := range f.Trigger().Methods {
			functions = append(functions, strings.ToUpper(method)+" /api/"+f.Route())
		}
	}
	routes := httpapi.Routes()
	for _, list := range [][]string{ruled, functions, routes} {
		slices.Sort(list)
	}
	if diff := cmp.Diff(routes, ruled); diff != "" {
		t.Errorf("rules of access_test.go (-routes +rules):\n%s", diff)
	}
	if diff := cmp.Diff(routes, functions); diff != "" {
		t.Errorf("functions/ (-routes +functions):\n%s", diff)
	}
	var roles []string
	for _, role := range authz.Roles() {
		roles = append(roles, string(role))
	}
	if diff := cmp.Diff(roles, allRoles()); diff != "" {
		t.Errorf("roles (-handler +policy):\n%s", diff)
	}
}

// TestTheReadmesTableIsThePolicy: the roles in the README's table of routes are
// those of the rules, and "creator" stands where own ones count.
func TestTheReadmesTableIsThePolicy(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	must(t, err)
	rows := map[string]string{}
	for _, m := range readmeRow.FindAllStringSubmatch(string(text), -1) {
		route := ""
		for _, span := range codeSpan.FindAllStringSubmatch(m[1], -1) {
			rest, shortened := strings.CutPrefix(span[1], "…/")
			if shortened {
				rest = path.Dir(route) + "/" + rest
			}
			rest, _, _ = strings.Cut(rest, "?")
			route = strings.ReplaceAll(rest, "{id}", idPattern)
			rows[route] = m[2]
		}
	}
	named, owned := map[string][]string{}, map[string]bool{} // by route
	for _, r := range rules() {
		named[r.route()] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(named[r.route()], r.any, r.own))))
		owned[r.route()] = owned[r.route()] || len(r.own) > 0
		if cell := rows[r.route()]; r.anonymous != (cell == "anyone") {
			t.Errorf("README.md says of %s: %q, the policy %+v", r.request, cell, r)
		}
	}
	for route, want := range named {
		got := slices.Compact(slices.Sorted(slices.Values(roleName.FindAllString(rows[route], -1))))
		if !slices.Equal(got, want) || owned[route] != strings.Contains(rows[route], "creator") {
			t.Errorf("README.md says %q of %s, the policy %v (own: %v)", rows[route], route, want, owned[route])
		}
		delete(rows, route)
	}
	for route := range rows {
		t.Errorf("README.md has a row for %s, which has no rule", route)
	}
}

var (
	readmeRow = regexp.MustCompile("(?m)^\\| (`[A-Z]+ /api/[^|]*) \\| ([^|]*) \\|")
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	roleName  = regexp.MustCompile(`Vault\.[A-Z]\w+`)
)

// TestTheTableOfExpectationsIsThePolicy: the table by hand and the policy, each
// written for itself, say the same wherever both speak.
func TestTheTableOfExpectationsIsThePolicy(t *testing.T) {
	for _, c := range parseExpectations(t, expectations) {
		q := requester{kind: string(c.kind), tenant: entra.HomeTenant, scoped: true, signIn: fresh, maker: c.kind == authz.User}
		role, other := strings.CutPrefix(c.caller, "other:")
		switch {
		case c.status == "-":
			continue
		case c.caller == "anonymous", c.caller == "garbage":
			q = requester{}
		case c.caller == "foreign":
			q.tenant, q.roles = notAllowed, []string{writer}
		case c.caller == "noscope":
			q.scoped, q.roles = false, allRoles()
		case c.caller == "weak", c.caller == "stale":
			q.roles, q.signIn, q.capable = []string{revealer}, none, true
		case c.caller != "norole":
			q.roles = []string{role}
		}
		if other {
			q.tenant, q.maker = entra.OtherTenant, false
		}
		r := ruleOf(c.name)
		if r.request == "" {
			t.Errorf("%s has no rule", c.name)
		} else if got := strconv.Itoa(r.answer(q).status); got != c.status {
			t.Errorf("%s as %s %s: the table says %s, the policy %s", c.name, c.kind, c.caller, c.status, got)
		}
	}
}
