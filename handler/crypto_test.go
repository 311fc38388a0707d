package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// use is a call of a cryptographic function by a package.
type use struct{ pkg, symbol string }

// passive are types, constants and errors, which do nothing by themselves.
var passive = []string{
	"crypto.PrivateKey", "crypto/aes.BlockSize", "crypto/cipher.AEAD", "crypto/cipher.StreamReader", "crypto/ecdsa.PublicKey", "crypto/rsa.PrivateKey",
	"crypto/rsa.PublicKey", "crypto/sha256.Size", "crypto/tls.CertificateVerificationError", "crypto/tls.VersionTLS12", "crypto/x509.CertPool",
	"crypto/x509.Certificate", "crypto/x509.UnknownAuthorityError", "hash.Hash",
}

// remote are the calls whose algorithm runs in Key Vault or in MSAL.
var remote = regexp.MustCompile(`^(azkeys\.(Encryption|Signature)Algorithm[A-Z0-9]+[A-Za-z0-9]*|confidential\.NewCred\w+)$`)

// TestTheInventoryIsTheCode holds docs/crypto.md against the source, both ways.
func TestTheInventoryIsTheCode(t *testing.T) {
	text, err := os.ReadFile("../docs/crypto.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := inventory(t, string(text))
	calls := map[use]bool{}
	for _, root := range []string{"handler", "scripts/vaultctl"} {
		for c := range cryptographicCalls(t, "..", root) {
			calls[c] = true
		}
	}
	if len(rows) < 10 || len(calls) < 20 {
		t.Fatalf("%d rows, %d calls", len(rows), len(calls))
	}
	for c := range calls {
		if !slices.ContainsFunc(rows, func(r row) bool { return slices.Contains(r.packages, c.pkg) && slices.Contains(r.symbols, c.symbol) }) {
			t.Errorf("%s calls %s, which has no row in docs/crypto.md (section Uses)", c.pkg, c.symbol)
		}
	}
	for _, r := range rows {
		for _, symbol := range r.symbols {
			if !slices.ContainsFunc(r.packages, func(pkg string) bool { return calls[use{pkg, symbol}] }) {
				t.Errorf("%q: no package of its row calls %s", r.name, symbol)
			}
		}
		for _, pkg := range r.packages {
			if !slices.ContainsFunc(r.symbols, func(symbol string) bool { return calls[use{pkg, symbol}] }) {
				t.Errorf("%q: %s calls nothing of its row", r.name, pkg)
			}
		}
	}
}

// row is a line of the section Uses.
type row struct {
	name              string
	packages, symbols []string
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

func inventory(t *testing.T, text string) (rows []row) {
	t.Helper()
	_, section, found := strings.Cut(text, "\n## Uses\n")
	if !found {
		t.Fatal("no section Uses")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.SplitSeq(section, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| use |") || strings.HasPrefix(line, "| ---") {
			continue
		}
		if len(cells) != 6 || slices.Contains(cells, "") {
			t.Errorf("a row of %d cells: %s", len(cells), line)
			continue
		}
		r := row{name: cells[0]}
		for _, m := range codeSpan.FindAllStringSubmatch(cells[2], -1) {
			if strings.HasPrefix(m[1], "handler/") || strings.HasPrefix(m[1], "scripts/") {
				r.packages = append(r.packages, m[1])
			} else {
				r.symbols = append(r.symbols, m[1])
			}
		}
		if len(r.packages) == 0 || len(r.symbols) == 0 {
			t.Errorf("%q names no code", r.name)
		}
		rows = append(rows, r)
	}
	return rows
}

// cryptographicCalls reads every file that is shipped.
func cryptographicCalls(t *testing.T, base, root string) map[use]bool {
	t.Helper()
	calls := map[use]bool{}
	err := filepath.WalkDir(filepath.Join(base, root), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(base, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		if slices.Contains(testOnly, strings.TrimPrefix(pkg, "handler/")) {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, symbol := range cryptographicSymbols(file) {
			calls[use{pkg, symbol}] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

// cryptographicSymbols are those of the standard library's cryptography, of what
// could stand in for it, and of the services that compute for us.
func cryptographicSymbols(file *ast.File) []string {
	imported := map[string]string{}
	for _, spec := range file.Imports {
		from, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(from)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		switch {
		case from == "crypto", strings.HasPrefix(from, "crypto/"), from == "hash", strings.HasPrefix(from, "hash/"),
			strings.HasPrefix(from, "golang.org/x/crypto/"), strings.HasPrefix(from, "math/rand"):
			imported[name] = from
		case strings.HasSuffix(from, "/azkeys"), strings.HasSuffix(from, "/apps/confidential"):
			imported[name] = path.Base(from)
		}
	}
	found := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		on, ok := selector.X.(*ast.Ident)
		if !ok || imported[on.Name] == "" {
			return true
		}
		symbol := imported[on.Name] + "." + selector.Sel.Name
		library := strings.HasPrefix(symbol, "azkeys.") || strings.HasPrefix(symbol, "confidential.")
		switch {
		case library && !remote.MatchString(symbol), slices.Contains(passive, symbol), strings.HasPrefix(symbol, "crypto/tls.TLS_"):
		default:
			found[symbol] = true
		}
		return true
	})
	return slices.Sorted(maps.Keys(found))
}

func TestCryptographicCallsAreSeen(t *testing.T) {
	const source = `package x
import (
	"crypto/md5"
	"crypto/sha256"
	weak "math/rand/v2"
	"golang.org/x/crypto/blake2b"
	"strings"
)
var a, b, c, d, e = md5.New(), sha256.Size, weak.Int(), blake2b.New256, strings.ToLower`
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"crypto/md5.New", "golang.org/x/crypto/blake2b.New256", "math/rand/v2.Int"}
	if got := cryptographicSymbols(file); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
