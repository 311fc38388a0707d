package authz_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/authz"
)

// The whole table, written out a second time: a change of who may do what is
// made in two places, on purpose.
func TestTheRoleTable(t *testing.T) {
	want := map[authz.Role][]authz.Permission{
		authz.Writer:         {authz.TokensCreate, authz.ImportsManage},
		authz.Reader:         {authz.TokensInspect},
		authz.Revealer:       {authz.TokensInspect, authz.TokensReveal},
		authz.Approver:       nil,
		authz.PrivacyOfficer: {authz.SubjectsErase},
		authz.Auditor:        {authz.AuditRead},
		authz.Operator: {
			authz.ImportsControl, authz.OperationsReadAny, authz.KeysRead, authz.KeysAdopt, authz.RevocationsCreate, authz.RevocationsRead,
		},
	}
	all := []authz.Permission{
		authz.TokensCreate, authz.TokensInspect, authz.TokensReveal, authz.ImportsManage, authz.ImportsControl,
		authz.OperationsReadAny, authz.KeysRead, authz.KeysAdopt, authz.AuditRead, authz.RevocationsCreate, authz.RevocationsRead,
		authz.SubjectsErase, authz.ImportsRun, authz.AuditSeal, authz.KeysRotate, authz.OperationsRepair, authz.ErasuresRun, authz.ErasuresReplay, "", "tokens.*",
	}
	got := map[authz.Role][]authz.Permission{}
	for _, role := range authz.Roles() {
		for _, kind := range []authz.Kind{authz.User, authz.App} {
			p := authz.Principal{Kind: kind, Scoped: kind == authz.User, Roles: []authz.Role{role}}
			var may []authz.Permission
			for _, permission := range all {
				if err := authz.Check(p, permission); err == nil {
					may = append(may, permission)
				} else if denial, ok := errors.AsType[*authz.Denial](err); !ok || denial.Permission != permission {
					t.Errorf("%s: %v", permission, err)
				}
			}
			if kind == authz.App && !cmp.Equal(may, got[role]) {
				t.Errorf("%s: an app may %v, a user %v", role, may, got[role])
			}
			got[role] = may
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Roles of a token that the table does not know grant nothing, beside ones that
// it knows too.
func TestUnknownRolesGrantNothing(t *testing.T) {
	p := authz.Principal{Kind: authz.App, Roles: []authz.Role{"", "Vault.Admin", "*", authz.Reader}}
	if err := authz.Check(p, authz.TokensInspect); err != nil {
		t.Error(err)
	}
	if err := authz.Check(p, authz.TokensReveal); err == nil {
		t.Error("an unknown role granted a reveal")
	}
}
