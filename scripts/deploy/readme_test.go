package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"secureapi/scripts/stage/funcjson"
)

// TestTheReadmeDeploys: from an empty subscription to a first reveal in at most
// ten commands, and back; each command is one that there is.
func TestTheReadmeDeploys(t *testing.T) {
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	there, back := deployment(string(text))
	if len(there) == 0 || len(there) > 10 || len(back) == 0 || len(back) > 10 {
		t.Errorf("%d commands there and %d back, want 1 to 10 each", len(there), len(back))
	}
	for _, command := range append(there, back...) {
		if problem := exists(t, command); problem != "" {
			t.Errorf("%s: %s", command, problem)
		}
	}
	order := []string{"azd env new ", "azd env set ", "azd up", "keyring bootstrap", "vaultctl login", "/api/v1/tokens ", "/api/v1/tokens/reveal "}
	for _, command := range there {
		if len(order) > 0 && strings.Contains(command, order[0]) {
			order = order[1:]
		}
	}
	if len(order) > 0 {
		t.Errorf("no %q, or not in its turn", order[0])
	}
	for _, v := range variables {
		given := strings.Contains(strings.Join(there, "\n"), v.name+"=")
		byNew := strings.HasPrefix(v.name, "AZURE_") // azd env new sets these
		if !given && !byNew {
			t.Errorf("preflight wants %s, and no command sets it", v.name)
		}
	}
}

// deployment returns the commands of the section's two blocks.
func deployment(text string) (there, back []string) {
	_, section, _ := strings.Cut(text, "\n## Deploy\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks [][]string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, strings.Split(strings.TrimSpace(m[1]), "\n"))
	}
	if len(blocks) != 2 {
		return nil, nil
	}
	return blocks[0], blocks[1]
}

// verbs of the two CLIs that this project knows to exist, with what they need.
var verbs = regexp.MustCompile(`^(az (login|deployment sub create --name \S+ --location \S+ --template-file \S+.*` +
	`|monitor diagnostic-settings subscription delete --name \S+ --yes|ad app delete --id \S+)` +
	`|azd (auth login|env new \S+ --subscription .+ --location \S+|env set( [A-Z_]+=(<[^>]+>|\S+))+|up|down --force))$`)

func exists(t *testing.T, command string) string {
	t.Helper()
	if m := regexp.MustCompile(`--template-file (\S+)`).FindStringSubmatch(command); m != nil {
		if _, err := os.Stat(root + "/" + m[1]); err != nil {
			return "its template is not there"
		}
	}
	for _, output := range regexp.MustCompile(`azd env get-value ([A-Z_]+)`).FindAllStringSubmatch(command, -1) {
		template, err := os.ReadFile(root + "/infra/main.bicep")
		if err != nil || !strings.Contains(string(template), "\noutput "+output[1]+" ") {
			return "no output " + output[1]
		}
	}
	if rest, ok := strings.CutPrefix(command, "go run ./scripts/vaultctl "); ok {
		return existsInVaultctl(t, rest)
	}
	if !verbs.MatchString(command) {
		return "no such command"
	}
	return ""
}

func existsInVaultctl(t *testing.T, rest string) string {
	t.Helper()
	words := strings.Fields(rest)
	if words[0] == "call" {
		functions, err := funcjson.Load(root + "/functions")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range functions {
			trigger := f.Trigger()
			if trigger.Type == funcjson.HTTPTrigger && "/api/"+f.Route() == words[2] && strings.EqualFold(trigger.Methods[0], words[1]) {
				return usesOnly(t, words[:1], rest)
			}
		}
		return "no such route"
	}
	if words[0] == "keyring" {
		return usesOnly(t, words[:2], rest)
	}
	return usesOnly(t, words[:1], rest)
}

// usesOnly asks the program itself for the command's flags.
func usesOnly(t *testing.T, subcommand []string, rest string) string {
	t.Helper()
	args := append([]string{"run", "./scripts/vaultctl"}, subcommand...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, "-h")...)
	cmd.Dir = root
	help, err := cmd.CombinedOutput()
	if err != nil {
		return "vaultctl does not know it: " + string(help)
	}
	for _, flag := range regexp.MustCompile(` -([a-z]+)`).FindAllStringSubmatch(rest, -1) {
		if !regexp.MustCompile(`(?m)^  -` + flag[1] + `\b`).Match(help) {
			return "no flag -" + flag[1]
		}
	}
	return ""
}

func TestTheReadmesCommandsCanFail(t *testing.T) {
	for _, command := range []string{
		"azd upp", "az vault create", "azd env set TENANT_IDS", "go run ./scripts/vaultctl reveal x",
		"go run ./scripts/vaultctl call POST /api/v1/nothing", "go run ./scripts/vaultctl keyring bootstrap -secret x",
		`go run ./scripts/vaultctl keyring bootstrap -vault "$(azd env get-value NO_SUCH_OUTPUT)"`,
		"az deployment sub create --name x --location y --template-file infra/none.bicep",
	} {
		if exists(t, command) == "" {
			t.Errorf("%s passes", command)
		}
	}
	if there, back := deployment("# x\n\n## Deploy\n\n```sh\naz login\n```\n\n## Next\n"); there != nil || back != nil {
		t.Error("one block passes for two")
	}
}
