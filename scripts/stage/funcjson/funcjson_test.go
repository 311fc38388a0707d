package funcjson_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secureapi/scripts/stage/funcjson"
)

const (
	httpOK = `{"bindings":[
		{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","methods":["get"],"route":"v1/x/{id:guid}"},
		{"type":"http","direction":"out","name":"res"}]}`
	queueOK = `{"bindings":[{"type":"queueTrigger","direction":"in","name":"message","queueName":"imports","connection":"DataStorage"}]}`
)

// tree writes files given as path -> text and returns their root.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLoad(t *testing.T) {
	root := tree(t, map[string]string{
		"GetX/function.json":  httpOK,
		"Work/function.json":  queueOK,
		"NoFunction/other.md": "not a function",
		"host.json":           "{}",
	})
	got, err := funcjson.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Name != "GetX" || got[1].Name != "Work" {
		t.Fatalf("functions: %+v", got)
	}
	if r := got[0].Trigger().Route; r != "v1/x/{id:guid}" {
		t.Errorf("route %q", r)
	}
	if q := got[1].Trigger().QueueName; q != "imports" {
		t.Errorf("queue %q", q)
	}
}

// Every row is a mistake that the host answers with silence.
func TestLoadRefuses(t *testing.T) {
	edit := func(from, old, fresh string) string {
		if !strings.Contains(from, old) {
			t.Fatalf("nothing to edit: %q", old)
		}
		return strings.Replace(from, old, fresh, 1)
	}
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"unknown field":      {map[string]string{"A/function.json": edit(queueOK, "queueName", "queuename")}, "queuename"},
		"unknown top field":  {map[string]string{"A/function.json": edit(queueOK, `"bindings"`, `"disabled":true,"bindings"`)}, "disabled"},
		"duplicate field":    {map[string]string{"A/function.json": edit(queueOK, `"name":"message"`, `"name":"message","name":"other"`)}, "duplicate"},
		"not JSON":           {map[string]string{"A/function.json": "{"}, "decoding"},
		"bad function name":  {map[string]string{"1A/function.json": queueOK}, "name must match"},
		"bad binding name":   {map[string]string{"A/function.json": edit(queueOK, `"message"`, `"a-b"`)}, "letters and digits"},
		"nested function":    {map[string]string{"A/function.json": queueOK, "A/B/function.json": queueOK}, "nested"},
		"nested only":        {map[string]string{"group/B/function.json": queueOK}, "nested"},
		"unknown type":       {map[string]string{"A/function.json": edit(queueOK, "queueTrigger", "queuTrigger")}, "unknown type"},
		"wrong direction":    {map[string]string{"A/function.json": edit(queueOK, `"in"`, `"out"`)}, "direction"},
		"missing connection": {map[string]string{"A/function.json": edit(queueOK, `,"connection":"DataStorage"`, "")}, "connection is missing"},
		"foreign field":      {map[string]string{"A/function.json": edit(queueOK, `"queueName"`, `"route":"x","queueName"`)}, "route does not belong"},
		"bad queue name":     {map[string]string{"A/function.json": edit(queueOK, `"imports"`, `"Imports"`)}, "not a queue name"},
		"no trigger":         {map[string]string{"A/function.json": `{"bindings":[{"type":"http","direction":"out","name":"res"}]}`}, "0 triggers"},
		"no bindings":        {map[string]string{"A/function.json": `{"bindings":[]}`}, "0 triggers"},
		"two triggers": {map[string]string{"A/function.json": edit(httpOK, `{"type":"http","direction":"out","name":"res"}`,
			`{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 * * * * *"}`)}, "2 triggers"},
		"no http output": {map[string]string{"A/function.json": edit(httpOK, `,
		{"type":"http","direction":"out","name":"res"}`, "")}, "one http output"},
		"same binding name": {map[string]string{"A/function.json": edit(httpOK, `"name":"res"`, `"name":"req"`)}, "occurs twice"},
		"bad method":        {map[string]string{"A/function.json": edit(httpOK, `"get"`, `"GET"`)}, "lower case"},
		"bad authLevel":     {map[string]string{"A/function.json": edit(httpOK, `anonymous`, `anon`)}, "authLevel"},
		"slash in front":    {map[string]string{"A/function.json": edit(httpOK, `v1/x`, `/v1/x`)}, "no slash"},
		"same route": {map[string]string{
			"A/function.json": httpOK,
			"B/function.json": edit(httpOK, "v1/x/{id:guid}", "V1/X/{other:guid}"),
		}, "both answer get"},
		"names by case": {map[string]string{"Work/function.json": queueOK, "work/function.json": queueOK}, "differ only in case"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := funcjson.Load(tree(t, tt.files))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestLoadReportsEveryProblem(t *testing.T) {
	_, err := funcjson.Load(tree(t, map[string]string{
		"1A/function.json": queueOK,
		"B/function.json":  `{"bindings":[]}`,
		"C/function.json":  "{",
	}))
	for _, want := range []string{"1A: the name", "B: 0 triggers", "C: decoding"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %q", err, want)
		}
	}
}

func TestSameRouteOtherMethod(t *testing.T) {
	root := tree(t, map[string]string{"A/function.json": httpOK, "B/function.json": strings.Replace(httpOK, `"get"`, `"post"`, 1)})
	if _, err := funcjson.Load(root); err != nil {
		t.Fatal(err)
	}
}
