package stack

import (
	"maps"
	"os"
	"slices"
	"strings"

	"secureapi/scripts/devstack/entra"
)

// instrumentationKey identifies the local resource; it is no credential.
const instrumentationKey = "2f6e8d10-9b47-4c35-8f0a-d41c7e5b9366"

// HandlerEnv is what the handler has as app settings in Azure.
func (s *Stack) HandlerEnv() map[string]string {
	env := map[string]string{
		"FUNCTIONS_WORKER_RUNTIME": "custom",
		"TENANT_IDS":               entra.HomeTenant + "," + entra.OtherTenant,
		"API_CLIENT_ID":            entra.APIClientID,
		"AUTHORITY_HOST":           entra.Authority,
		"REQUIRED_SCOPE":           entra.Scope,
		"STEP_UP_CONTEXT":          entra.StepUp,
		"REVEAL_PURPOSES":          "fraud-review,customer-support,legal-obligation",

		"KEY_VAULT_URL":  "https://" + vaultHost,
		"KEY_WRAP_NAME":  "kek",
		"KEY_SIGN_NAME":  "sign",
		"STORAGE_SUFFIX": Suffix,

		"DATA_STORAGE_ACCOUNT":  s.dataAccount,
		"AUDIT_STORAGE_ACCOUNT": AuditAccount,

		"AZURE_CREDENTIAL":  "managed-identity",
		"AZURE_CLIENT_ID":   entra.HandlerClientID,
		"IDENTITY_ENDPOINT": s.identityURL,
		"IDENTITY_HEADER":   s.header,

		"APPLICATIONINSIGHTS_CONNECTION_STRING":     "InstrumentationKey=" + instrumentationKey + ";IngestionEndpoint=https://" + ingestHost + "/",
		"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD;ClientId=" + entra.HandlerClientID,

		// Tests, demo and benchmark are a handful of callers, and faster than any
		// person or application should be.
		"MAX_CONCURRENT_REQUESTS": "1000",
		"RATE_LIMIT_PER_MINUTE":   "1000000",
		"RATE_LIMIT_BURST":        "100000",

		"LOG_LEVEL":        "info",
		"LOCAL_STACK_FILE": s.dir(transportFile),
	}
	if s.options.Forwarder {
		// Core Tools read the host's storage and the queue in the emulator's way.
		env["AzureWebJobsStorage"], env["DataStorage"] = "UseDevelopmentStorage=true", "UseDevelopmentStorage=true"
		return env
	}
	maps.Copy(env, map[string]string{
		"AzureWebJobsStorage__accountName": HostAccount,
		"AzureWebJobsStorage__credential":  "managedidentity",
		"AzureWebJobsStorage__clientId":    entra.HandlerClientID,
		"DataStorage__queueServiceUri":     Endpoint(s.dataAccount, "queue"),
		"DataStorage__credential":          "managedidentity",
		"DataStorage__clientId":            entra.HandlerClientID,
	})
	return env
}

// ToolEnv is what vaultctl needs to sign a person in at this stack and to call
// the app. It holds no secret.
func (s *Stack) ToolEnv() map[string]string {
	env := map[string]string{
		"LOCAL_STACK_FILE": s.dir(transportFile), "AUTHORITY_HOST": entra.Authority, "AZURE_TENANT_ID": entra.HomeTenant,
		"PUBLIC_CLIENT_ID": entra.ToolClientID, "API_CLIENT_ID": entra.APIClientID, "REQUIRED_SCOPE": entra.Scope,
	}
	if url := s.URL(); url != "" {
		env["API_URL"] = url
	}
	return env
}

// hostEnv is the environment of the host stand-in: what a program needs to run,
// the app settings, and last the settings of the caller. Nothing else of this
// process' environment reaches the handler.
func (s *Stack) hostEnv() []string {
	settings := s.HandlerEnv()
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG", "TZ", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			settings[name] = value
		}
	}
	maps.Copy(settings, s.options.Host.Env)
	env := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		env = append(env, name+"="+settings[name])
	}
	return env
}

// shell writes settings as a POSIX shell reads them.
func shell(settings map[string]string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		// A name with two underscores is fine in a shell; one with a dot is not.
		text.WriteString(name + "='" + strings.ReplaceAll(settings[name], "'", `'\''`) + "'\n")
	}
	return text.String()
}
