package staging_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/stage/funcjson"
	"secureapi/scripts/stage/staging"
)

const repository = "../../.."

// source makes a small source tree with a real handler to compile.
func source(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"go.mod":                       "module example\n\ngo 1.26.0\n",
		"handler/main.go":              "package main\n\nimport \"net\"\n\nfunc main() { _, _ = net.LookupHost(\"\") }\n",
		"host.json":                    `{"version":"2.0"}`,
		"local.settings.json":          `{"Values":{"SECRET":"x"}}`,
		"functions/Work/notes.md":      "not staged",
		"functions/README.md":          "not staged",
		"functions/Work/function.json": `{"bindings":[{"type":"queueTrigger","direction":"in","name":"message","queueName":"imports","connection":"DataStorage"}]}`,
		"functions/GetX/function.json": `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","methods":["get"],"route":"v1/x"},{"type":"http","direction":"out","name":"res"}]}`,
	}
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

// list returns path -> mode of everything below dir.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		got[rel] = info.Mode().String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStageExactTree(t *testing.T) {
	root := source(t)
	out := filepath.Join(root, "dist")
	o := staging.Options{Root: root, Out: out, GOOS: "linux", Log: t.Output()}
	if err := staging.Stage(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		".": "drwxr-xr-x", ".funcignore": "-rw-r--r--", "host.json": "-rw-r--r--", "handler": "-rwxr-xr-x",
		"GetX": "drwxr-xr-x", "GetX/function.json": "-rw-r--r--",
		"Work": "drwxr-xr-x", "Work/function.json": "-rw-r--r--",
	}
	if diff := cmp.Diff(want, list(t, out)); diff != "" {
		t.Error(diff)
	}
	if err := staging.CheckStatic(filepath.Join(out, "handler")); err != nil {
		t.Error(err)
	}

	// A second run replaces the first whole, with what others left in it.
	if err := os.WriteFile(filepath.Join(out, "local.settings.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Binary = filepath.Join(out, "handler")
	if err := staging.Stage(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list(t, out)); diff != "" {
		t.Error(diff)
	}
	if leftovers, _ := filepath.Glob(filepath.Join(root, ".dist-*")); len(leftovers) > 0 {
		t.Errorf("left behind: %v", leftovers)
	}
}

// The package of this very project: one folder per function, nothing else.
func TestStageThisProject(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "h")
	if err := os.WriteFile(binary, []byte("not ELF, so not checked"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "dist")
	if err := staging.Stage(t.Context(), staging.Options{Root: repository, Out: out, Binary: binary}); err != nil {
		t.Fatal(err)
	}
	functions, err := funcjson.Load(filepath.Join(repository, "functions"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{".": "drwxr-xr-x", ".funcignore": "-rw-r--r--", "host.json": "-rw-r--r--", "handler": "-rwxr-xr-x"}
	for _, f := range functions {
		want[f.Name] = "drwxr-xr-x"
		want[f.Name+"/function.json"] = "-rw-r--r--"
	}
	if diff := cmp.Diff(want, list(t, out)); diff != "" {
		t.Error(diff)
	}
}

func TestStageRefusesForeignFolder(t *testing.T) {
	root := source(t)
	for name, file := range map[string]string{"the source itself": "", "somebody's folder": "thesis.txt"} {
		t.Run(name, func(t *testing.T) {
			out := root
			if file != "" {
				out = t.TempDir()
				if err := os.WriteFile(filepath.Join(out, file), []byte("work of years"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := list(t, out)
			err := staging.Stage(t.Context(), staging.Options{Root: root, Out: out, Binary: filepath.Join(root, "go.mod")})
			if err == nil || !strings.Contains(err.Error(), "not a package staged earlier") {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(before, list(t, out)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A failed run leaves the earlier package untouched.
func TestStageFailureKeepsEarlierPackage(t *testing.T) {
	root := source(t)
	out := filepath.Join(root, "dist")
	o := staging.Options{Root: root, Out: out, Binary: filepath.Join(root, "go.mod"), Log: t.Output()}
	if err := staging.Stage(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	before := list(t, out)
	if err := os.WriteFile(filepath.Join(root, "handler", "main.go"), []byte("package main\nfunc main() { compile error }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Binary = ""
	if err := staging.Stage(t.Context(), o); err == nil || !strings.Contains(err.Error(), "building the handler") {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(before, list(t, out)); diff != "" {
		t.Error(diff)
	}
}

func TestStageRefusesDynamicBinary(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no dynamic binary at hand")
	}
	if staging.CheckStatic(shell) == nil {
		t.Skip("this machine's sh is static")
	}
	root := source(t)
	out := filepath.Join(root, "dist")
	err = staging.Stage(t.Context(), staging.Options{Root: root, Out: out, Binary: shell})
	if !errors.Is(err, staging.ErrDynamic) {
		t.Fatalf("error %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a package was made: %v", err)
	}
}

func TestBuildHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := staging.Build(ctx, staging.Options{Root: source(t), Log: t.Output()}, filepath.Join(t.TempDir(), "h"))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

func TestCheckPolicy(t *testing.T) {
	http := func(auth, route string) []funcjson.Function {
		return []funcjson.Function{{Name: "F", Bindings: []funcjson.Binding{{Type: funcjson.HTTPTrigger, AuthLevel: auth, Methods: []string{"get"}, Route: route}}}}
	}
	tests := []struct {
		auth, route string
		ok          bool
	}{
		{"anonymous", "v1/tokens/batch", true},
		{"anonymous", "v1/imports/{id:guid}/parts", true},
		{"function", "v1/tokens", false},
		{"anonymous", "v1/tokens/{token}", false},
		{"anonymous", "v1/{id}", false},
		{"anonymous", "v1/{other:guid}", false},
		{"anonymous", "{*path}", false},
		{"anonymous", "v1//tokens", false},
		{"anonymous", "v1/../tokens", false},
		{"anonymous", "v1/Tokens", false},
		{"anonymous", "v1/%74okens", false},
		{"anonymous", "", false},
	}
	for _, tt := range tests {
		if err := staging.CheckPolicy(http(tt.auth, tt.route)); (err == nil) != tt.ok {
			t.Errorf("%s %q: error %v", tt.auth, tt.route, err)
		}
	}
	anyMethod := http("anonymous", "v1/tokens")
	anyMethod[0].Bindings[0].Methods = nil
	if staging.CheckPolicy(anyMethod) == nil {
		t.Error("a function for any method was accepted")
	}
}
