package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// cliTimeout bounds one call of the Azure CLI.
const cliTimeout = 2 * time.Minute

// providers are those of the resources in infra/; a test compares.
var providers = []string{
	"Microsoft.App", "Microsoft.Consumption", "Microsoft.Insights", "Microsoft.KeyVault", "Microsoft.ManagedIdentity",
	"Microsoft.Network", "Microsoft.OperationalInsights", "Microsoft.Storage", "Microsoft.Web",
}

// variables must be set, and how.
var variables = []struct{ name, how string }{
	{"AZURE_ENV_NAME", "azd env new <name>"},
	{"AZURE_LOCATION", "azd env set AZURE_LOCATION <region>"},
	{"AZURE_SUBSCRIPTION_ID", "azd env set AZURE_SUBSCRIPTION_ID <id>"},
	{"TENANT_IDS", "azd env set TENANT_IDS <tenant id>[,<tenant id>]"},
	{"API_CLIENT_ID", "azd env set API_CLIENT_ID <client id of the API's registration> (infra/entra makes one)"},
	{"ALERT_EMAILS", "azd env set ALERT_EMAILS <address>[,<address>]"},
}

var environmentName = regexp.MustCompile(`^[a-z][a-z0-9-]{1,9}$`)

// preflight asks everything before it answers, so that one run shows all that is
// to be done. What it could not ask is missing too: it never guesses.
func preflight(ctx context.Context, root string, getenv func(string) string, out io.Writer) error {
	var missing []string
	lack := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }
	for _, v := range variables {
		if getenv(v.name) == "" {
			lack("%s: %s", v.name, v.how)
		}
	}
	profile, err := profileOf(root)
	if err != nil {
		return err
	}
	if profile != "dev" && getenv("BUDGET_START") == "" {
		lack("BUDGET_START, the first day of this month: azd env set BUDGET_START %s", time.Now().UTC().Format("2006-01-02")[:8]+"01")
	}
	if name := getenv("AZURE_ENV_NAME"); name != "" && !environmentName.MatchString(name) {
		lack("a name that fits into others: AZURE_ENV_NAME takes 2 to 10 lower-case letters, digits and hyphens")
	}
	a, err := signedIn(ctx, getenv("AZURE_SUBSCRIPTION_ID"))
	if err != nil {
		lack("%v", err)
	} else {
		a.location, a.environment = getenv("AZURE_LOCATION"), getenv("AZURE_ENV_NAME")
		missing = append(missing, a.missing(ctx)...)
	}
	if len(missing) > 0 {
		return errors.New("missing: " + strings.Join(missing, "\nmissing: "))
	}
	_, err = fmt.Fprintf(out, "Preflight: nothing is missing for profile %s.\n", profile)
	return err
}

// profileOf is the profile that azure.yaml names.
func profileOf(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "azure.yaml"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^  module: ([a-z]+)\s*$`).FindSubmatch(text)
	if m == nil {
		return "", errors.New("azure.yaml names no profile (infra.module)")
	}
	return string(m[1]), nil
}

// account is the subscription, and who is signed in to it.
type account struct{ subscription, user, environment, location string }

func signedIn(ctx context.Context, subscription string) (account, error) {
	if _, err := exec.LookPath("az"); err != nil {
		return account{}, errors.New("the Azure CLI, with which subscription, rights and names are checked")
	}
	lines, err := az(ctx, "account", "show", "--query", "[id, user.name]", "--output", "tsv")
	if err != nil || len(lines) != 2 {
		return account{}, errors.New("a sign-in: az login")
	}
	if subscription != "" && lines[0] != subscription {
		return account{}, fmt.Errorf("the subscription that azd uses: az account set --subscription %s", subscription)
	}
	return account{subscription: lines[0], user: lines[1]}, nil
}

func (a account) missing(ctx context.Context) []string {
	missing := slices.Concat(a.rights(ctx), a.unregistered(ctx))
	if a.location != "" {
		missing = append(missing, a.region(ctx)...)
		if a.environment != "" {
			missing = append(missing, a.taken(ctx)...)
		}
	}
	return missing
}

// rights: the templates make role definitions and assignments, and settings of
// the subscription itself.
func (a account) rights(ctx context.Context) []string {
	roles, err := az(ctx, "role", "assignment", "list", "--assignee", a.user, "--include-inherited", "--include-groups",
		"--scope", "/subscriptions/"+a.subscription, "--query", "[].roleDefinitionName", "--output", "tsv")
	if err != nil {
		return []string{"a look at the rights of " + a.user + ": az role assignment list failed"}
	}
	if slices.Contains(roles, "Owner") ||
		slices.Contains(roles, "Contributor") && slices.Contains(roles, "User Access Administrator") {
		return nil
	}
	return []string{"rights on the subscription: Owner, or Contributor with User Access Administrator, for " + a.user}
}

func (a account) unregistered(ctx context.Context) []string {
	registered, err := az(ctx, "provider", "list", "--query", "[?registrationState=='Registered'].namespace", "--output", "tsv")
	if err != nil {
		return []string{"a look at the resource providers: az provider list failed"}
	}
	var missing []string
	for _, p := range providers {
		if !slices.ContainsFunc(registered, func(r string) bool { return strings.EqualFold(r, p) }) {
			missing = append(missing, fmt.Sprintf("provider %s: az provider register --namespace %s", p, p))
		}
	}
	return missing
}

func (a account) region(ctx context.Context) []string {
	regions, err := az(ctx, "functionapp", "list-flexconsumption-locations", "--query", "[].name", "--output", "tsv")
	if err != nil {
		return []string{"a look at the regions: az functionapp list-flexconsumption-locations failed"}
	}
	if !slices.Contains(regions, a.location) {
		return []string{"Flex Consumption in " + a.location + ": choose a region of az functionapp list-flexconsumption-locations"}
	}
	return nil
}

// taken finds names that somebody else has, and a vault that was deleted and
// still holds its name for 90 days.
func (a account) taken(ctx context.Context) []string {
	n := namesOf(a.subscription, a.environment, a.location)
	ours, err := az(ctx, "resource", "list", "--resource-group", n.group, "--query", "[].name", "--output", "tsv")
	if err != nil {
		// A group that is not there has no resources; any other failure shows below.
		ours = nil
	}
	var missing []string
	for _, storage := range []string{n.host, n.data, n.audit} {
		if !slices.Contains(ours, storage) {
			missing = append(missing, free(ctx, "storage account "+storage, "storage", "account", "check-name",
				"--name", storage, "--query", "nameAvailable", "--output", "tsv")...)
		}
	}
	if !slices.Contains(ours, n.app) {
		missing = append(missing, free(ctx, "app "+n.app, "rest", "--method", "post",
			"--url", "https://management.azure.com/subscriptions/"+a.subscription+"/providers/Microsoft.Web/checknameavailability?api-version=2024-04-01",
			"--body", `{"name":"`+n.app+`","type":"Microsoft.Web/sites"}`, "--query", "nameAvailable", "--output", "tsv")...)
	}
	if slices.Contains(ours, n.vault) {
		return missing
	}
	deleted, err := az(ctx, "keyvault", "list-deleted", "--resource-type", "vault", "--query", "[].name", "--output", "tsv")
	switch {
	case err != nil:
		return append(missing, "a look at deleted vaults: az keyvault list-deleted failed")
	case slices.Contains(deleted, n.vault):
		return append(missing, fmt.Sprintf("vault %s, which was deleted and cannot be purged: az group create --name %s --location %s && az keyvault recover --name %s, or another AZURE_ENV_NAME",
			n.vault, n.group, a.location, n.vault))
	}
	return append(missing, free(ctx, "vault "+n.vault, "keyvault", "check-name", "--name", n.vault, "--query", "nameAvailable", "--output", "tsv")...)
}

func free(ctx context.Context, what string, args ...string) []string {
	answer, err := az(ctx, args...)
	if err != nil || len(answer) != 1 {
		return []string{"a look at the name of " + what + ": az " + args[0] + " failed"}
	}
	if !strings.EqualFold(answer[0], "true") {
		return []string{"the name of " + what + ", which somebody has: choose another AZURE_ENV_NAME"}
	}
	return nil
}

// az runs the Azure CLI and returns the lines and cells of its answer.
func az(ctx context.Context, args ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, cliTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "az", args...).Output() // #nosec G204 -- no shell, and a fixed program
	if err != nil {
		return nil, fmt.Errorf("az %s: %w", args[0], err)
	}
	return strings.FieldsFunc(strings.TrimSpace(string(out)), func(r rune) bool { return r == '\n' || r == '\r' || r == '\t' }), nil
}
