package checkinfra_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/config"
	"secureapi/scripts/checkinfra"
)

// TestFlex refuses what Flex Consumption refuses at deployment.
func TestFlex(t *testing.T) { hold(t, flex) }

// TestSignIn holds the sign-in layer that stands before the handler's own check.
func TestSignIn(t *testing.T) { hold(t, signIn) }

// TestIdentities: host storage, triggers, telemetry and package all by identity.
func TestIdentities(t *testing.T) { hold(t, identities) }

// TestSettings compares the app settings with the struct that reads them, and
// loads them as the handler would.
func TestSettings(t *testing.T) { hold(t, settings) }

// appSettings returns the app's settings, expressions included.
func appSettings(s checkinfra.Snapshot) map[string]any {
	for _, r := range of(s, "Microsoft.Web/sites/config") {
		if strings.HasSuffix(r.ID, "/config/appsettings") {
			return r.Properties
		}
	}
	return nil
}

func settings(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	// The host's own, and the sign-in layer's.
	want := []string{
		"AzureWebJobsStorage__accountName", "AzureWebJobsStorage__clientId", "AzureWebJobsStorage__credential",
		"DataStorage__clientId", "DataStorage__credential", "DataStorage__queueServiceUri",
		"WEBSITE_AUTH_AAD_ALLOWED_TENANTS",
	}
	for _, f := range checkinfra.Settings() {
		if f.InAzure() {
			want = append(want, f.Name)
		}
	}
	slices.Sort(want)
	var got []string
	values := map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "1"}
	for name, v := range appSettings(s) {
		got = append(got, name)
		values[name], _ = v.(string)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		wrong.addf("settings: %s", diff)
	}
	// What only a deployment knows, as it looks in the public cloud.
	for name, v := range map[string]string{
		"AZURE_CLIENT_ID": "00000000-0000-4000-8000-000000000003", "AUTHORITY_HOST": "https://login.microsoftonline.com",
		"KEY_VAULT_URL": "https://kv.vault.azure.net", "STORAGE_SUFFIX": "core.windows.net",
		"APPLICATIONINSIGHTS_CONNECTION_STRING":     "InstrumentationKey=00000000-0000-4000-8000-000000000004;IngestionEndpoint=https://swedencentral-0.in.applicationinsights.azure.com/",
		"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "ClientId=00000000-0000-4000-8000-000000000003;Authorization=AAD",
	} {
		if !strings.HasPrefix(values[name], "[") {
			wrong.addf("%s is no expression: it would be fixed to one cloud", name)
		}
		values[name] = v
	}
	if _, err := config.Load(values); err != nil {
		wrong.addf("the handler refuses these settings: %v", err)
	}
	return wrong
}

func flex(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	refused := []string{
		"ftpsState", "linuxFxVersion", "use32BitWorkerProcess", "netFrameworkVersion", "preWarmedInstanceCount",
		"functionsRuntimeScaleMonitoringEnabled", "appSettings", "alwaysOn", "windowsFxVersion", "javaVersion",
	}
	refusedSetting := regexp.MustCompile(`^(FUNCTIONS_WORKER_RUNTIME|FUNCTIONS_EXTENSION_VERSION|WEBSITE_RUN_FROM_PACKAGE|WEBSITE_CONTENT.*|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD|WEBSITE_VNET_ROUTE_ALL|AzureWebJobsStorage)$`)
	for _, r := range of(s, "Microsoft.Web/sites") {
		site, _ := r.At("siteConfig").(map[string]any)
		for _, name := range refused {
			if _, has := site[name]; has {
				wrong.addf("Flex Consumption refuses %s", name)
			}
		}
		if r.At("functionAppConfig.runtime.version") != "1.0" || r.At("containerSize") != nil {
			wrong.addf("%s is not configured as Flex Consumption wants", r.Name)
		}
	}
	for name := range appSettings(s) {
		if refusedSetting.MatchString(name) {
			wrong.addf("Flex Consumption refuses the setting %s", name)
		}
	}
	for _, p := range of(s, "Microsoft.Web/serverfarms") {
		if p.SKU["name"] != "FC1" || p.At("reserved") != true {
			wrong.addf("plan %s is %v", p.Name, p.SKU)
		}
	}
	for _, v := range of(s, "Microsoft.Network/virtualNetworks") {
		for _, subnet := range list(v, "subnets") {
			name, _ := subnet["name"].(string)
			p, _ := subnet["properties"].(map[string]any)
			delegated, _ := p["delegations"].([]any)
			if name == "app" && len(delegated) != 1 || strings.Contains(name, "_") {
				wrong.addf("Flex Consumption refuses subnet %s", name)
			}
		}
	}
	return wrong
}

func signIn(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	found := false
	for _, r := range of(s, "Microsoft.Web/sites/config") {
		if !strings.HasSuffix(r.ID, "/config/authsettingsV2") {
			continue
		}
		found = true
		for path, want := range map[string]any{
			"platform.enabled": true, "globalValidation.requireAuthentication": true,
			"globalValidation.unauthenticatedClientAction":                                "Return401",
			"httpSettings.requireHttps":                                                   true,
			"identityProviders.azureActiveDirectory.enabled":                              true,
			"login.tokenStore.enabled":                                                    false,
			"identityProviders.azureActiveDirectory.registration.clientSecretSettingName": nil,
		} {
			if got := r.At(path); got != want {
				wrong.addf("sign-in: %s is %v, want %v", path, got, want)
			}
		}
		excluded := texts(r.At("globalValidation.excludedPaths"))
		if !slices.Equal(excluded, []string{"/api/v1/health/live", "/api/v1/health/ready"}) {
			wrong.addf("sign-in lets %v pass", excluded)
		}
		if len(texts(r.At("identityProviders.azureActiveDirectory.validation.allowedAudiences"))) != 1 {
			wrong.addf("sign-in takes tokens of several audiences")
		}
	}
	if !found {
		wrong.addf("no sign-in layer")
	}
	return wrong
}

func identities(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	values := appSettings(s)
	for _, name := range []string{"AzureWebJobsStorage__credential", "DataStorage__credential"} {
		if values[name] != "managedidentity" {
			wrong.addf("%s is %v", name, values[name])
		}
	}
	if values["AZURE_CREDENTIAL"] != "managed-identity" {
		wrong.addf("the handler acts as %v", values["AZURE_CREDENTIAL"])
	}
	if text, _ := values["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"].(string); !strings.Contains(text, "Authorization=AAD") {
		wrong.addf("telemetry is sent without an identity")
	}
	// Whoever runs code as the app must not gain the key of the storage service.
	app, storage := "", ""
	for _, r := range of(s, "Microsoft.ManagedIdentity/userAssignedIdentities") {
		if strings.HasSuffix(r.Name, "-storage") {
			storage = r.ID
		} else {
			app = r.ID
		}
	}
	for _, r := range of(s, "Microsoft.Storage/storageAccounts") {
		if used := r.At("encryption.identity.userAssignedIdentity"); used != nil && (used != storage || used == app) {
			wrong.addf("%s reads its key as %v", r.Name, used)
		}
	}
	if app == "" {
		wrong.addf("no identity of the app")
	}
	return wrong
}
