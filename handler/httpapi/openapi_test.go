package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"secureapi/handler/httpapi"
)

// contract is docs/openapi.yaml, read once: every answer of this package's tests
// is held against it.
var contract = sync.OnceValues(func() (*documented, error) {
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		return nil, fmt.Errorf("reading the contract: %v", errs)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, err
	}
	return &documented{v, model.Model}, nil
})

type documented struct {
	validator.Validator
	model v3.Document
}

// knows reports whether the contract has the request's operation.
func (d *documented) knows(method, path string) bool {
	for template, item := range d.model.Paths.PathItems.FromOldest() {
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(template), `\{id\}`, "[0-9a-f-]{36}") + "$"
		if regexp.MustCompile(pattern).MatchString(path) {
			_, has := item.GetOperations().Get(strings.ToLower(method))
			return has
		}
	}
	return false
}

// checkContract fails the test where the answer, or a request that was accepted,
// is not as the contract says.
func checkContract(t *testing.T, r *http.Request, body string, got answer) {
	t.Helper()
	c, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	if !c.knows(r.Method, r.URL.EscapedPath()) {
		return
	}
	response := &http.Response{StatusCode: got.status, Header: got.header, Body: io.NopCloser(strings.NewReader(got.body))}
	ok, problems := c.ValidateHttpResponse(r, response)
	if !ok {
		for _, p := range problems {
			t.Errorf("%s %s: the answer %d is not of the contract: %s %s %v", r.Method, r.URL.Path, got.status, p.Message, p.Reason, p.SchemaValidationErrors)
		}
	}
	if got.status >= http.StatusBadRequest || r.Header.Get("Content-Type") == "" {
		return
	}
	asked := r.Clone(t.Context())
	asked.Body = io.NopCloser(bytes.NewReader([]byte(body)))
	if ok, problems := c.ValidateHttpRequest(asked); !ok {
		for _, p := range problems {
			t.Errorf("%s %s: accepted, but not of the contract: %s %s %v", r.Method, r.URL.Path, p.Message, p.Reason, p.SchemaValidationErrors)
		}
	}
}

// TestTheContractIsValid holds the document against the schema of OpenAPI 3.1.
func TestTheContractIsValid(t *testing.T) {
	c, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	if ok, problems := c.ValidateDocument(); !ok {
		for _, p := range problems {
			t.Errorf("%s %s %v", p.Message, p.Reason, p.SchemaValidationErrors)
		}
	}
}

// TestTheContractIsHeld: what is not in the document is found.
func TestTheContractIsHeld(t *testing.T) {
	c, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]bool{
		`{"token":"tok_eml_0","class":"email"}`:            true,
		`{"token":"tok_eml_0","class":"email","value":""}`: false,
		`{"token":"tok_eml_0","class":"e-mail"}`:           false,
		`{"token":"tok_eml_0"}`:                            false,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost/api/v1/tokens", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response := &http.Response{
			StatusCode: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
		}
		if got, problems := c.ValidateHttpResponse(r, response); got != want {
			t.Errorf("%s: %t, want %t: %v", body, got, want, problems)
		}
	}
}

// TestTheContractHasEveryRoute: operations, routes and functions are one list.
func TestTheContractHasEveryRoute(t *testing.T) {
	c, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			route := strings.ToUpper(method) + " " + strings.ReplaceAll(path, "{id}", "{id:guid}")
			listed = append(listed, route)
			if declared := functionRoute(t, operation.OperationId); declared != route {
				t.Errorf("%s is operation %s, whose function declares %q", route, operation.OperationId, declared)
			}
		}
	}
	served := httpapi.Routes()
	slices.Sort(listed)
	slices.Sort(served)
	if !slices.Equal(listed, served) {
		t.Errorf("the contract has\n%s\nthe handler serves\n%s", strings.Join(listed, "\n"), strings.Join(served, "\n"))
	}
}

// functionRoute is the route of functions/<name>/function.json.
func functionRoute(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "functions", filepath.Base(name), "function.json"))
	if err != nil {
		t.Error(err)
		return ""
	}
	var f struct {
		Bindings []struct {
			Route   string   `json:"route"`
			Methods []string `json:"methods"`
		} `json:"bindings"`
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return strings.ToUpper(f.Bindings[0].Methods[0]) + " /api/" + f.Bindings[0].Route
}
