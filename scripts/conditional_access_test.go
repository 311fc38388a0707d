package scripts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const breakGlass = "00000000-0000-4000-8000-000000000021"

// TestConditionalAccess runs the script with a recording az: it makes a policy
// that enforces nothing, once, and only where somebody can still get in.
func TestConditionalAccess(t *testing.T) {
	const context = "rest --method patch --url https://graph.microsoft.com/v1.0/identity/conditionalAccess/authenticationContextClassReferences/c1"
	const policy = "rest --method post --url https://graph.microsoft.com/v1.0/identity/conditionalAccess/policies"
	for name, tt := range map[string]struct {
		group, groupAnswer, policies string
		wantCode                     int
		made                         []string
	}{
		"first":            {breakGlass, breakGlass, "", 0, []string{context, policy}},
		"again":            {breakGlass, breakGlass, "a policy", 0, []string{context}},
		"no group":         {"", "", "", 1, nil},
		"an unknown group": {breakGlass, "", "", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "path", "az"), `#!/bin/sh
echo "$*" >>record
case "$*" in
*/groups/*) [ -n "`+tt.groupAnswer+`" ] && echo "`+tt.groupAnswer+`" || exit 1;;
*"--method get"*) echo "`+tt.policies+`";;
esac
`)
			script, err := filepath.Abs("../infra/entra/conditional-access.sh")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", script)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + filepath.Join(dir, "path") + ":/usr/bin:/bin", "BREAK_GLASS_GROUP_ID=" + tt.group}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != tt.wantCode {
				t.Errorf("exit %d, want %d: %s", code, tt.wantCode, out)
			}
			record, err := os.ReadFile(filepath.Join(dir, "record"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			var made []string
			for line := range strings.Lines(string(record)) {
				if !strings.Contains(line, "--method get") {
					call, body, _ := strings.Cut(line, " --headers")
					made = append(made, call)
					if strings.Contains(call, "/policies") && (!strings.Contains(body, `"state":"enabledForReportingButNotEnforced"`) ||
						!strings.Contains(body, `"excludeGroups":["`+breakGlass+`"]`) || !strings.Contains(body, `"frequencyInterval":"everyTime"`)) {
						t.Errorf("the policy: %s", body)
					}
				}
			}
			if diff := cmp.Diff(tt.made, made); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestConditionalAccessInBothShells: PowerShell does not run here, so its script
// is held to the same calls with the same arguments, in the same order.
func TestConditionalAccessInBothShells(t *testing.T) {
	posix, windows := calls(t, "../infra/entra/conditional-access.sh"), calls(t, "../infra/entra/conditional-access.ps1")
	if len(posix) != 4 {
		t.Fatalf("%d calls in sh: the pattern misses some", len(posix))
	}
	if diff := cmp.Diff(posix, windows); diff != "" {
		t.Error(diff)
	}
	if comment(t, "../infra/entra/conditional-access.sh") != comment(t, "../infra/entra/conditional-access.ps1") {
		t.Error("they explain themselves differently")
	}
}

// calls are a script's calls of az, without what is a shell's own.
func calls(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// A value inside a quoted body: '"$name"' in sh, ' + $name + ' in PowerShell.
	inBody := strings.NewReplacer(`"'"`, `"`, `' + `, ``, ` + '`, ``)
	var all []string
	for _, call := range regexp.MustCompile(`\baz rest .*`).FindAllString(string(text), -1) {
		call = strings.TrimSuffix(strings.TrimSuffix(call, " || true)"), ")")
		if before, body, has := strings.Cut(call, " --body "); has {
			call = before + " --body " + strings.Trim(inBody.Replace(body), "'()")
		}
		all = append(all, call)
	}
	return all
}

func comment(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.TrimPrefix(string(text), "#!/bin/sh\n")
	head, _, _ := strings.Cut(body, "set -eu\n")
	head, _, _ = strings.Cut(head, "$ErrorActionPreference")
	return head
}
