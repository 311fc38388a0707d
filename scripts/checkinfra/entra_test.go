package checkinfra_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/authz"
)

// TestRegistration: the registration has the roles, the scope and the claims that
// the handler takes, and nothing that would let a token past them. The template
// needs a registry to compile, so its text is what is held here.
func TestRegistration(t *testing.T) {
	text, err := os.ReadFile(infra + "/entra/main.bicep")
	if err != nil {
		t.Fatal(err)
	}
	if wrong := registration(string(text)); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
	for _, change := range [][2]string{
		{"'Vault.Approver'", "'Vault.Approve'"},
		{"additionalProperties: ['include_user_token']", "additionalProperties: []"},
		{"requestedAccessTokenVersion: 2", "requestedAccessTokenVersion: 1"},
		{"value: 'Vault.Access'", "value: 'user_impersonation'"},
		{"appRoleAssignmentRequired: true", "appRoleAssignmentRequired: false"},
		{"redirectUris: ['http://localhost']", "redirectUris: ['https://example.com']"},
		{"enableIdTokenIssuance: false", "enableIdTokenIssuance: true"},
		{"{ name: 'acrs', essential: false }", ""},
	} {
		worse := strings.Replace(string(text), change[0], change[1], 1)
		if worse == string(text) || len(registration(worse)) == 0 {
			t.Errorf("%s instead of %s passes", change[1], change[0])
		}
	}
}

func registration(text string) []string {
	var wrong problems
	var got []string
	for _, m := range regexp.MustCompile(`\{ value: '([^']+)', about: '.+', members: \['User'(, 'Application')?\] \}`).FindAllStringSubmatch(text, -1) {
		got = append(got, m[1])
		people := m[1] == string(authz.Approver) || m[1] == string(authz.PrivacyOfficer)
		if people != (m[2] == "") {
			wrong.addf("%s is for applications: %t", m[1], m[2] != "")
		}
	}
	var want []string
	for _, r := range authz.Roles() {
		want = append(want, string(r))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		wrong.addf("roles: %s", diff)
	}
	for _, line := range []string{
		"requestedAccessTokenVersion: 2", "value: 'Vault.Access'", "appRoleAssignmentRequired: true", "acceptMappedClaims: false",
		"{ name: 'idtyp', essential: false, additionalProperties: ['include_user_token'] }", "{ name: 'acrs', essential: false }",
		"{ name: 'xms_cc', essential: false }", "{ name: 'auth_time', essential: false }",
		"publicClient: { redirectUris: ['http://localhost'] }",
		"implicitGrantSettings: { enableAccessTokenIssuance: false, enableIdTokenIssuance: false }",
	} {
		if !strings.Contains(text, line) {
			wrong.addf("no %s", line)
		}
	}
	return wrong
}
