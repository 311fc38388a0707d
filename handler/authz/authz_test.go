package authz_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"secureapi/handler/authz"
)

func TestOnlyWhoShouldMay(t *testing.T) {
	writer := []authz.Role{authz.Writer}
	cases := map[string]struct {
		p      authz.Principal
		reason string
	}{
		"nobody":             {authz.Principal{}, authz.ReasonAnonymous},
		"roles without kind": {authz.Principal{Roles: writer, Scoped: true}, authz.ReasonAnonymous},
		"unscoped user":      {authz.Principal{Kind: authz.User, Roles: writer}, authz.ReasonNoScope},
		"user without role":  {authz.Principal{Kind: authz.User, Scoped: true}, authz.ReasonNoRole},
		"role's prefix":      {authz.Principal{Kind: authz.App, Roles: []authz.Role{"Vault.Write"}}, authz.ReasonNoRole},
		"role's case":        {authz.Principal{Kind: authz.App, Roles: []authz.Role{"vault.writer"}}, authz.ReasonNoRole},
		"role with NBSP":     {authz.Principal{Kind: authz.App, Roles: []authz.Role{"Vault.Writer\u00a0"}}, authz.ReasonNoRole},
		"job":                {authz.System("SealAudit", "", "", authz.AuditSeal), authz.ReasonNotGrant},
		"user":               {authz.Principal{Kind: authz.User, Roles: writer, Scoped: true}, ""},
		"app":                {authz.Principal{Kind: authz.App, Roles: writer}, ""},
	}
	for name, c := range cases {
		err := authz.Check(c.p, authz.TokensCreate)
		denial, denied := errors.AsType[*authz.Denial](err)
		if denied != (c.reason != "") || denied && denial.Reason != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := authz.Check(authz.System("SealAudit", "", "", authz.AuditSeal), authz.AuditSeal); err != nil {
		t.Error(err)
	}
}

func TestNoRoleHasAJobsPermission(t *testing.T) {
	for _, p := range []authz.Permission{authz.ImportsRun, authz.AuditSeal, authz.KeysRotate, authz.OperationsRepair} {
		if roles := authz.RolesWith(p); len(roles) > 0 {
			t.Errorf("%s: %v", p, roles)
		}
	}
}

// The README's table names the roles of the permissions behind its routes.
func TestTheReadmesRolesAreTheTables(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for route, permission := range map[string]authz.Permission{
		"POST /api/v1/tokens`": authz.TokensCreate, "POST /api/v1/tokens/batch`": authz.TokensCreate,
		"POST /api/v1/tokens/inspect`": authz.TokensInspect, "POST /api/v1/tokens/reveal`": authz.TokensReveal,
		"GET /api/v1/keys`": authz.KeysRead, "POST /api/v1/keys/adopt`": authz.KeysAdopt,
		"GET /api/v1/audit/events`": authz.AuditRead, "GET /api/v1/audit/checkpoint`": authz.AuditRead,
		"GET /api/v1/audit/proofs/{id}`": authz.AuditRead,
		"POST /api/v1/revocations`":      authz.RevocationsCreate, "GET /api/v1/revocations`": authz.RevocationsRead,
	} {
		var roles []string
		for _, role := range authz.RolesWith(permission) {
			roles = append(roles, string(role))
		}
		if want := "| `" + route + " | " + strings.Join(roles, ", ") + " |"; !strings.Contains(string(b), want) {
			t.Errorf("README.md has no row %s", want)
		}
	}
}
