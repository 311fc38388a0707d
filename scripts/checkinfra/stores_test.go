package checkinfra_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/checkinfra"
	"secureapi/scripts/stage/funcjson"
)

// TestStores: the app may make no table, queue or container, so each that the
// handler names is in the templates, and no other.
func TestStores(t *testing.T) {
	if want := stores(t); len(want) < 8 {
		t.Fatalf("%v: a pattern misses some", want)
	}
	for _, profile := range checkinfra.Profiles() {
		if diff := cmp.Diff(stores(t), deployed(load(t, profile))); diff != "" {
			t.Errorf("%s: %s", profile, diff)
		}
	}
	s := load(t, "dev")
	s.Resources = slices.DeleteFunc(s.Resources, func(r checkinfra.Resource) bool { return last(r.Name) == "operations" })
	if cmp.Equal(stores(t), deployed(s)) {
		t.Error("a missing table passes")
	}
}

// stores are those that the handler's source and the functions name.
func stores(t *testing.T) []string {
	t.Helper()
	// Made by the templates for others: the package, and the log's anchors.
	names := []string{"table audit", "container package", "container checkpoints"}
	table := regexp.MustCompile(`(?m)^(?:const |\t)Table\s+= "([a-z]+)"`)
	container := regexp.MustCompile(`(?m)^(?:const |\t)Container\s+= "([a-z]+)"`)
	err := filepath.WalkDir(root+"/handler", func(p string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		text, err := os.ReadFile(p)
		for _, m := range table.FindAllStringSubmatch(string(text), -1) {
			names = append(names, "table "+m[1])
		}
		for _, m := range container.FindAllStringSubmatch(string(text), -1) {
			names = append(names, "container "+m[1])
		}
		return err
	})
	functions, loadErr := funcjson.Load(root + "/functions")
	if err != nil || loadErr != nil {
		t.Fatal(err, loadErr)
	}
	for _, f := range functions {
		if trigger := f.Trigger(); trigger.Type == funcjson.QueueTrigger {
			names = append(names, "queue "+trigger.QueueName)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func deployed(s checkinfra.Snapshot) []string {
	var names []string
	for kind, what := range map[string]string{
		"tableServices/tables": "table ", "queueServices/queues": "queue ", "blobServices/containers": "container ",
	} {
		for _, r := range of(s, "Microsoft.Storage/storageAccounts/"+kind) {
			names = append(names, what+last(r.Name))
		}
	}
	slices.Sort(names)
	return names
}
