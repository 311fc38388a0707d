package checkinfra_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/config"
	"secureapi/scripts/checkinfra"
)

const infra = "../../infra"

func forEach(t *testing.T, check func(t *testing.T, profile string, s checkinfra.Snapshot)) {
	t.Helper()
	for _, profile := range checkinfra.Profiles() {
		t.Run(profile, func(t *testing.T) {
			s, err := checkinfra.Load(infra, profile)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Resources) < 50 {
				t.Fatalf("%d resources: not the whole deployment", len(s.Resources))
			}
			check(t, profile, s)
		})
	}
}

// at follows a path of property names.
func at(r checkinfra.Resource, path string) any {
	var v any = r.Properties
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func TestSnapshotsAreCurrent(t *testing.T) {
	if _, err := exec.LookPath("bicep"); err != nil {
		t.Skip("NOT RUN: the Bicep CLI is not on PATH, so nothing holds the snapshots to the templates")
	}
	for _, profile := range checkinfra.Profiles() {
		if out, err := checkinfra.Compare(t.Context(), infra, profile); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestProperties(t *testing.T) {
	required := map[string]map[string]any{
		"Microsoft.Storage/storageAccounts": {
			"allowSharedKeyAccess": false, "allowBlobPublicAccess": false, "isLocalUserEnabled": false,
			"allowCrossTenantReplication": false, "defaultToOAuthAuthentication": true,
			"minimumTlsVersion": "TLS1_2", "supportsHttpsTrafficOnly": true,
			"encryption.requireInfrastructureEncryption": true,
			"encryption.services.table.keyType":          "Account", "encryption.services.queue.keyType": "Account",
		},
		"Microsoft.KeyVault/vaults": {
			"enableRbacAuthorization": true, "enablePurgeProtection": true, "enableSoftDelete": true,
			"softDeleteRetentionInDays": 90.0, "enabledForTemplateDeployment": false,
		},
		"Microsoft.Web/sites": {
			"httpsOnly": true, "siteConfig.minTlsVersion": "1.2", "siteConfig.scmMinTlsVersion": "1.2",
			"functionAppConfig.deployment.storage.authentication.type": "UserAssignedIdentity",
			"functionAppConfig.runtime.name":                           "custom",
		},
		"Microsoft.Web/sites/basicPublishingCredentialsPolicies": {"allow": false},
		"Microsoft.OperationalInsights/workspaces":               {"features.disableLocalAuth": true},
		"Microsoft.Insights/components":                          {"DisableLocalAuth": true},
	}
	forEach(t, func(t *testing.T, profile string, s checkinfra.Snapshot) {
		seen := map[string]bool{}
		for _, r := range s.Resources {
			seen[r.Type] = true
			for path, want := range required[r.Type] {
				if got := at(r, path); got != want {
					t.Errorf("%s %s: %s is %v, want %v", r.Type, r.Name, path, got, want)
				}
			}
			access, has := r.Properties["publicNetworkAccess"]
			if has && profile != "dev" && access != "Disabled" {
				t.Errorf("%s %s: publicNetworkAccess is %v", r.Type, r.Name, access)
			}
		}
		for kind := range required {
			if !seen[kind] {
				t.Errorf("no %s: its rules check nothing", kind)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	forEach(t, func(t *testing.T, profile string, s checkinfra.Snapshot) {
		suffix, got := "", map[string][]any{}
		if profile == "regulated" {
			suffix = "-HSM"
		}
		for _, r := range s.Resources {
			if r.Type == "Microsoft.KeyVault/vaults/keys" {
				name := r.Name[strings.LastIndex(r.Name, "/")+1:]
				got[name] = []any{r.Properties["kty"], r.Properties["keySize"], r.Properties["curveName"], r.Properties["rotationPolicy"] != nil}
			}
		}
		want := map[string][]any{"kek": {"RSA" + suffix, 3072.0, nil, true}, "sign": {"EC" + suffix, nil, "P-256", false}}
		if profile == "regulated" {
			want["storage"] = []any{"RSA-HSM", 3072.0, nil, true}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestRoles holds every assignment to a role and a kind of scope. A role id that
// is not listed, or one that reaches further, fails.
func TestRoles(t *testing.T) {
	allowed := map[string]string{ // role: scope
		"b7e6dc6d-f1e8-4753-8033-0f276bb0955b": `/storageAccounts/[a-z0-9]+host[a-z0-9]+$`,
		"ba92f5b4-2d11-453d-a403-e96b0029c9fe": `/storageAccounts/[a-z0-9]+(data|audt)[a-z0-9]+$`,
		"974c5e8b-45b9-4653-ba55-5f855dd0fb88": `/storageAccounts/[a-z0-9]+data[a-z0-9]+$`,
		"0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": `/storageAccounts/[a-z0-9]+(data|audt)[a-z0-9]+(/tableServices/default/tables/keyring)?$`,
		"3913510d-42f4-4e42-8a64-420c390055eb": `/components/[a-z0-9-]+$`,
		"e147488a-f6f5-4113-8e2d-b22465e65bf6": `/vaults/[a-z0-9-]+/keys/(kek|storage)$`,
		"Vault signer":                         `/vaults/[a-z0-9-]+/keys/sign$`,
		"Vault operator":                       `/resourceGroups/[a-z0-9-]+$`,
		"Vault auditor":                        `(/vaults/[a-z0-9-]+/keys/sign|/storageAccounts/[a-z0-9]+audt[a-z0-9]+)$`,
	}
	forEach(t, func(t *testing.T, _ string, s checkinfra.Snapshot) {
		custom := map[string]string{}
		for _, r := range s.Resources {
			if r.Type == "Microsoft.Authorization/roleDefinitions" {
				name, _ := r.Properties["roleName"].(string)
				custom[r.Name], _, _ = strings.Cut(name, " (")
			}
		}
		used := map[string]bool{}
		for _, r := range s.Resources {
			if r.Type != "Microsoft.Authorization/roleAssignments" {
				continue
			}
			id, _ := r.Properties["roleDefinitionId"].(string)
			role := id[strings.LastIndex(id, "/")+1:]
			if name, ok := custom[role]; ok {
				role = name
			}
			used[role] = true
			scope, _, _ := strings.Cut(r.ID, "/providers/Microsoft.Authorization/")
			pattern, ok := allowed[role]
			if !ok || !regexp.MustCompile(pattern).MatchString(scope) {
				t.Errorf("role %s on %s is not allowed", role, scope)
			}
			if kind := r.Properties["principalType"]; kind != "Group" && kind != "ServicePrincipal" {
				t.Errorf("role %s on %s goes to a %v", role, scope, kind)
			}
		}
		for role := range allowed {
			if !used[role] {
				t.Errorf("role %s is allowed and assigned nowhere", role)
			}
		}
	})
}

func TestDiagnostics(t *testing.T) {
	supports := []string{
		"Microsoft.Web/sites", "Microsoft.KeyVault/vaults", "Microsoft.OperationalInsights/workspaces",
		"Microsoft.Storage/storageAccounts/blobServices", "Microsoft.Storage/storageAccounts/queueServices",
		"Microsoft.Storage/storageAccounts/tableServices", "Microsoft.Network/virtualNetworks",
		"Microsoft.Network/networkSecurityGroups", "Microsoft.Network/publicIPAddresses",
	}
	forEach(t, func(t *testing.T, _ string, s checkinfra.Snapshot) {
		covered := map[string]bool{}
		for _, r := range s.Resources {
			if r.Type == "Microsoft.Insights/diagnosticSettings" {
				scope, _, _ := strings.Cut(r.ID, "/providers/Microsoft.Insights/diagnosticSettings/")
				covered[scope] = true
			}
		}
		if !slices.ContainsFunc(s.Resources, func(r checkinfra.Resource) bool {
			return strings.HasSuffix(r.ID, "/diagnosticSettings/vault-test-activity")
		}) {
			t.Error("the activity log goes nowhere")
		}
		for _, r := range s.Resources {
			if slices.Contains(supports, r.Type) && !covered[r.ID] {
				t.Errorf("%s has no diagnostic setting", r.ID)
			}
		}
	})
}

// appSettings returns the app's settings, expressions included.
func appSettings(t *testing.T, s checkinfra.Snapshot) map[string]any {
	t.Helper()
	for _, r := range s.Resources {
		if strings.HasSuffix(r.ID, "/config/appsettings") {
			return r.Properties
		}
	}
	t.Fatal("no app settings")
	return nil
}

// TestSettings compares the app settings with the struct that reads them.
func TestSettings(t *testing.T) {
	// Set by the platform, or never set in Azure.
	platform := []string{
		"FUNCTIONS_CUSTOMHANDLER_PORT", "WEBSITE_INSTANCE_ID", "LOCAL_STACK_FILE",
		"AZURE_TENANT_ID", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE",
	}
	want := []string{
		"AzureWebJobsStorage__accountName", "AzureWebJobsStorage__clientId", "AzureWebJobsStorage__credential",
		"DataStorage__clientId", "DataStorage__credential", "DataStorage__queueServiceUri",
		"WEBSITE_AUTH_AAD_ALLOWED_TENANTS",
	}
	for field := range reflect.TypeFor[config.Config]().Fields() {
		if name := field.Tag.Get("env"); !slices.Contains(platform, name) {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	forEach(t, func(t *testing.T, _ string, s checkinfra.Snapshot) {
		var got []string
		values := map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "1"}
		for name, v := range appSettings(t, s) {
			got = append(got, name)
			values[name], _ = v.(string)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		// What only a deployment knows, as it looks in the public cloud.
		for name, v := range map[string]string{
			"AZURE_CLIENT_ID": "00000000-0000-4000-8000-000000000003", "AUTHORITY_HOST": "https://login.microsoftonline.com",
			"KEY_VAULT_URL": "https://kv.vault.azure.net", "STORAGE_SUFFIX": "core.windows.net",
			"APPLICATIONINSIGHTS_CONNECTION_STRING":     "InstrumentationKey=00000000-0000-4000-8000-000000000004;IngestionEndpoint=https://swedencentral-0.in.applicationinsights.azure.com/",
			"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "ClientId=00000000-0000-4000-8000-000000000003;Authorization=AAD",
		} {
			if !strings.HasPrefix(values[name], "[") {
				t.Errorf("%s is no expression: it would be fixed to one cloud", name)
			}
			values[name] = v
		}
		if _, err := config.Load(values); err != nil {
			t.Errorf("the handler refuses these settings: %v", err)
		}
	})
}

// TestFlex refuses what Flex Consumption refuses at deployment.
func TestFlex(t *testing.T) {
	properties := []string{
		"ftpsState", "linuxFxVersion", "use32BitWorkerProcess", "netFrameworkVersion", "preWarmedInstanceCount",
		"functionsRuntimeScaleMonitoringEnabled", "appSettings",
	}
	settings := regexp.MustCompile(`^(FUNCTIONS_WORKER_RUNTIME|FUNCTIONS_EXTENSION_VERSION|WEBSITE_RUN_FROM_PACKAGE|WEBSITE_CONTENT.*|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD|WEBSITE_VNET_ROUTE_ALL|AzureWebJobsStorage)$`)
	forEach(t, func(t *testing.T, _ string, s checkinfra.Snapshot) {
		for _, r := range s.Resources {
			site, _ := at(r, "siteConfig").(map[string]any)
			for _, name := range properties {
				if _, has := site[name]; has && r.Type == "Microsoft.Web/sites" {
					t.Errorf("Flex Consumption refuses %s", name)
				}
			}
		}
		for name := range appSettings(t, s) {
			if settings.MatchString(name) {
				t.Errorf("Flex Consumption refuses the setting %s", name)
			}
		}
	})
}

func TestNoSecret(t *testing.T) {
	secret := regexp.MustCompile(`(?i)listkeys|listaccountsas|accountkey|sharedaccesssignature|connectionstring|primarykey|password`)
	forEach(t, func(t *testing.T, _ string, s checkinfra.Snapshot) {
		if len(s.Outputs) == 0 {
			t.Error("no outputs: this checks nothing")
		}
		for name := range s.Outputs {
			if secret.MatchString(name) {
				t.Errorf("output %s", name)
			}
		}
	})
	files, err := filepath.Glob(infra + "/*.bicep")
	modules, err2 := filepath.Glob(infra + "/modules/*.bicep")
	if files = append(files, modules...); err != nil || err2 != nil || len(files) < 10 {
		t.Fatal(err, err2, len(files))
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "output ") && secret.MatchString(line) || strings.Contains(strings.ToLower(line), "listkeys") {
				t.Errorf("%s: %s", f, line)
			}
		}
	}
}
