package checkinfra_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"secureapi/scripts/checkinfra"
)

// TestNoSecret: no output carries one, by name or by the function that it calls.
func TestNoSecret(t *testing.T) {
	hold(t, outputs)
	for name, text := range templates(t) {
		for _, problem := range secretsInText(text) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// TestParameters: each is described, and what could hold a secret is secure.
func TestParameters(t *testing.T) {
	described := 0
	for name, text := range templates(t) {
		described += strings.Count(text, "@description(")
		for _, problem := range parameters(text) {
			t.Errorf("%s: %s", name, problem)
		}
	}
	if described < 100 {
		t.Errorf("%d descriptions: not the templates", described)
	}
}

var secret = regexp.MustCompile(`(?i)listkeys|listaccountsas|accountkey|sharedaccesssignature|connectionstring|primarykey|password|secret`)

// secretParameter is a parameter that would hold one; ids and names do not.
var secretParameter = regexp.MustCompile(`(?i)^param \w*(secret|password|connectionstring|accesskey|sastoken|certificatepem)\w* `)

func templates(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.bicep", "*/*.bicep"} {
		files, err := filepath.Glob(filepath.Join(infra, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all[f] = string(text)
		}
	}
	if len(all) < 14 {
		t.Fatalf("%d templates: not all", len(all))
	}
	return all
}

func outputs(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	if len(s.Outputs) == 0 {
		wrong.addf("no outputs: this checks nothing")
	}
	for name := range s.Outputs {
		if secret.MatchString(name) {
			wrong.addf("output %s", name)
		}
	}
	return wrong
}

func secretsInText(text string) []string {
	var wrong problems
	for line := range strings.Lines(text) {
		lower := strings.ToLower(line)
		if strings.HasPrefix(line, "output ") && secret.MatchString(line) ||
			strings.Contains(lower, "listkeys") || strings.Contains(lower, "listaccountsas") {
			wrong.addf("%s", strings.TrimSpace(line))
		}
	}
	return wrong
}

// parameters looks at the decorators that stand above each parameter.
func parameters(text string) []string {
	var wrong problems
	decorators := ""
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "@"):
			decorators += line
		case strings.HasPrefix(line, "param "):
			if !strings.Contains(decorators, "@description('") {
				wrong.addf("no description: %s", strings.TrimSpace(line))
			}
			if secretParameter.MatchString(line) && !strings.Contains(decorators, "@secure()") {
				wrong.addf("not secure: %s", strings.TrimSpace(line))
			}
			decorators = ""
		case strings.TrimSpace(line) == "":
			decorators = ""
		}
	}
	return wrong
}

func TestTextRulesCanFail(t *testing.T) {
	for name, tt := range map[string]struct {
		check func(string) []string
		text  string
		ok    bool
	}{
		"described":             {parameters, "@description('x')\nparam a string\n", true},
		"not described":         {parameters, "param a string\n", false},
		"description of before": {parameters, "@description('x')\nparam a string\nparam b string\n", false},
		"secure":                {parameters, "@description('x')\n@secure()\nparam adminPassword string\n", true},
		"not secure":            {parameters, "@description('x')\nparam adminPassword string\n", false},
		"an id in an output":    {secretsInText, "output id string = a.id\n", true},
		"a key in an output":    {secretsInText, "output x string = a.listKeys().keys[0].value\n", false},
		"a connection string":   {secretsInText, "output x string = insights.properties.ConnectionString\n", false},
		"keys in a setting":     {secretsInText, "  AzureWebJobsStorage: a.listKeys().keys[0].value\n", false},
		"a known event":         {queryNames, "AppEvents\n| where Name == \"audit.broken\"\n", true},
		"an unknown event":      {queryNames, "AppEvents\n| where Name == \"audit.brokem\"\n", false},
		"an event as a metric":  {queryNames, "AppMetrics\n| where Name == \"audit.broken\"\n", false},
		"no event at all":       {queryNames, "AppEvents\n| where Id == 1\n", false},
		"a known route":         {queryNames, "AppRequests\n| where Name == \"POST /api/v1/tokens/reveal\"\n", true},
		"an unknown route":      {queryNames, "AppRequests\n| where Name == \"POST /api/v1/tokens/unveil\"\n", false},
	} {
		if got := tt.check(tt.text); (len(got) == 0) != tt.ok {
			t.Errorf("%s: %v", name, got)
		}
	}
}
