package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"secureapi/scripts/devstack/entra"
)

// This file is the access policy of the API, written a second time from what the
// README promises and independent of handler/authz: who gets which status is
// computed from it, rendered into docs/access-matrix.md, and asked of the built
// handler cell by cell. A difference is a fault of one of the two.
//
// A new route takes two lines: a rule below, and its well-formed request in
// prepared (routes_test.go). Until it has both, TestEveryRouteHasARule fails.
// Then `go test ./scripts/integration -run TestAccessMatrix -write-access`.

// rule is who may make one request.
type rule struct {
	// request is "METHOD /path" as httpapi.Routes has it; "#variant" tells two
	// requests of one route apart.
	request string
	// any may, whoever made the resource; own may where the caller made it.
	any, own []string
	// anonymous: no token is looked at.
	anonymous bool
	// stepUp: it takes a user's fresh sign-in with the context.
	stepUp bool
	// ok is what those get who may: a 409 where the test's import is in a state that
	// does not allow it, a 404 where the test's id is of no audit entry.
	ok int
	// foreign is what a caller of another tenant gets who may do the like there;
	// 0 where the request is about nothing that belongs to a tenant.
	foreign int
}

// The roles, as the registration of the application names them.
const (
	writer         = "Vault.Writer"
	reader         = "Vault.Reader"
	revealer       = "Vault.Revealer"
	approver       = "Vault.Approver"
	privacyOfficer = "Vault.PrivacyOfficer"
	auditor        = "Vault.Auditor"
	operator       = "Vault.Operator"
)

func allRoles() []string {
	return []string{writer, reader, revealer, approver, privacyOfficer, auditor, operator}
}

func rules() []rule {
	only := func(roles ...string) []string { return roles }
	return []rule{
		{request: "GET /api/v1/audit/events", any: only(auditor), ok: 200},
		{request: "GET /api/v1/audit/checkpoint", any: only(auditor), ok: 200},
		{request: "GET /api/v1/audit/proofs/{id:guid}", any: only(auditor), ok: 404}, // an id of no entry
		{request: "POST /api/v1/tokens", any: only(writer), ok: 201},
		{request: "POST /api/v1/tokens/batch", any: only(writer), ok: 200},
		{request: "POST /api/v1/tokens/inspect", any: only(reader, revealer), ok: 200, foreign: 207},
		{request: "POST /api/v1/tokens/reveal", any: only(revealer), ok: 200, foreign: 207},
		{request: "POST /api/v1/tokens/reveal#pan", any: only(revealer), ok: 200, foreign: 207, stepUp: true},
		{request: "POST /api/v1/subjects/erase", any: only(privacyOfficer), ok: 202},
		{request: "POST /api/v1/imports", any: only(writer), ok: 201},
		{request: "PUT /api/v1/imports/{id:guid}/parts", own: only(writer), ok: 200, foreign: 404},
		{request: "POST /api/v1/imports/{id:guid}/commit", own: only(writer), ok: 409, foreign: 404},
		{request: "POST /api/v1/imports/{id:guid}/pause", own: only(writer), any: only(operator), ok: 409, foreign: 404},
		{request: "POST /api/v1/imports/{id:guid}/resume", own: only(writer), any: only(operator), ok: 409, foreign: 404},
		{request: "POST /api/v1/imports/{id:guid}/cancel#another", own: only(writer), any: only(operator), ok: 202, foreign: 404},
		{request: "GET /api/v1/imports/{id:guid}/result", own: only(writer), ok: 409, foreign: 404},
		{request: "GET /api/v1/operations/{id:guid}", own: only(writer), any: only(operator), ok: 200, foreign: 404},
		{request: "GET /api/v1/operations/{id:guid}#erasure", any: only(privacyOfficer, operator), ok: 200, foreign: 404},
		{request: "GET /api/v1/keys", any: only(operator), ok: 200},
		{request: "POST /api/v1/keys/adopt", any: only(operator), ok: 200},
		{request: "POST /api/v1/revocations", any: only(operator), ok: 200},
		{request: "GET /api/v1/revocations", any: only(operator), ok: 200},
		{request: "GET /api/v1/health/live", anonymous: true, ok: 200},
		{request: "GET /api/v1/health/ready", anonymous: true, ok: 200},
	}
}

// route is the request without its variant.
func (r rule) route() string {
	route, _, _ := strings.Cut(r.request, "#")
	return route
}

// notAllowed is a tenant that is not on the list of those allowed.
const notAllowed = "0a4f1c66-7f0d-4b61-9d51-3f2b8f4f9e10"

// signIn is how strong and fresh a token's sign-in is.
type signIn string

const (
	fresh   signIn = "fresh step-up"
	stale   signIn = "step-up of eleven minutes ago"
	another signIn = "another context"
	none    signIn = "no step-up"
)

// requester is somebody who asks. The zero requester has no token.
type requester struct {
	kind   string // "user", "app", "garbage" for a token that is none, or ""
	roles  []string
	tenant string
	// maker: the resource of the request is this caller's own.
	maker bool
	// scoped: the user's token is for the API's scope.
	scoped bool
	signIn signIn
	// capable: the client understands a claims challenge.
	capable bool
	// secret: the application proved itself by no more than a secret.
	secret bool
}

func (q requester) String() string {
	if q.tenant == "" {
		return "nobody with token " + fmt.Sprintf("%q", q.kind)
	}
	text := fmt.Sprintf("%s %v of %s, %s", q.kind, q.roles, q.tenant[:8], q.signIn)
	for _, flag := range []struct {
		name string
		set  bool
	}{{"maker", q.maker}, {"scoped", q.scoped}, {"capable", q.capable}, {"secret", q.secret}} {
		if flag.set {
			text += ", " + flag.name
		}
	}
	return text
}

// outcome is what a request is to be answered with: a status, and the code of a
// problem where it is one of access.
type outcome struct {
	status int
	code   string
}

// answer is the policy: the order of its cases is the order of the checks, which
// is what tells a 401 from a 403 from a 404.
func (r rule) answer(q requester) outcome {
	unauthenticated, forbidden := outcome{http.StatusUnauthorized, "unauthenticated"}, outcome{http.StatusForbidden, "forbidden"}
	anyones, makers := overlap(q.roles, r.any), overlap(q.roles, r.own)
	switch {
	case r.anonymous:
		return outcome{status: r.ok}
	case q.kind != "user" && q.kind != "app", q.tenant == notAllowed:
		return unauthenticated
	case q.kind == "app" && len(q.roles) == 0:
		return unauthenticated // it has neither a scope nor a role
	case q.secret && !isSubset(q.roles, []string{writer, reader}):
		return unauthenticated // a copied secret must not reach what privileged roles do
	case q.kind == "user" && !q.scoped, !anyones && !makers:
		return forbidden
	case q.tenant != entra.HomeTenant && r.foreign == http.StatusNotFound, !anyones && !q.maker:
		return outcome{http.StatusNotFound, "not_found"}
	case q.tenant != entra.HomeTenant && r.foreign != 0:
		return outcome{status: r.foreign} // each token of another tenant is "not found"
	case r.stepUp && q.kind == "app", r.stepUp && q.signIn != fresh && !q.capable:
		return outcome{http.StatusForbidden, "step_up_required"}
	case r.stepUp && q.signIn != fresh:
		return outcome{http.StatusUnauthorized, "step_up_required"}
	}
	return outcome{status: r.ok}
}

// refused reports whether nothing may have happened.
func (o outcome) refused() bool { return o.code != "" }

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func isSubset(a, of []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(of, s) })
}

// requesters is everybody who can differ before this rule: the product of roles,
// kind, tenant, scope, sign-in, client and proof.
func (r rule) requesters() []requester {
	all := []requester{{}, {kind: "garbage"}}
	for _, roles := range roleSets() {
		for _, tenant := range []string{entra.HomeTenant, entra.OtherTenant, notAllowed} {
			all = append(all, r.users(roles, tenant)...)
			for _, secret := range []bool{false, true} {
				for _, s := range []signIn{none, fresh} {
					all = append(all, requester{kind: "app", roles: roles, tenant: tenant, signIn: s, secret: secret})
				}
			}
		}
	}
	return append(all, pairs()...)
}

// users are a tenant's people with the roles.
func (r rule) users(roles []string, tenant string) (all []requester) {
	for _, scoped := range []bool{true, false} {
		for _, s := range []signIn{fresh, stale, another, none} {
			for _, capable := range []bool{true, false} {
				q := requester{kind: "user", roles: roles, tenant: tenant, scoped: scoped, signIn: s, capable: capable}
				all = append(all, q)
				if len(r.own) > 0 && tenant == entra.HomeTenant {
					q.maker = true
					all = append(all, q)
				}
			}
		}
	}
	return all
}

// roleSets is no role, each alone, and all at once.
func roleSets() [][]string {
	sets := [][]string{nil}
	for _, role := range allRoles() {
		sets = append(sets, []string{role})
	}
	return append(sets, allRoles())
}

// pairs are callers with two roles: one must neither take from nor add to what the
// other grants.
func pairs() (all []requester) {
	for i, first := range allRoles() {
		for _, second := range allRoles()[i+1:] {
			roles := []string{second, first}
			all = append(
				all,
				requester{kind: "user", roles: roles, tenant: entra.HomeTenant, scoped: true, signIn: none, capable: true},
				requester{kind: "app", roles: roles, tenant: entra.HomeTenant, signIn: none},
			)
		}
	}
	return all
}
