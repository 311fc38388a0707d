package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "secureapi/"

// required lists what reads bytes from outside, and the target that fuzzes it. A
// target that is renamed or removed is missed here; a new parser is a line here.
var required = []struct{ parser, pkg, target string }{
	{"Authorization header", "handler/authn", "FuzzBearer"},
	{"access token", "handler/authn", "FuzzToken"},
	{"signed header and claims", "handler/authn", "FuzzDifferential"},
	{"claims", "handler/authn", "FuzzClaims"},
	{"mutated tokens beside two libraries", "handler/authn", "FuzzVerifierAgainstLibraries"},
	{"key set of the authority", "handler/authn", "FuzzKeySet"},
	{"JSON bodies", "handler/httpapi", "FuzzBody"},
	{"Content-Type", "handler/httpapi", "FuzzContentType"},
	{"raw path", "handler/httpapi", "FuzzPath"},
	{"query strings", "handler/httpapi", "FuzzQuery"},
	{"paging cursor", "handler/httpapi", "FuzzCursor"},
	{"Idempotency-Key", "handler/httpapi", "FuzzIdempotencyKey"},
	{"traceparent", "handler/telemetry", "FuzzTraceParent"},
	{"queue and timer payloads", "handler/customhandler", "FuzzDecode"},
	{"sealed queue message", "handler/operation", "FuzzMessage"},
	{"CSV file of an import", "handler/bulkimport", "FuzzFile"},
	{"rows of a chunk", "handler/bulkimport", "FuzzChunkRows"},
	{"values of every class", "handler/dataclass", "FuzzParse"},
	{"tokens", "handler/dataclass", "FuzzParseToken"},
	{"detectors", "handler/dataclass", "FuzzDetects"},
	{"envelope", "handler/envelope", "FuzzOpen"},
	{"envelope header", "handler/envelope", "FuzzID"},
	{"sealed row", "handler/rowseal", "FuzzOpen"},
	{"document of a sealed row", "handler/rowseal", "FuzzDocument"},
	{"keyring row", "handler/keyring", "FuzzParseRow"},
	{"keyring document", "handler/keyring", "FuzzDocument"},
	{"wrapped subject key", "handler/keyring", "FuzzOpenSubjectKey"},
	{"signed checkpoint", "handler/checkpoint", "FuzzParse"},
	{"checkpoint, head and registration", "handler/audit", "FuzzCheckpoint"},
	{"audit entry", "handler/audit", "FuzzEntry"},
	{"table entity", "handler/azure/tables", "FuzzDecodeEntity"},
	{"answer to a transaction", "handler/azure/tables", "FuzzReadAnswer"},
	{"key id of the vault", "handler/azure/keyvault", "FuzzKeyID"},
	{"error of the authority", "handler/azure/credential", "FuzzAuthorityCode"},
	{"connection string", "handler/azure/insights", "FuzzParseConnection"},
	{"WWW-Authenticate", "scripts/vaultctl/challenge", "FuzzClaims"},
	{"answer of the ingestion service", "handler/azure/insights", "FuzzAnswer"},
}

// elsewhere are packages that decode, and why no target stands beside them.
var elsewhere = map[string]string{
	"handler/azure":   "the local stack's file, which a developer's own tool writes and Azure refuses",
	"handler/vectors": "test vectors, for tests only",
}

func TestEveryParserHasItsTarget(t *testing.T) {
	t.Chdir("../..")
	found, err := targets(t.Context())
	if err != nil || len(found) < len(required) {
		t.Fatalf("%d targets, %v", len(found), err)
	}
	for _, r := range required {
		if !slices.Contains(found, target{module + r.pkg, r.target}) {
			t.Errorf("%s: %s has no %s", r.parser, r.pkg, r.target)
		}
	}
}

// decoders are the calls that turn bytes into something else, by the name behind
// the dot: packages' functions and decoders' methods alike.
var decoders = []string{
	"Unmarshal", "UnmarshalRead", "UnmarshalDecode", "NewDecoder", "DecodeString", "AppendDecode", "ParseQuery", "ParseMediaType",
	"ParseCertificate", "ParsePKCS8PrivateKey", "ParsePKIXPublicKey",
}

// readers are functions whose name alone is too common.
var readers = map[string]string{"encoding/csv": "NewReader", "compress/gzip": "NewReader", "encoding/pem": "Decode", "encoding/xml": "Unmarshal"}

// TestEveryPackageThatDecodesIsFuzzed: a package that begins to decode something
// fails until it has a target of its own.
func TestEveryPackageThatDecodesIsFuzzed(t *testing.T) {
	t.Chdir("../..")
	decoding, err := decodingPackages(".")
	if err != nil {
		t.Fatal(err)
	}
	found, err := targets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(decoding) < 10 {
		t.Fatalf("only %v decode", slices.Sorted(maps.Keys(decoding)))
	}
	fuzzed := map[string]bool{}
	for _, f := range found {
		fuzzed[strings.TrimPrefix(f.pkg, module)] = true
	}
	for _, pkg := range slices.Sorted(maps.Keys(decoding)) {
		if !fuzzed[pkg] && elsewhere[pkg] == "" {
			t.Errorf("%s calls %s and has no fuzz target: write one, and a line in the list above", pkg, decoding[pkg])
		}
	}
	for pkg := range elsewhere {
		if decoding[pkg] == "" || fuzzed[pkg] {
			t.Errorf("%s needs no exception", pkg)
		}
	}
}

func TestDecodersAreSeen(t *testing.T) {
	for source, want := range map[string]string{
		`import "encoding/json"; func f(b []byte) { json.Unmarshal(b, nil) }`:                         "Unmarshal",
		`import c "encoding/csv"; func f() { c.NewReader(nil) }`:                                      "NewReader",
		`import "encoding/base64"; func f() { base64.RawURLEncoding.Strict().DecodeString("") }`:      "DecodeString",
		`import "bytes"; func f() { bytes.NewReader(nil) }`:                                           "",
		`import "encoding/json"; func f() { json.Marshal(nil) } // json.Unmarshal in a comment alone`: "",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := decodes(file); got != want {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
}

// decodingPackages gives each package of the handler that decodes, with one of
// the calls.
func decodingPackages(root string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "handler"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if call := decodes(file); call != "" {
			rel, err := filepath.Rel(root, filepath.Dir(name))
			if err != nil {
				return err
			}
			found[filepath.ToSlash(rel)] = call
		}
		return nil
	})
	return found, err
}

func decodes(file *ast.File) (call string) {
	imported := map[string]string{}
	for _, spec := range file.Imports {
		if from, err := strconv.Unquote(spec.Path.Value); err == nil {
			name := path.Base(from)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			imported[name] = from
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if slices.Contains(decoders, selector.Sel.Name) {
			call = selector.Sel.Name
		}
		if on, ok := selector.X.(*ast.Ident); ok && readers[imported[on.Name]] == selector.Sel.Name {
			call = selector.Sel.Name
		}
		return true
	})
	return call
}
