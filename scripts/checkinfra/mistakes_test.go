package checkinfra_test

import (
	"maps"
	"strings"
	"testing"

	"secureapi/scripts/checkinfra"
)

// A mistake is a change of a good profile that one rule must notice.
type mistake struct {
	rule rule
	// kind and name choose the resource: its type, and a part of its id.
	kind, name string
	// path is set to value; with drop the resource goes instead.
	path  string
	value any
	drop  bool
	want  string
}

const (
	accountType = "Microsoft.Storage/storageAccounts"
	vaultType   = "Microsoft.KeyVault/vaults"
	siteType    = "Microsoft.Web/sites"
	roleType    = "Microsoft.Authorization/roleAssignments"
	owner       = "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
)

var mistakes = map[string]mistake{
	"shared keys":                 {properties, accountType, "data", "allowSharedKeyAccess", true, false, "allowSharedKeyAccess is true"},
	"old TLS":                     {properties, accountType, "audt", "minimumTlsVersion", "TLS1_0", false, "minimumTlsVersion"},
	"old TLS of the app":          {properties, siteType, "", "siteConfig.minTlsVersion", "1.0", false, "minTlsVersion"},
	"replication to anybody":      {properties, accountType, "data", "allowCrossTenantReplication", true, false, "allowCrossTenantReplication"},
	"local users":                 {properties, accountType, "data", "isLocalUserEnabled", true, false, "isLocalUserEnabled"},
	"single encryption":           {properties, accountType, "data", "encryption.requireInfrastructureEncryption", nil, false, "requireInfrastructureEncryption"},
	"tables under another key":    {properties, accountType, "data", "encryption.services.table.keyType", "Service", false, "table.keyType"},
	"access policies":             {properties, vaultType, "", "enableRbacAuthorization", false, false, "enableRbacAuthorization"},
	"purge":                       {properties, vaultType, "", "enablePurgeProtection", nil, false, "enablePurgeProtection"},
	"a week to recover":           {properties, vaultType, "", "softDeleteRetentionInDays", 7.0, false, "softDeleteRetentionInDays"},
	"plain HTTP":                  {properties, siteType, "", "httpsOnly", false, false, "httpsOnly"},
	"basic publishing":            {properties, siteType + "/basicPublishingCredentialsPolicies", "scm", "allow", true, false, "allow is true"},
	"no vault":                    {properties, vaultType, "", "", nil, true, "its rules check nothing"},
	"a short key":                 {keys, vaultType + "/keys", "kek", "keySize", 2048.0, false, "2048"},
	"a key that decrypts":         {keys, vaultType + "/keys", "kek", "keyOps", []any{"decrypt"}, false, "decrypt"},
	"no rotation":                 {keys, vaultType + "/keys", "kek", "rotationPolicy", nil, false, "Rotated"},
	"another curve":               {keys, vaultType + "/keys", "sign", "curveName", "P-256K", false, "P-256K"},
	"any origin":                  {cors, siteType, "", "siteConfig.cors.allowedOrigins", []any{"*"}, false, "exact origin"},
	"an origin over plain HTTP":   {cors, siteType, "", "siteConfig.cors.allowedOrigins", []any{"http://app.example.com"}, false, "exact origin"},
	"a wildcard of a domain":      {cors, siteType, "", "siteConfig.cors.allowedOrigins", []any{"https://*.example.com"}, false, "exact origin"},
	"credentials across origins":  {cors, siteType, "", "siteConfig.cors.supportCredentials", true, false, "credentials"},
	"no write-once":               {writeOnce, accountType + "/blobServices/containers/immutabilityPolicies", "", "", nil, true, "0 write-once policies"},
	"write-once for a day":        {writeOnce, accountType + "/blobServices/containers/immutabilityPolicies", "", "immutabilityPeriodSinceCreationInDays", 1.0, false, "holds for 1 days"},
	"checkpoints that grow":       {writeOnce, accountType + "/blobServices/containers/immutabilityPolicies", "", "allowProtectedAppendWrites", true, false, "appended"},
	"Microsoft's key":             {customerManagedKey, accountType, "data", "encryption.keySource", "Microsoft.Storage", false, "is encrypted by Microsoft.Storage"},
	"one version of the key":      {customerManagedKey, accountType, "data", "encryption.keyvaultproperties.keyversion", "1", false, "one version"},
	"queues outside the key":      {customerManagedKey, accountType, "data", "encryption.services.queue.keyType", nil, false, "queue is outside"},
	"no lock on the vault":        {locks, "Microsoft.Authorization/locks", "vaults", "", nil, true, "locked is false"},
	"a weak lock":                 {locks, "Microsoft.Authorization/locks", "vaults", "level", "NotSpecified", false, "of level"},
	"an open vault":               {publicAccess, vaultType, "", "publicNetworkAccess", "Enabled", false, "publicNetworkAccess is Enabled"},
	"an open app":                 {publicAccess, siteType, "", "publicNetworkAccess", nil, false, "to a default"},
	"an open firewall":            {publicAccess, accountType, "data", "networkAcls.defaultAction", "Allow", false, "default is Allow"},
	"a hole in it":                {publicAccess, accountType, "data", "networkAcls.ipRules", []any{"203.0.113.1"}, false, "a hole"},
	"an unreachable table":        {privateEndpoints, "Microsoft.Network/privateEndpoints", "pe-audit-table", "", nil, true, "nothing reaches"},
	"a zone without network":      {privateEndpoints, "Microsoft.Network/privateDnsZones/virtualNetworkLinks", "vaultcore", "", nil, true, "is not linked"},
	"an endpoint without zone":    {privateEndpoints, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups", "pe-vault", "", nil, true, "has no zone"},
	"all ways out":                {egress, "Microsoft.Network/networkSecurityGroups", "nsg-app", "securityRules", []any{}, false, "not denied"},
	"no gateway":                  {egress, "Microsoft.Network/natGateways", "", "", nil, true, "no NAT gateway"},
	"traffic past the network":    {egress, siteType, "", "outboundVnetRouting", nil, false, "does not all go"},
	"an owner":                    {roles, roleType, "keys/kek", "roleDefinitionId", owner, false, "is not allowed"},
	"a person":                    {roles, roleType, "keys/sign", "principalType", "User", false, "goes to a User"},
	"a role that nobody has":      {roles, roleType, "containers/checkpoints", "", nil, true, "assigned nowhere"},
	"a restart is not enough":     {customRoles, "Microsoft.Authorization/roleDefinitions", "", "permissions", permissions("Microsoft.Web/sites/config/write"), false, "may Microsoft.Web/sites/config/write"},
	"everything":                  {customRoles, "Microsoft.Authorization/roleDefinitions", "", "permissions", permissions("*/read"), false, "may */read"},
	"assignable anywhere":         {customRoles, "Microsoft.Authorization/roleDefinitions", "", "assignableScopes", []any{"/"}, false, "assigned at"},
	"a setting of the platform":   {flex, siteType + "/config", "appsettings", "FUNCTIONS_WORKER_RUNTIME", "custom", false, "refuses the setting"},
	"a property of other plans":   {flex, siteType, "", "siteConfig.linuxFxVersion", "x", false, "refuses linuxFxVersion"},
	"a subnet's name":             {flex, "Microsoft.Network/virtualNetworks", "", "subnets", []any{map[string]any{"name": "a_b"}}, false, "refuses subnet"},
	"anonymous callers":           {signIn, siteType + "/config", "authsettingsV2", "globalValidation.requireAuthentication", false, false, "requireAuthentication"},
	"a path past sign-in":         {signIn, siteType + "/config", "authsettingsV2", "globalValidation.excludedPaths", []any{"/api"}, false, "lets [/api] pass"},
	"no sign-in":                  {signIn, siteType + "/config", "authsettingsV2", "", nil, true, "no sign-in layer"},
	"a connection string":         {identities, siteType + "/config", "appsettings", "AzureWebJobsStorage__credential", nil, false, "AzureWebJobsStorage__credential"},
	"telemetry without identity":  {identities, siteType + "/config", "appsettings", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "", false, "without an identity"},
	"a setting that nobody reads": {settings, siteType + "/config", "appsettings", "TENANT_ID", "x", false, "TENANT_ID"},
	"a setting that is missing":   {settings, siteType + "/config", "appsettings", "KEY_WRAP_NAME", nil, false, "KEY_WRAP_NAME"},
	"a setting that is refused":   {settings, siteType + "/config", "appsettings", "LOG_LEVEL", "trace", false, "refuses these settings"},
	"one cloud only":              {settings, siteType + "/config", "appsettings", "STORAGE_SUFFIX", "core.windows.net", false, "fixed to one cloud"},
	"a silent vault":              {diagnostics, "Microsoft.Insights/diagnosticSettings", "/vaults/", "", nil, true, "does not send AuditEvent"},
	"no log of deletions":         {diagnostics, "Microsoft.Insights/diagnosticSettings", "/tableServices/", "logs", []any{}, false, "does not send StorageDelete"},
	"no activity log":             {diagnostics, "Microsoft.Insights/diagnosticSettings", "vault-test-activity", "", nil, true, "activity log is not sent"},
	"an alert without runbook":    {alerts, "Microsoft.Insights/scheduledQueryRules", "audit-broken", "description", "Look at it.", false, "no runbook"},
	"an alert that is off":        {alerts, "Microsoft.Insights/metricAlerts", "server-errors", "enabled", false, false, "tells nobody"},
	"an alert without a name":     {alerts, "Microsoft.Insights/scheduledQueryRules", "audit-broken", "criteria.allOf", []any{map[string]any{"query": "AppEvents\n| where Name == \"x\""}}, false, `has no "x"`},
	"a team without addresses":    {alerts, "Microsoft.Insights/actionGroups", "", "emailReceivers", []any{}, false, "no address"},
	"an empty workbook":           {workbook, "Microsoft.Insights/workbooks", "", "serializedData", "{}", false, "does not show requests"},
	"no workbook":                 {workbook, "Microsoft.Insights/workbooks", "", "", nil, true, "0 workbooks"},
	"a table out of reach":        {reached, roleType, "/tables/erasures/", "", nil, true, "no role reaches"},
	"an account out of reach":     {reached, roleType, "sttestdata", "", nil, true, "no role reaches"},
	"roles that nobody watches":   {changes, "Microsoft.Insights/activityLogAlerts", "changed-role", "", nil, true, "nobody is told"},
}

func permissions(actions ...any) []any { return []any{map[string]any{"actions": actions}} }

// TestEveryRuleCanFail makes each mistake in the strictest profile, where the
// rule must notice it and say so.
func TestEveryRuleCanFail(t *testing.T) {
	for name, m := range mistakes {
		t.Run(name, func(t *testing.T) {
			s := load(t, "regulated")
			if before := m.rule("regulated", s); len(before) > 0 {
				t.Fatalf("wrong before the mistake: %v", before)
			}
			made := 0
			for i := len(s.Resources) - 1; i >= 0; i-- {
				r := &s.Resources[i]
				if r.Type != m.kind || !strings.Contains(r.ID, m.name) {
					continue
				}
				made++
				if m.drop {
					s.Resources = append(s.Resources[:i], s.Resources[i+1:]...)
					continue
				}
				set(r.Properties, strings.Split(m.path, "."), m.value)
			}
			if made == 0 {
				t.Fatalf("no %s with %q", m.kind, m.name)
			}
			if after := strings.Join(m.rule("regulated", s), "\n"); !strings.Contains(after, m.want) {
				t.Errorf("the rule says %q, want %q", after, m.want)
			}
		})
	}
}

// TestUnknownKindOfResource: a type that no list names is looked at before it is deployed.
func TestUnknownKindOfResource(t *testing.T) {
	s := load(t, "dev")
	s.Resources = append(s.Resources, checkinfra.Resource{ID: "/x", Type: "Microsoft.Cache/redis", Name: "x"})
	if wrong := strings.Join(diagnostics("dev", s), "\n"); !strings.Contains(wrong, "Microsoft.Cache/redis") {
		t.Errorf("a cache passes: %q", wrong)
	}
	s = load(t, "dev")
	s.Outputs = maps.Clone(s.Outputs)
	s.Outputs["storageConnectionString"] = "x"
	if len(outputs("dev", s)) == 0 {
		t.Error("a connection string in the outputs passes")
	}
}

// set puts a value at a path; nil removes what stands there.
func set(properties map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		next, ok := properties[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			properties[name] = next
		}
		properties = next
	}
	if value == nil {
		delete(properties, path[len(path)-1])
		return
	}
	properties[path[len(path)-1]] = value
}
