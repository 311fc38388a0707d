package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"secureapi/scripts/checkinfra"
)

const (
	subscription = "00000000-0000-4000-8000-0000000000aa"
	root         = "../.."
)

// cloud answers as the Azure CLI does in a subscription where all is ready, and
// records what it was asked. A test replaces answers; FAIL ends with an error.
var cloud = map[string]string{
	"account show":         subscription + "\nperson@example.com",
	"role assignment list": "Reader\nOwner",
	"provider list": "Microsoft.App\nmicrosoft.consumption\nmicrosoft.insights\nMicrosoft.KeyVault\nMicrosoft.ManagedIdentity\n" +
		"Microsoft.Network\nMicrosoft.OperationalInsights\nMicrosoft.Storage\nMicrosoft.Web",
	"functionapp list-flexconsumption-locations": "northeurope\nswedencentral",
	"resource list":              "FAIL",
	"storage account check-name": "True",
	"rest --method post":         "true",
	"keyvault list-deleted":      "",
	"keyvault check-name":        "true",
}

func ready() map[string]string {
	return map[string]string{
		"AZURE_ENV_NAME": "test", "AZURE_LOCATION": "swedencentral", "AZURE_SUBSCRIPTION_ID": subscription,
		"TENANT_IDS": "t", "API_CLIENT_ID": "c", "ALERT_EMAILS": "security@example.com",
	}
}

// shim puts a recording az on PATH and returns the file of its record.
func shim(t *testing.T, answers map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$*\" >>" + dir + "/record\ncase \"$*\" in\n"
	for question, answer := range answers {
		reply := "exit 1"
		if answer != "FAIL" {
			reply = "printf '%s\\n' '" + answer + "'"
		}
		script += "'" + question + "'*) " + reply + ";;\n"
	}
	script += "*) echo unexpected >&2; exit 2;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o700); err != nil { // #nosec G306 -- a program
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return filepath.Join(dir, "record")
}

func folder(t *testing.T, profile string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "azure.yaml"), []byte("infra:\n  path: infra\n  module: "+profile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPreflight(t *testing.T) {
	ours := "sttesthostezkzqyux\nsttestdataezkzqyux\nsttestaudtezkzqyux\nkv-test-ezkzqyux\nvault-test-ezkzqyux"
	for name, tt := range map[string]struct {
		profile string
		answers map[string]string
		unset   string
		set     map[string]string
		want    string // "" is ready
	}{
		"ready":                   {"dev", nil, "", nil, ""},
		"rights in two":           {"dev", map[string]string{"role assignment list": "Contributor\nUser Access Administrator"}, "", nil, ""},
		"deployed before":         {"dev", map[string]string{"resource list": ours, "storage account check-name": "false", "rest --method post": "false", "keyvault check-name": "false"}, "", nil, ""},
		"no tenant":               {"dev", nil, "TENANT_IDS", nil, "TENANT_IDS: azd env set"},
		"no registration":         {"dev", nil, "API_CLIENT_ID", nil, "infra/entra makes one"},
		"no month for the budget": {"prod", nil, "", nil, "azd env set BUDGET_START 2"},
		"a budget's month":        {"prod", nil, "", map[string]string{"BUDGET_START": "2026-12-01"}, ""},
		"a long name":             {"dev", nil, "", map[string]string{"AZURE_ENV_NAME": "production-europe"}, "2 to 10"},
		"an upper-case name":      {"dev", nil, "", map[string]string{"AZURE_ENV_NAME": "Prod"}, "lower-case"},
		"signed out":              {"dev", map[string]string{"account show": "FAIL"}, "", nil, "a sign-in: az login"},
		"another subscription":    {"dev", map[string]string{"account show": "x\nperson"}, "", nil, "az account set --subscription " + subscription},
		"no rights":               {"dev", map[string]string{"role assignment list": "Contributor"}, "", nil, "rights on the subscription"},
		"rights unread":           {"dev", map[string]string{"role assignment list": "FAIL"}, "", nil, "a look at the rights"},
		"a provider":              {"dev", map[string]string{"provider list": "Microsoft.Web"}, "", nil, "az provider register --namespace Microsoft.App\n"},
		"providers unread":        {"dev", map[string]string{"provider list": "FAIL"}, "", nil, "a look at the resource providers"},
		"a region without Flex":   {"dev", map[string]string{"functionapp list-flexconsumption-locations": "northeurope"}, "", nil, "Flex Consumption in swedencentral"},
		"regions unread":          {"dev", map[string]string{"functionapp list-flexconsumption-locations": "FAIL"}, "", nil, "a look at the regions"},
		"an account's name":       {"dev", map[string]string{"storage account check-name": "False"}, "", nil, "storage account sttestdataezkzqyux, which somebody has"},
		"the app's name":          {"dev", map[string]string{"rest --method post": "false"}, "", nil, "app vault-test-ezkzqyux, which somebody has"},
		"the vault's name":        {"dev", map[string]string{"keyvault check-name": "false"}, "", nil, "vault kv-test-ezkzqyux, which somebody has"},
		"a deleted vault":         {"dev", map[string]string{"keyvault list-deleted": "other\nkv-test-ezkzqyux"}, "", nil, "az keyvault recover --name kv-test-ezkzqyux"},
		"names unread":            {"dev", map[string]string{"keyvault check-name": "FAIL"}, "", nil, "a look at the name of vault"},
		"deleted vaults unread":   {"dev", map[string]string{"keyvault list-deleted": "FAIL"}, "", nil, "a look at deleted vaults"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[string]string{}
			for _, set := range []map[string]string{cloud, tt.answers} {
				for question, answer := range set {
					answers[question] = answer
				}
			}
			record := shim(t, answers)
			env := ready()
			delete(env, tt.unset)
			for name, value := range tt.set {
				env[name] = value
			}
			var out bytes.Buffer
			err := preflight(t.Context(), folder(t, tt.profile), func(name string) string { return env[name] }, &out)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error()+"\n", tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err == nil && !strings.Contains(out.String(), "nothing is missing") {
				t.Errorf("it says %q", out.String())
			}
			onlyReads(t, record)
		})
	}
}

// onlyReads: whatever is missing, nothing is made.
func onlyReads(t *testing.T, record string) {
	t.Helper()
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		question := strings.Join(words[:min(3, len(words))], " ")
		if !slices.ContainsFunc([]string{"account show", "role assignment list", "provider list", "functionapp list-", "resource list", "storage account check-name", "keyvault list-deleted", "keyvault check-name"}, func(q string) bool {
			return strings.HasPrefix(question, q)
		}) && !strings.Contains(line, "/checknameavailability?") {
			t.Errorf("az %s", line)
		}
	}
}

// TestPreflightNamesEverything: one run shows all that is to be done.
func TestPreflightNamesEverything(t *testing.T) {
	answers := map[string]string{
		"account show": cloud["account show"], "role assignment list": "", "provider list": "", "functionapp list-flexconsumption-locations": "", "resource list": "",
		"storage account check-name": "false", "rest --method post": "false", "keyvault list-deleted": "", "keyvault check-name": "false",
	}
	shim(t, answers)
	env := map[string]string{"AZURE_ENV_NAME": "test", "AZURE_LOCATION": "swedencentral"}
	err := preflight(t.Context(), folder(t, "regulated"), func(name string) string { return env[name] }, &bytes.Buffer{})
	if err == nil {
		t.Fatal("nothing is missing where everything is")
	}
	// Four variables and the month, the rights, the providers, the region, five names.
	if lines := strings.Count(err.Error(), "missing: "); lines != 4+1+1+len(providers)+1+5 {
		t.Errorf("%d lines:\n%v", lines, err)
	}
}

func TestPreflightWithoutTheAzureCLI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	env := ready()
	err := preflight(t.Context(), folder(t, "dev"), func(name string) string { return env[name] }, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "the Azure CLI") {
		t.Errorf("%v", err)
	}
}

// TestNames: the names that preflight asks for are those that the templates give.
func TestNames(t *testing.T) {
	n := namesOf(subscription, "test", "swedencentral")
	for _, profile := range checkinfra.Profiles() {
		s, err := checkinfra.Load(root+"/infra", profile)
		if err != nil {
			t.Fatal(err)
		}
		var accounts, all []string
		for _, r := range s.Resources {
			switch r.Type {
			case "Microsoft.Storage/storageAccounts":
				accounts = append(accounts, r.Name)
			case "Microsoft.KeyVault/vaults", "Microsoft.Web/sites", "Microsoft.Resources/resourceGroups":
				all = append(all, r.Name)
			}
		}
		slices.Sort(accounts)
		slices.Sort(all)
		if want := []string{n.audit, n.data, n.host}; !slices.Equal(accounts, want) {
			t.Errorf("%s: accounts %v, want %v", profile, accounts, want)
		}
		if want := []string{n.vault, n.group, n.app}; !slices.Equal(all, want) {
			t.Errorf("%s: %v, want %v", profile, all, want)
		}
	}
}

// TestProviders: no resource's provider is left unasked.
func TestProviders(t *testing.T) {
	// Registered in every subscription.
	builtin := []string{"Microsoft.Authorization", "Microsoft.Resources"}
	used := map[string]bool{"Microsoft.App": true} // The platform of Flex Consumption.
	for _, profile := range checkinfra.Profiles() {
		s, err := checkinfra.Load(root+"/infra", profile)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range s.Resources {
			namespace, _, _ := strings.Cut(r.Type, "/")
			used[namespace] = true
			if !slices.Contains(providers, namespace) && !slices.Contains(builtin, namespace) {
				t.Errorf("%s is not asked for", namespace)
			}
		}
	}
	for _, p := range providers {
		if !used[p] {
			t.Errorf("%s is asked for and not used", p)
		}
	}
}

func TestKeyring(t *testing.T) {
	dir := t.TempDir()
	record := filepath.Join(dir, "record")
	env := map[string]string{"KEY_VAULT_URL": "https://kv.vault.azure.net", "DATA_STORAGE_ACCOUNT": "data"}
	get := func(name string) string { return env[name] }
	work := func(script string) (string, error) {
		if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\necho \"$*\" >>"+record+"\n"+script+"\n"), 0o700); err != nil { // #nosec G306 -- a program
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := run(t.Context(), []string{"keyring"}, get, &out)
		return out.String(), err
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	// Told to nobody's keyring, it makes none.
	if out, err := work("exit 0"); err != nil || !strings.Contains(out, "KEYRING_BOOTSTRAP yes") {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := os.Stat(record); err == nil {
		t.Error("a keyring was made without being asked for")
	}
	env["KEYRING_BOOTSTRAP"] = "yes"
	if _, err := work("echo made"); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(record)
	want := "run ./scripts/vaultctl keyring bootstrap -vault https://kv.vault.azure.net -account data\n"
	if err != nil || string(text) != want {
		t.Errorf("%q, %v, want %q", text, err, want)
	}
	if _, err := work("exit 1"); err == nil || !strings.Contains(err.Error(), "ten minutes") {
		t.Errorf("a role that does not count yet: %v", err)
	}
	env["PRIVATE_NETWORK"] = "true"
	if _, err := work("exit 1"); err == nil || !strings.Contains(err.Error(), "machine in the network") {
		t.Errorf("a private network: %v", err)
	}
	env["KEYRING_BOOTSTRAP"] = "true"
	if _, err := work("exit 0"); err == nil {
		t.Error("a value that means nothing was taken")
	}
	delete(env, "KEY_VAULT_URL")
	if _, err := work("exit 0"); err == nil || !strings.Contains(err.Error(), "KEY_VAULT_URL") {
		t.Errorf("no vault: %v", err)
	}
}

// TestHooks: both shells run the same program, with a word that it knows.
func TestHooks(t *testing.T) {
	text, err := os.ReadFile(root + "/azure.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"preflight", "keyring"} {
		if n := strings.Count(string(text), "run: go run ./scripts/deploy "+word+"\n"); n != 2 {
			t.Errorf("%s stands in %d hooks, want one for sh and one for pwsh", word, n)
		}
	}
	for _, args := range [][]string{nil, {"provision"}, {"keyring", "again"}} {
		if err := run(t.Context(), args, func(string) string { return "" }, &bytes.Buffer{}); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
	if profile, err := profileOf(root); err != nil || !slices.Contains(checkinfra.Profiles(), profile) {
		t.Errorf("azure.yaml names profile %q, %v", profile, err)
	}
}
