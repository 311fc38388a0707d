package checkinfra_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"secureapi/scripts/checkinfra"
)

// TestRoles holds every assignment to a role and a kind of scope. A role id that
// is not listed, or one that reaches further, fails.
func TestRoles(t *testing.T) { hold(t, roles) }

// TestCustomRoles holds each role of our own to exactly its actions.
func TestCustomRoles(t *testing.T) { hold(t, customRoles) }

// allowedRoles is every role that may be assigned, and where.
var allowedRoles = map[string]string{
	// Storage Blob Data Owner: the host's leases, and the package.
	"b7e6dc6d-f1e8-4753-8033-0f276bb0955b": `/storageAccounts/sttesthost[a-z0-9]+$`,
	// Storage Blob Data Contributor, Storage Queue Data Contributor.
	"ba92f5b4-2d11-453d-a403-e96b0029c9fe": `/storageAccounts/sttestdata[a-z0-9]+$`,
	"974c5e8b-45b9-4653-ba55-5f855dd0fb88": `/storageAccounts/sttestdata[a-z0-9]+$`,
	// Storage Table Data Contributor.
	"0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": `/storageAccounts/sttest(data[a-z0-9]+(/tableServices/default/tables/keyring)?|audt[a-z0-9]+/tableServices/default/tables/audit)$`,
	// Monitoring Metrics Publisher.
	"3913510d-42f4-4e42-8a64-420c390055eb": `/components/[a-z0-9-]+$`,
	// Key Vault Crypto Service Encryption User: one key, never the vault.
	"e147488a-f6f5-4113-8e2d-b22465e65bf6": `/vaults/[a-z0-9-]+/keys/(kek|storage)$`,
	"Vault signer":                         `/vaults/[a-z0-9-]+/keys/sign$`,
	"Vault checkpointer":                   `/storageAccounts/sttestaudt[a-z0-9]+/blobServices/default/containers/checkpoints$`,
	"Vault registrar":                      `/storageAccounts/sttestaudt[a-z0-9]+/tableServices/default/tables/erasures$`,
	"Vault operator":                       `/resourceGroups/[a-z0-9-]+$`,
	"Vault auditor":                        `(/vaults/[a-z0-9-]+/keys/sign|/storageAccounts/sttestaudt[a-z0-9]+)$`,
}

// scope is what an extension resource, such as a role assignment, is put on.
func scope(r checkinfra.Resource) string {
	namespace, _, _ := strings.Cut(r.Type, "/")
	i := strings.LastIndex(r.ID, "/providers/"+namespace+"/")
	if i < 0 {
		return ""
	}
	return r.ID[:i]
}

func roles(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	custom := map[string]string{}
	for _, r := range of(s, "Microsoft.Authorization/roleDefinitions") {
		custom[r.Name] = roleName(r)
	}
	used := map[string]bool{}
	for _, r := range of(s, "Microsoft.Authorization/roleAssignments") {
		id, _ := r.Properties["roleDefinitionId"].(string)
		role := last(id)
		if name, ok := custom[role]; ok {
			role = name
		}
		used[role] = true
		pattern, ok := allowedRoles[role]
		if !ok || !regexp.MustCompile(pattern).MatchString(scope(r)) {
			wrong.addf("role %s on %s is not allowed", role, scope(r))
		}
		if kind := r.Properties["principalType"]; kind != "Group" && kind != "ServicePrincipal" {
			wrong.addf("role %s on %s goes to a %v", role, scope(r), kind)
		}
	}
	for role := range allowedRoles {
		if !used[role] {
			wrong.addf("role %s is allowed and assigned nowhere", role)
		}
	}
	return wrong
}

// roleName is a custom role's name without the group that makes it unique.
func roleName(r checkinfra.Resource) string {
	text, _ := r.Properties["roleName"].(string)
	name, _, _ := strings.Cut(text, " (")
	return name
}

func customRoles(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	const blobs, entities = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/", "Microsoft.Storage/storageAccounts/tableServices/tables/entities/"
	data := map[string][]string{
		"Vault signer":       {"Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/sign/action"},
		"Vault checkpointer": {blobs + "read", blobs + "write"},
		"Vault registrar":    {entities + "read", entities + "add/action", entities + "update/action"},
		"Vault auditor":      {entities + "read", blobs + "read", "Microsoft.KeyVault/vaults/keys/read"},
		"Vault operator":     nil,
	}
	definitions := of(s, "Microsoft.Authorization/roleDefinitions")
	if len(definitions) != len(data) {
		wrong.addf("%d roles of our own, want %d", len(definitions), len(data))
	}
	// The operator sees and restarts; whoever may write settings may point the app elsewhere.
	harmless := regexp.MustCompile(`/read$|^Microsoft\.Web/sites/restart/action$`)
	for _, d := range definitions {
		want, known := data[roleName(d)]
		if !known {
			wrong.addf("role %s is not known", roleName(d))
		}
		for _, p := range list(d, "permissions") {
			if got := texts(p["dataActions"]); !slices.Equal(got, want) {
				wrong.addf("%s: data actions %v, want %v", roleName(d), got, want)
			}
			for _, a := range texts(p["actions"]) {
				if !harmless.MatchString(a) || strings.HasPrefix(a, "*") {
					wrong.addf("%s may %s", roleName(d), a)
				}
			}
		}
		if scopes := texts(d.At("assignableScopes")); len(scopes) != 1 || !strings.HasSuffix(scopes[0], "/resourceGroups/rg-vault-test") {
			wrong.addf("%s can be assigned at %v", roleName(d), scopes)
		}
	}
	return wrong
}

func texts(v any) []string {
	values, _ := v.([]any)
	var all []string
	for _, v := range values {
		s, _ := v.(string)
		all = append(all, s)
	}
	return all
}
