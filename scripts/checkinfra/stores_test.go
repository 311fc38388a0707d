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

// TestStoresAreReached: each of them, and by a role that reaches its kind.
func TestStoresAreReached(t *testing.T) { hold(t, reached) }

// reached is the scope in which the app holds a role for the kind of store.
func reached(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	// Storage Table Data Contributor, Queue Data Contributor, Blob Data Contributor and Owner.
	kinds := map[string]string{
		"0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "tableServices", "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "queueServices",
		"ba92f5b4-2d11-453d-a403-e96b0029c9fe": "blobServices", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "blobServices",
	}
	for _, d := range of(s, "Microsoft.Authorization/roleDefinitions") {
		for _, p := range list(d, "permissions") {
			for _, action := range texts(p["dataActions"]) {
				if parts := strings.Split(action, "/"); len(parts) > 2 && strings.HasSuffix(action, "/read") {
					kinds[d.Name] = parts[2]
				}
			}
		}
	}
	for _, r := range s.Resources {
		service, store := strings.TrimPrefix(r.Type, "Microsoft.Storage/storageAccounts/"), false
		for _, kind := range []string{"tableServices/tables", "queueServices/queues", "blobServices/containers"} {
			store = store || service == kind
		}
		if store && !slices.ContainsFunc(of(s, "Microsoft.Authorization/roleAssignments"), func(a checkinfra.Resource) bool {
			id, _ := a.Properties["roleDefinitionId"].(string)
			return a.At("principalType") == "ServicePrincipal" && strings.HasPrefix(service, kinds[last(id)]+"/") &&
				strings.HasPrefix(r.ID+"/", scope(a)+"/")
		}) {
			wrong.addf("no role reaches %s", r.ID)
		}
	}
	return wrong
}

// stores are those that the handler's source and the functions name.
func stores(t *testing.T) []string {
	t.Helper()
	// Made by the templates for others: the package, and the log's anchors.
	names := []string{"table audit", "container package", "container checkpoints"}
	table := regexp.MustCompile(`(?m)^(?:const |\t)\w*Table\s+= "([a-z]+)"`)
	container := regexp.MustCompile(`(?m)^(?:const |\t)\w*Container\s+= "([a-z]+)"`)
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
