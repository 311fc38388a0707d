package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "secureapi/handler"

// layers lists every package of the handler, lowest layer first. A package
// imports from lower layers only, so that the layers are also the order in which
// to read and to trust the code: nothing below can be made to call above.
var layers = [][]string{
	{"authn/attacks", "authz", "checkpoint", "clock", "clock/clocktest", "envelope", "fuzzcheck", "rowstore", "vectors"},
	{"dataclass", "rowseal", "telemetry"},
	{"authn", "customhandler", "keyring", "memstore", "storetest"},
	{"audit", "azure", "memvault"},
	{"operation", "revocation"},
	{"tokenvault"},
	{"bulkimport"},
	// Side by side: a transport never reaches an adapter, nor the reverse.
	{
		"azure/blobs", "azure/credential", "azure/insights", "azure/keyvault", "azure/queues", "azure/tables",
		"config", "httpapi", "jobs",
	},
	{""}, // main
}

// testOnly packages are imported by tests, and by nothing that is shipped.
var testOnly = []string{"authn/attacks", "clock/clocktest", "fuzzcheck", "memstore", "memvault", "storetest", "vectors"}

// libraries says which packages may import a library from outside. What is not
// here is not allowed: a new line is a decision, and belongs into
// docs/dependencies.md too. "azure/*" stands for the adapters.
var libraries = map[string][]string{
	"github.com/Azure/azure-sdk-for-go/sdk/azcore":                   {"", "azure", "azure/*"},
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables":            {"azure/tables"},
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys": {"azure/keyvault"},
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob":           {"azure/blobs"},
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2":       {"azure/queues"},
	"github.com/AzureAD/microsoft-authentication-library-for-go":     {"azure/credential"},
	"github.com/c2sp/wycheproof":                                     {"vectors"},
	"github.com/caarlos0/env/v11":                                    {"config"},
	"github.com/go-jose/go-jose/v4":                                  {"authn"},
	"github.com/go-json-experiment/json":                             {"audit", "authn", "azure", "azure/*", "bulkimport", "customhandler", "httpapi", "jobs", "keyring", "operation", "rowseal", "tokenvault"},
	"github.com/google/go-cmp":                                       {"storetest"},
	"github.com/google/uuid":                                         {"audit", "azure/*", "config", "httpapi", "jobs", "operation", "tokenvault"},
	"github.com/hashicorp/golang-lru/v2":                             {"authn", "keyring", "tokenvault"},
	"github.com/labstack/echo/v4":                                    {"", "httpapi", "jobs"},
	"github.com/microsoft/ApplicationInsights-Go":                    {"azure/insights"},
	"github.com/nyaruka/phonenumbers":                                {"dataclass"},
	"golang.org/x/mod":                                               {"audit", "checkpoint", "httpapi"},
	"golang.org/x/net":                                               {"customhandler", "dataclass"},
	"golang.org/x/sync":                                              {"", "audit", "authn", "azure/*", "jobs", "keyring", "operation", "revocation", "tokenvault"},
	"golang.org/x/text":                                              {"dataclass"},
	"golang.org/x/time":                                              {"authn", "azure/*", "httpapi"},
}

// forbiddenDeps must not be linked at all, not even by a library: each opens a
// debugging surface or carries test code into the product.
var forbiddenDeps = []string{"expvar", "net/http/pprof", "plugin", "testing"}

// easyAuth matches the headers by which App Service hands over an identity that
// it verified. Anyone who reaches the handler's port can write them: the handler
// verifies the bearer token itself, and must not even name them.
var easyAuth = regexp.MustCompile(`(?i)x-ms-(client-principal|token-)`)

// listed is what `go list -json` says about a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Module     *struct{ Path string }
}

func TestImportsPointDownwards(t *testing.T) {
	for _, p := range goList(t, "./...") {
		name := short(p.ImportPath)
		layer := layerOf(name)
		if layer < 0 {
			t.Errorf("package %q is in no layer: add it where it belongs", name)
			continue
		}
		for _, imported := range p.Imports {
			if imported != root && !strings.HasPrefix(imported, root+"/") {
				continue
			}
			dep := short(imported)
			if layerOf(dep) >= layer {
				t.Errorf("%q imports %q, which is not below it", name, dep)
			}
			if slices.Contains(testOnly, dep) && !slices.Contains(testOnly, name) {
				t.Errorf("%q imports %q, which is for tests only", name, dep)
			}
		}
	}
}

func TestLibrariesAreAllowed(t *testing.T) {
	for _, p := range goList(t, "./...") {
		name := short(p.ImportPath)
		for _, imported := range p.Imports {
			if !strings.Contains(strings.Split(imported, "/")[0], ".") {
				continue // the standard library, or the module itself
			}
			if !allowed(name, imported) {
				t.Errorf("%q imports %s: not in the table of libraries", name, imported)
			}
		}
		if slices.ContainsFunc(p.Imports, func(i string) bool { return strings.HasPrefix(i, "secureapi/scripts") }) {
			t.Errorf("%q imports from scripts/: the product never needs its tools", name)
		}
	}
}

// TestBinaryLinks looks at all that the binary is made of, libraries' libraries
// included.
func TestBinaryLinks(t *testing.T) {
	modules := map[string]bool{}
	for _, p := range goList(t, "-deps", ".") {
		if slices.Contains(forbiddenDeps, p.ImportPath) {
			t.Errorf("the binary links %s", p.ImportPath)
		}
		if strings.HasPrefix(p.ImportPath, root+"/") && slices.Contains(testOnly, short(p.ImportPath)) {
			t.Errorf("the binary links %s, which is for tests only", p.ImportPath)
		}
		if p.Module != nil && p.Module.Path != "secureapi" {
			modules[p.Module.Path] = true
		}
	}
	want, err := os.ReadFile("testdata/linked-modules.txt")
	if err != nil {
		t.Fatal(err)
	}
	reviewed := strings.Fields(string(want))
	for _, m := range slices.Sorted(maps.Keys(modules)) {
		if !slices.Contains(reviewed, m) {
			t.Errorf("the binary links module %s, which is not in testdata/linked-modules.txt", m)
		}
	}
}

func TestNoEasyAuthHeaders(t *testing.T) {
	var files int
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, text := range stringLiterals(file) {
			if easyAuth.MatchString(text) {
				t.Errorf("%s names the header %q", path, text)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("walked %d files: %v", files, err)
	}
}

func TestEasyAuthPatternFires(t *testing.T) {
	const source = "package x\n" + `const h = "X-Ms-Client-Principal-Id"; var v = r.Header["x-ms-token-aad-id-token"]; var ok = "x-ms-client-request-id"`
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, text := range stringLiterals(file) {
		if easyAuth.MatchString(text) {
			got = append(got, text)
		}
	}
	if want := []string{"X-Ms-Client-Principal-Id", "x-ms-token-aad-id-token"}; !slices.Equal(got, want) {
		t.Errorf("matched %q, want %q", got, want)
	}
}

func stringLiterals(file *ast.File) (texts []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				texts = append(texts, text)
			}
		}
		return true
	})
	return texts
}

func allowed(name, imported string) bool {
	for module, packages := range libraries {
		if imported != module && !strings.HasPrefix(imported, module+"/") {
			continue
		}
		for _, p := range packages {
			if p == name || p == "azure/*" && strings.HasPrefix(name, "azure/") {
				return true
			}
		}
	}
	return false
}

func layerOf(name string) int {
	return slices.IndexFunc(layers, func(layer []string) bool { return slices.Contains(layer, name) })
}

func short(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, root), "/")
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	// Go's test cache knows the files that a test opens, not those that `go list`
	// does. The packages' files are opened by TestNoEasyAuthHeaders.
	if _, err := os.ReadFile("../go.mod"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Standard,Imports,Module"}, args...)...)
	// As shipped: without cgo, for the system that runs it.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list found no package")
	}
	return packages
}
