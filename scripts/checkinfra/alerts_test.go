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

var alertTypes = []string{"Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts", "Microsoft.Insights/activityLogAlerts"}

// TestAlerts: every alert has a runbook with all its steps and somebody who is
// told; every runbook and query belongs to an alert.
func TestAlerts(t *testing.T) {
	steps := []string{"**What it means.**", "**First look.**", "**Decide.**", "**Act.**", "**End.**"}
	forEach(t, func(t *testing.T, _ string, s checkinfra.Snapshot) {
		runbooks, queries := map[string]bool{}, map[string]bool{}
		for _, r := range s.Resources {
			if !slices.Contains(alertTypes, r.Type) {
				continue
			}
			description, _ := r.Properties["description"].(string)
			path, ok := strings.CutPrefix(description, "Runbook: ")
			text, err := os.ReadFile(filepath.Join("..", "..", path))
			if !ok || err != nil {
				t.Errorf("%s: no runbook %q: %v", r.Name, path, err)
			}
			for _, step := range steps {
				if !strings.Contains(string(text), step) {
					t.Errorf("%s has no %s", path, step)
				}
			}
			if r.Properties["actions"] == nil || r.Properties["enabled"] != true {
				t.Errorf("%s tells nobody", r.Name)
			}
			runbooks[filepath.Base(path)] = true
			if name, ok := r.Properties["displayName"].(string); ok {
				queries[name+".kql"] = true
			}
		}
		holds(t, "../../docs/runbooks/*.md", runbooks)
		holds(t, infra+"/queries/*.kql", queries)
	})
}

func holds(t *testing.T, pattern string, used map[string]bool) {
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

// TestQueryNames: a query that names an event or a metric which the handler does
// not have would never fire.
func TestQueryNames(t *testing.T) {
	source, err := os.ReadFile("../../handler/telemetry/names.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t(Event|Metric)\w+ = ("[a-z.]+")`).FindAllStringSubmatch(string(source), -1) {
		known["App"+m[1]+"s"+m[2]] = m[2]
	}
	files, err := filepath.Glob(infra + "/queries/*.kql")
	if err != nil || len(known) < 12 {
		t.Fatal(err, known)
	}
	checked := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		table, _, _ := strings.Cut(string(text), "\n")
		for _, m := range regexp.MustCompile(`\bName == ("[^"]+")`).FindAllStringSubmatch(string(text), -1) {
			checked++
			if !strings.HasPrefix(table, "App") || known[table+m[1]] == "" {
				t.Errorf("%s: the handler has no %s in %s", f, m[1], table)
			}
		}
	}
	if checked < 7 {
		t.Errorf("%d names in queries: the pattern misses some", checked)
	}
}
