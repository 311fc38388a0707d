package scripts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The rules for workflows that actionlint does not know.
var (
	uses         = regexp.MustCompile(`(?m)^\s*-?\s*uses:\s*(\S+)(.*)$`)
	pinned       = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	pinComment   = regexp.MustCompile(`^ # v\d+\.\d+\.\d+$`)
	topLevelRead = regexp.MustCompile(`(?m)^permissions:\n  contents: read\n`)
	makeTarget   = regexp.MustCompile(`\bmake ([a-z][a-z-]*)`)
	interpolated = regexp.MustCompile(`\$\{\{\s*(?:github\.(?:event|head_ref|ref_name|actor)|inputs)\b`)
)

func workflowProblems(text string) (problems []string) {
	report := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, problem)
		}
	}
	for _, m := range uses.FindAllStringSubmatch(text, -1) {
		report(pinned.MatchString(m[1]), "not pinned by commit: "+m[1])
		report(pinComment.MatchString(m[2]), "the pin does not say its version: "+m[1])
	}
	report(topLevelRead.MatchString(text), "the workflow's own permissions are more than reading")
	report(!strings.Contains(text, "pull_request_target"), "runs strangers' changes with the repository's rights")
	report(strings.Count(text, "actions/checkout@") == strings.Count(text, "persist-credentials: false"), "a checkout leaves its token behind")
	report(strings.Contains(text, "timeout-minutes:"), "a job has no end")
	for _, script := range scripts(text) {
		report(!interpolated.MatchString(script), "a script holds text that a stranger writes: pass it by env")
	}
	return problems
}

// scripts returns the text of every run step.
func scripts(text string) (all []string) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		before, rest, found := strings.Cut(lines[i], "run: ")
		if !found || strings.Trim(before, " -") != "" {
			continue
		}
		script := []string{rest}
		if strings.TrimSpace(rest) == "|" {
			for i+1 < len(lines) && (strings.TrimSpace(lines[i+1]) == "" || indent(lines[i+1]) > len(before)) {
				i++
				script = append(script, lines[i])
			}
		}
		all = append(all, strings.Join(script, "\n"))
	}
	return all
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d workflows: %v", len(files), err)
	}
	makefile := read(t, "../Makefile")
	for _, file := range files {
		text := read(t, file)
		for _, problem := range workflowProblems(text) {
			t.Errorf("%s: %s", file, problem)
		}
		for _, m := range makeTarget.FindAllStringSubmatch(strings.Join(scripts(text), "\n"), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: the Makefile has no target %s", file, m[1])
			}
		}
	}
}

func TestWorkflowRulesFire(t *testing.T) {
	const good = "permissions:\n  contents: read\njobs:\n  a:\n    timeout-minutes: 5\n    steps:\n" +
		"      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2\n        with:\n          persist-credentials: false\n" +
		"      - run: |\n          make test\n          echo \"$TAG\"\n        env:\n          TAG: ${{ github.ref_name }}\n"
	if problems := workflowProblems(good); len(problems) > 0 {
		t.Fatalf("a good workflow: %q", problems)
	}
	for _, tt := range []struct{ old, bad, want string }{
		{"@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "@v6", "not pinned"},
		{" # v6.0.2", "", "does not say its version"},
		{"contents: read", "contents: write", "more than reading"},
		{"jobs:", "on: pull_request_target\njobs:", "strangers' changes"},
		{"persist-credentials: false", "persist-credentials: true", "leaves its token"},
		{"timeout-minutes: 5", "name: x", "no end"},
		{`echo "$TAG"`, "echo ${{ github.event.issue.title }}", "a stranger writes"},
		{`echo "$TAG"`, "echo ${{ github.ref_name }}", "a stranger writes"},
	} {
		problems := strings.Join(workflowProblems(strings.Replace(good, tt.old, tt.bad, 1)), "\n")
		if !strings.Contains(problems, tt.want) {
			t.Errorf("%q in place of %q: %q, want %q", tt.bad, tt.old, problems, tt.want)
		}
	}
}

// TestTheDeploymentPassesWhatTheProfileReads: a profile that reads a variable which
// the pipeline does not pass fails at the worst moment.
func TestTheDeploymentPassesWhatTheProfileReads(t *testing.T) {
	readsVariable := regexp.MustCompile(`readEnvironmentVariable\('(\w+)'`)
	profiles, err := filepath.Glob("../infra/*.bicepparam")
	if err != nil || len(profiles) == 0 {
		t.Fatalf("%d profiles: %v", len(profiles), err)
	}
	for _, name := range []string{"azure-dev.yml", "drift.yml"} {
		text := read(t, "../.github/workflows/"+name)
		for _, profile := range profiles {
			for _, m := range readsVariable.FindAllStringSubmatch(read(t, profile), -1) {
				if !strings.Contains(text, m[1]+": ${{ vars."+m[1]+" }}") {
					t.Errorf("%s does not pass %s, which %s reads", name, m[1], profile)
				}
			}
		}
	}
}

// TestTheTemplateGallerysFiles are those that its validation looks for.
func TestTheTemplateGallerysFiles(t *testing.T) {
	for _, name := range []string{
		"README.md", "LICENSE", "SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "azure.yaml", "infra/main.bicep",
		".github/ISSUE_TEMPLATE", ".github/workflows/azure-dev.yml", ".devcontainer/devcontainer.json",
	} {
		if _, err := os.Stat(filepath.Join("..", name)); err != nil {
			t.Error(err)
		}
	}
	var container struct{ Features map[string]any }
	if err := json.Unmarshal([]byte(read(t, "../.devcontainer/devcontainer.json")), &container); err != nil {
		t.Fatal(err)
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	feature, ok := container.Features["ghcr.io/devcontainers/features/go:1"].(map[string]any)
	if !ok || feature["version"] != goVersion {
		t.Errorf("the container has Go %v, go.mod wants %s", feature["version"], goVersion)
	}
}

// TestDriftIsTold runs the script with a recording shim of the Azure CLI.
func TestDriftIsTold(t *testing.T) {
	for _, tt := range []struct {
		name, answer, environment string
		want                      string
		fails                     bool
	}{
		{"no difference", "exit 0", "PROFILE=prod AZURE_LOCATION=westeurope", "no difference", false},
		{"a difference", `printf 'Modify\t/subscriptions/x/vault\n'`, "PROFILE=prod AZURE_LOCATION=westeurope", "Modify\t/subscriptions/x/vault", true},
		{"the comparison fails", "echo denied >&2; exit 3", "PROFILE=prod AZURE_LOCATION=westeurope", "denied", true},
		{"no profile", "exit 0", "AZURE_LOCATION=westeurope", "the profile", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			shim := "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"" + dir + "/called\"\n" + tt.answer + "\n"
			if err := os.WriteFile(filepath.Join(dir, "az"), []byte(shim), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "infra/hooks/drift.sh")
			cmd.Dir = ".."
			cmd.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH")}, strings.Fields(tt.environment)...)
			out, err := cmd.CombinedOutput()
			if (err != nil) != tt.fails || !strings.Contains(string(out), tt.want) {
				t.Errorf("error %v, output %q, want %q", err, out, tt.want)
			}
			if strings.HasPrefix(tt.environment, "PROFILE") {
				called := strings.Split(read(t, filepath.Join(dir, "called")), "\n")
				if !slices.Contains(called, "what-if") || !slices.Contains(called, "infra/prod.bicepparam") {
					t.Errorf("az was called with %q", called)
				}
			}
		})
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
