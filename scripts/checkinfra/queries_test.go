package checkinfra_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestQueryNames: a query that names an event, a metric or a request which the
// handler does not have would never fire.
func TestQueryNames(t *testing.T) {
	if known := len(names()); known < 25 {
		t.Fatalf("%d names are known: a pattern misses some", known)
	}
	files, err := filepath.Glob(infra + "/queries/*.kql")
	views, viewsErr := filepath.Glob(infra + "/workbook/*.kql")
	if files = append(files, views...); err != nil || viewsErr != nil {
		t.Fatal(err, viewsErr)
	}
	checked := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		checked += len(nameIs.FindAll(text, -1))
		for _, problem := range queryNames(string(text)) {
			t.Errorf("%s: %s", f, problem)
		}
	}
	if checked < 10 {
		t.Errorf("%d names in queries: the pattern misses some", checked)
	}
}

var (
	nameIs  = regexp.MustCompile(`\bName == "([^"]+)"`)
	theName = regexp.MustCompile(`(?m)^\t(Event|Metric)\w+ = "([a-z.]+)"`)
)

// queryNames says which names of a query do not exist in its table.
func queryNames(query string) []string {
	var wrong problems
	known := names()
	table, _, _ := strings.Cut(query, "\n")
	found := nameIs.FindAllStringSubmatch(query, -1)
	if strings.HasPrefix(table, "AppEvents") || strings.HasPrefix(table, "AppMetrics") {
		if len(found) == 0 {
			wrong.addf("it names nothing in %s", table)
		}
	}
	for _, m := range found {
		if !known[strings.TrimSpace(table)+" "+m[1]] {
			wrong.addf("the handler has no %q in %s", m[1], table)
		}
	}
	return wrong
}

// names are the telemetry tables' names: "AppEvents security.alarm",
// "AppRequests POST /api/v1/tokens".
func names() map[string]bool {
	known := map[string]bool{}
	source, err := os.ReadFile("../../handler/telemetry/names.go")
	if err != nil {
		return nil
	}
	for _, m := range theName.FindAllStringSubmatch(string(source), -1) {
		known["App"+m[1]+"s "+m[2]] = true
	}
	functions, err := filepath.Glob("../../functions/*/function.json")
	if err != nil {
		return nil
	}
	for _, f := range functions {
		var function struct {
			Bindings []struct {
				Route   string
				Methods []string
			}
		}
		text, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(text, &function) != nil {
			return nil
		}
		for _, b := range function.Bindings {
			for _, method := range b.Methods {
				known["AppRequests "+strings.ToUpper(method)+" /api/"+b.Route] = true
			}
		}
	}
	return known
}
