package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"secureapi/handler/authz"
)

const csvFile = "card,email\n4111111111111111,a@example.com\n4111111111111111,b@example.com\n"

func csvBody(r *http.Request) { r.Header.Set("Content-Type", "text/csv; charset=utf-8") }

// drain does the queue's work as the host would have it done.
func (a *api) drain(t *testing.T) {
	t.Helper()
	for {
		m, ok := a.queue.Take()
		if !ok {
			return
		}
		if err := a.imports.RunMessage(t.Context(), m.Text, 1); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *api) createImport(t *testing.T, writer string) (id string) {
	t.Helper()
	r := a.call(t, "POST", "/api/v1/imports", writer, `{"columns":[{"name":"card","class":"pan","format":"format-preserving"},{"name":"email","class":"email"}]}`)
	var created struct{ ID, Kind, State string }
	if err := json.Unmarshal([]byte(r.body), &created, json.MatchCaseInsensitiveNames(true)); err != nil || r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r.header.Get("Location") != "/api/v1/operations/"+created.ID || created.State != "receiving" || created.Kind != "import" {
		t.Errorf("%s, %s", r.header.Get("Location"), r.body)
	}
	return created.ID
}

func TestAnImportFromUploadToResult(t *testing.T) {
	a := newAPI(t)
	writer := a.token(t, authz.Writer)
	id := a.createImport(t, writer)
	imports := "/api/v1/imports/" + id
	for i, status := range []int{http.StatusCreated, http.StatusOK} {
		r := a.call(t, "PUT", imports+"/parts?number=1", writer, csvFile, csvBody)
		if r.status != status || r.body != `{"number":1,"rows":2,"chunks":1}` {
			t.Errorf("upload %d: %d %s", i, r.status, r.body)
		}
	}
	if r := a.call(t, "PUT", imports+"/parts?number=1", writer, csvFile+"x,y\n", csvBody); r.status != http.StatusConflict || r.decode(t).Code != "part_exists" {
		t.Errorf("other content: %d %s", r.status, r.body)
	}
	if r := a.call(t, "GET", imports+"/result", writer, ""); r.status != http.StatusConflict || r.decode(t).Code != "operation_state" {
		t.Errorf("result too early: %d %s", r.status, r.body)
	}
	if r := a.call(t, "POST", imports+"/commit", writer, `{"parts":2}`); r.status != http.StatusConflict || r.decode(t).Code != "parts_missing" {
		t.Errorf("commit of too many: %d %s", r.status, r.body)
	}
	if r := a.call(t, "POST", imports+"/commit", writer, `{"parts":1}`); r.status != http.StatusAccepted {
		t.Fatalf("commit: %d %s", r.status, r.body)
	}
	a.drain(t)
	r := a.call(t, "GET", "/api/v1/operations/"+id, writer, "")
	const progress = `"rows":{"total":2,"imported":2,"rejected":0,"failed":0},"chunks":{"total":1,"done":1,"failed":0}}`
	if r.status != http.StatusOK || !strings.Contains(r.body, progress) || !strings.Contains(r.body, `"state":"completed"`) {
		t.Errorf("operation: %d %s", r.status, r.body)
	}
	r = a.call(t, "GET", imports+"/result?chunk=1", writer, "")
	lines := strings.Split(r.body, "\n")
	if r.status != http.StatusOK || r.header.Get("Content-Type") != "text/csv; charset=utf-8" || r.header.Get("Link") != "" ||
		len(lines) != 4 || lines[0] != "part,row,card,email,error" || !strings.HasPrefix(lines[2], "1,2,") {
		t.Errorf("result: %d %q %s", r.status, r.header, r.body)
	}
	if strings.Contains(a.out.String(), "a@example.com") {
		t.Error("the log holds a value")
	}
}

func TestBadImportRequestsAreRefused(t *testing.T) {
	a := newAPI(t)
	writer := a.token(t, authz.Writer)
	imports := "/api/v1/imports/" + a.createImport(t, writer)
	none := func(*http.Request) {}
	unknownLength := func(r *http.Request) {
		csvBody(r)
		r.ContentLength = -1
		r.TransferEncoding = []string{"chunked"}
	}
	for name, c := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
		code               string
	}{
		"no number":       {"PUT", imports + "/parts", csvFile, csvBody, 400, "invalid_request"},
		"number 0":        {"PUT", imports + "/parts?number=0", csvFile, csvBody, 400, "invalid_request"},
		"number 01":       {"PUT", imports + "/parts?number=01", csvFile, csvBody, 400, "invalid_request"},
		"number twice":    {"PUT", imports + "/parts?number=1&number=2", csvFile, csvBody, 400, "invalid_request"},
		"another name":    {"PUT", imports + "/parts?number=1&x=2", csvFile, csvBody, 400, "invalid_request"},
		"json":            {"PUT", imports + "/parts?number=1", csvFile, none, 415, "media_type"},
		"length":          {"PUT", imports + "/parts?number=1", csvFile, unknownLength, 411, "length_required"},
		"too large":       {"PUT", imports + "/parts?number=1", strings.Repeat("x", 8<<20+1), csvBody, 413, "body_too_large"},
		"not the columns": {"PUT", imports + "/parts?number=1", "a,b\n1,2\n", csvBody, 400, "invalid_request"},
		"upper-case id":   {"GET", "/api/v1/operations/0F8FAD5B-D9CB-469F-A165-70867728950E", "", none, 404, "not_found"},
		"undashed id":     {"GET", "/api/v1/operations/0f8fad5bd9cb469fa16570867728950e", "", none, 404, "not_found"},
		"no columns":      {"POST", "/api/v1/imports", `{"columns":[]}`, none, 400, "invalid_request"},
		"unknown name":    {"POST", "/api/v1/imports", `{"columns":[{"name":"a","class":"email","zq":1}]}`, none, 400, "invalid_body"},
		"no parts":        {"POST", imports + "/commit", `{}`, none, 400, "invalid_request"},
		"a body":          {"POST", imports + "/pause", `{}`, none, 400, "invalid_body"},
		"pause too early": {"POST", imports + "/pause", "", none, 409, "operation_state"},
		"result chunk":    {"GET", imports + "/result?chunk=x", "", none, 400, "invalid_request"},
	} {
		r := a.call(t, c.method, c.path, writer, c.body, c.change)
		if r.status != c.status || r.decode(t).Code != c.code {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if strings.Contains(r.body, "zq") {
			t.Errorf("%s: the answer repeats the request", name)
		}
	}
	reader := a.token(t, authz.Reader)
	if r := a.call(t, "PUT", imports+"/parts?number=1", reader, csvFile, csvBody); r.status != http.StatusForbidden {
		t.Errorf("a reader's upload: %d", r.status)
	}
}
