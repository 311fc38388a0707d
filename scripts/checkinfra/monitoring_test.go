package checkinfra_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"secureapi/scripts/checkinfra"
)

// TestDiagnostics: what has logs sends them; a type that is on neither list fails.
func TestDiagnostics(t *testing.T) { hold(t, diagnostics) }

// TestAlerts: every alert has a runbook with all its steps and somebody who is told.
func TestAlerts(t *testing.T) {
	hold(t, alerts)
	runbooks, queries := map[string]bool{}, map[string]bool{}
	for _, r := range load(t, "dev").Resources {
		if !slices.Contains(alertTypes, r.Type) {
			continue
		}
		runbooks[filepath.Base(runbook(r))] = true
		if name, ok := r.Properties["displayName"].(string); ok {
			queries[name+".kql"] = true
		}
	}
	// No alert tells of these: a person does, or the platform.
	for _, loss := range []string{"key-compromise.md", "region-loss.md", "table-loss.md", "vault-deletion.md"} {
		runbooks[loss] = true
	}
	same(t, "../../docs/runbooks/*.md", runbooks)
	same(t, infra+"/queries/*.kql", queries)
}

// TestWorkbook: the workbook shows every view, and every alert's query.
func TestWorkbook(t *testing.T) { hold(t, workbook) }

// TestChangesAreWatched: what an attacker with rights would change first tells somebody.
func TestChangesAreWatched(t *testing.T) { hold(t, changes) }

var alertTypes = []string{"Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts", "Microsoft.Insights/activityLogAlerts"}

// logged is the log categories that each type sends; nologs are the types that
// have none, or whose logs are the workspace's own tables.
var logged = map[string][]string{
	"Microsoft.Web/sites":                             {"FunctionAppLogs", "AppServiceAuthenticationLogs"},
	"Microsoft.KeyVault/vaults":                       {"AuditEvent"},
	"Microsoft.OperationalInsights/workspaces":        {"audit"},
	"Microsoft.Storage/storageAccounts/blobServices":  {"StorageRead", "StorageWrite", "StorageDelete"},
	"Microsoft.Storage/storageAccounts/queueServices": {"StorageRead", "StorageWrite", "StorageDelete"},
	"Microsoft.Storage/storageAccounts/tableServices": {"StorageRead", "StorageWrite", "StorageDelete"},
	"Microsoft.Network/virtualNetworks":               {"allLogs"},
	"Microsoft.Network/networkSecurityGroups":         {"allLogs"},
	"Microsoft.Network/publicIPAddresses":             {"allLogs"},
}

var nologs = regexp.MustCompile(`^Microsoft\.(Authorization/.*|Consumption/.*|Resources/.*|ManagedIdentity/.*` +
	`|Insights/(components|actionGroups|diagnosticSettings|scheduledQueryRules|metricAlerts|activityLogAlerts|workbooks)` +
	`|KeyVault/vaults/keys|Web/serverfarms|Web/sites/(config|basicPublishingCredentialsPolicies)` +
	`|Network/(natGateways|privateEndpoints.*|privateDnsZones.*)` +
	`|Storage/storageAccounts(/managementPolicies|/blobServices/containers.*|/queueServices/queues|/tableServices/tables)?)$`)

func diagnostics(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	sent := map[string][]string{}
	for _, r := range of(s, "Microsoft.Insights/diagnosticSettings") {
		if id, _ := r.At("workspaceId").(string); !strings.Contains(id, "/workspaces/") {
			wrong.addf("%s goes to %v", r.ID, r.At("workspaceId"))
		}
		for _, l := range list(r, "logs") {
			category, _ := l["category"].(string)
			group, _ := l["categoryGroup"].(string)
			if l["enabled"] == true {
				sent[scope(r)] = append(sent[scope(r)], category+group)
			}
		}
	}
	if activity := sent["/subscriptions/00000000-0000-4000-8000-0000000000aa"]; !slices.Contains(activity, "Administrative") || !slices.Contains(activity, "Security") {
		wrong.addf("the activity log is not sent: %v", activity)
	}
	for _, r := range s.Resources {
		categories, has := logged[r.Type]
		if !has && !nologs.MatchString(r.Type) {
			wrong.addf("%s: say whether it has logs", r.Type)
		}
		for _, c := range categories {
			if !slices.Contains(sent[r.ID], c) {
				wrong.addf("%s does not send %s", r.ID, c)
			}
		}
	}
	return wrong
}

func runbook(r checkinfra.Resource) string {
	description, _ := r.Properties["description"].(string)
	path, _ := strings.CutPrefix(description, "Runbook: ")
	return path
}

func alerts(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	told := 0
	for _, g := range of(s, "Microsoft.Insights/actionGroups") {
		told += len(list(g, "emailReceivers"))
	}
	if told == 0 {
		wrong.addf("no address is told")
	}
	for _, r := range s.Resources {
		if !slices.Contains(alertTypes, r.Type) {
			continue
		}
		text, err := os.ReadFile(filepath.Join("..", "..", runbook(r)))
		if err != nil {
			wrong.addf("%s: no runbook: %v", r.Name, err)
		}
		for _, step := range []string{"**What it means.**", "**First look.**", "**Decide.**", "**Act.**", "**End.**"} {
			if !strings.Contains(string(text), step) {
				wrong.addf("%s has no %s", runbook(r), step)
			}
		}
		if r.Properties["actions"] == nil || r.Properties["enabled"] != true {
			wrong.addf("%s tells nobody", r.Name)
		}
		for _, c := range list(r, "criteria.allOf") {
			if query, ok := c["query"].(string); ok {
				for _, problem := range queryNames(query) {
					wrong.addf("%s: %s", r.Name, problem)
				}
			}
		}
	}
	return wrong
}

func workbook(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	workbooks := of(s, "Microsoft.Insights/workbooks")
	if len(workbooks) != 1 {
		wrong.addf("%d workbooks, want one", len(workbooks))
	}
	for _, pattern := range []string{"/workbook/*.kql", "/queries/*.kql"} {
		files, err := filepath.Glob(infra + pattern)
		if err != nil || len(files) < 4 {
			wrong.addf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			name := strings.TrimSuffix(filepath.Base(f), ".kql")
			for _, w := range workbooks {
				if text, _ := w.At("serializedData").(string); !strings.Contains(text, `"title":"`+name+`"`) {
					wrong.addf("the workbook does not show %s", name)
				}
			}
		}
	}
	return wrong
}

func changes(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	watched := map[any]bool{}
	for _, r := range of(s, "Microsoft.Insights/activityLogAlerts") {
		for _, c := range list(r, "condition.allOf") {
			if c["field"] == "operationName" {
				watched[c["equals"]] = true
			}
		}
	}
	for _, o := range []string{
		"Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleDefinitions/write",
		"Microsoft.Authorization/locks/delete", "Microsoft.Authorization/policyAssignments/write",
		"Microsoft.Insights/diagnosticSettings/delete", "Microsoft.Insights/scheduledQueryRules/delete",
		"Microsoft.Insights/actionGroups/write", "Microsoft.KeyVault/vaults/write",
		"Microsoft.Storage/storageAccounts/write", "Microsoft.Web/sites/config/write",
		"Microsoft.Network/networkSecurityGroups/securityRules/write",
	} {
		if !watched[o] {
			wrong.addf("nobody is told of %s", o)
		}
	}
	return wrong
}

func same(t *testing.T, pattern string, used map[string]bool) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != len(used) {
		t.Errorf("%s: %d files, %d used: %v", pattern, len(files), len(used), err)
	}
	for _, f := range files {
		if !used[filepath.Base(f)] {
			t.Errorf("%s belongs to no alert", f)
		}
	}
}
