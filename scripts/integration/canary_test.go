package integration

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/go-json-experiment/json"

	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/stack"
)

// TestNoValueIsFoundAnywhere sends values of every class through every path,
// the refused ones included, ends the system, and searches all that is left:
// storage on disk, every process' output, telemetry and the state folder. That
// the search would find one is shown by values planted in each of the places.
func TestNoValueIsFoundAnywhere(t *testing.T) {
	for _, mode := range []host.Mode{host.Proxying, host.Forwarding} {
		t.Run(string(mode), func(t *testing.T) {
			a := startApp(t, mode, func(o *stack.Options) { o.InMemory = false })
			all := marks(t)
			a.sendThroughEveryPath(t, all)
			controls := a.plant(t)
			// What telemetry still holds is sent when the handler is told to end;
			// the host kills it instead, so that it is given the time before.
			a.waitForTelemetry(t)
			if err := a.Stop(); err != nil {
				t.Fatal(err)
			}
			plantInFiles(t, a.dir, controls)
			left := readAll(t, a.dir)
			for _, m := range all {
				for _, value := range slices.Compact([]string{m.raw, m.canonical}) {
					for form, b := range forms(value) {
						if files := left.find(b); len(files) > 0 {
							t.Errorf("a value of class %s stands as %s in %v", m.name, form, files)
						}
					}
				}
			}
			left.checkControls(t, a.dir, controls)
		})
	}
}

// sendThroughEveryPath uses each value wherever a caller can put one.
func (a *app) sendThroughEveryPath(t *testing.T, all map[string]mark) {
	t.Helper()
	var tokens []string
	var items []any
	for class, m := range all {
		tokens = append(tokens, a.tokenize(t, class, m.raw))
		items = append(items, map[string]any{"class": class, "value": m.raw, "subject": "subject-" + class, "reference": m.raw})
	}
	a.call(t, "writer", http.MethodPost, "/api/v1/tokens/batch", map[string]any{"items": items}).want(t, http.StatusOK)
	a.call(t, "reader", http.MethodPost, "/api/v1/tokens/inspect", map[string]any{"tokens": tokens}).want(t, http.StatusOK)
	a.reveal(t, tokens...).want(t, http.StatusOK)
	for _, m := range all {
		a.misplace(t, m, tokens[0])
	}
	a.importAll(t, all)
}

// misplace puts a value where it does not belong. No answer repeats it.
func (a *app) misplace(t *testing.T, m mark, token string) {
	t.Helper()
	quoted, err := json.Marshal(m.raw)
	if err != nil {
		t.Fatal(err)
	}
	value, writer, revealer := string(quoted), a.token(t, "writer"), a.token(t, "revealer")
	for name, r := range map[string]request{
		"as class":        {token: writer, target: "/api/v1/tokens", body: `{"class":` + value + `,"value":"x"}`},
		"as member":       {token: writer, target: "/api/v1/tokens", body: `{` + value + `:1}`},
		"as number":       {token: writer, target: "/api/v1/tokens", body: `{"class":"email","value":[` + value + `]}`},
		"with junk":       {token: writer, target: "/api/v1/tokens", body: `{"class":"ssn","value":"x` + value[1:] + `}`},
		"cut off":         {token: writer, target: "/api/v1/tokens", body: `{"class":"text","value":` + value[:len(value)-1]},
		"as text":         {token: writer, target: "/api/v1/tokens", body: m.raw, contentType: "text/plain"},
		"as subject":      {token: writer, target: "/api/v1/tokens", body: `{"class":"text","value":"x","subject":` + value + `}`},
		"as format":       {token: writer, target: "/api/v1/tokens", body: `{"class":"text","value":"x","format":` + value + `}`},
		"without token":   {target: "/api/v1/tokens", body: `{"class":"text","value":` + value + `}`},
		"as bearer":       {token: url.QueryEscape(m.canonical), target: "/api/v1/tokens", body: `{}`},
		"as token":        {token: revealer, target: "/api/v1/tokens/reveal", body: `{"tokens":[` + value + `],"purpose":"fraud-review","reason":"CASE-1"}`},
		"as purpose":      {token: revealer, target: "/api/v1/tokens/reveal", body: `{"tokens":["` + token + `"],"purpose":` + value + `,"reason":"CASE-1"}`},
		"as reason":       {token: revealer, target: "/api/v1/tokens/reveal", body: `{"tokens":["` + token + `"],"purpose":"fraud-review","reason":` + value + `}`},
		"as action":       {token: a.token(t, "auditor"), method: "GET", target: "/api/v1/audit/events?action=" + url.QueryEscape(m.raw)},
		"as cursor":       {token: a.token(t, "auditor"), method: "GET", target: "/api/v1/audit/events?cursor=" + url.QueryEscape(m.raw)},
		"in the query":    {token: writer, target: "/api/v1/tokens?v=" + url.QueryEscape(m.raw), body: `{}`},
		"in the path":     {token: writer, target: "/api/v1/tokens/" + url.PathEscape(m.raw), body: `{}`, direct: true},
		"as key":          {token: writer, target: "/api/v1/tokens", body: `{"class":"text","value":"x"}`, header: map[string]string{"Idempotency-Key": strings.ReplaceAll(m.canonical, " ", "")}},
		"as trace":        {token: writer, target: "/api/v1/tokens", body: `{}`, header: map[string]string{"Traceparent": "00-" + m.canonical}},
		"as column":       {token: writer, target: "/api/v1/imports", body: `{"columns":[{"name":` + value + `,"class":"email"}]}`},
		"as column class": {token: writer, target: "/api/v1/imports", body: `{"columns":[{"name":"a","class":` + value + `}]}`},
	} {
		if r.method == "" {
			r.method = http.MethodPost
		}
		got := a.do(t, r)
		if got.status >= http.StatusInternalServerError {
			t.Errorf("%s %s: status %d", m.name, name, got.status)
		}
		if strings.Contains(got.body, m.canonical) || strings.Contains(got.body, m.raw) {
			t.Errorf("%s %s: the answer repeats the value", m.name, name)
		}
	}
}

// importAll imports the values, a row that is refused and a malformed part.
func (a *app) importAll(t *testing.T, all map[string]mark) {
	t.Helper()
	var columns []any
	var header, row, wrong []string
	for class, m := range all {
		columns = append(columns, map[string]any{"name": class, "class": class})
		header, row, wrong = append(header, class), append(row, m.raw), append(wrong, "!"+m.raw+"!")
	}
	id := a.call(t, "writer", http.MethodPost, "/api/v1/imports", map[string]any{"columns": columns}).want(t, http.StatusCreated).decode(t).ID
	put := func(number int, lines ...[]string) answer {
		var b strings.Builder
		for _, line := range append([][]string{header}, lines...) {
			b.WriteString(strings.Join(line, ",") + "\n")
		}
		return a.do(t, request{
			method: http.MethodPut, target: fmt.Sprintf("/api/v1/imports/%s/parts?number=%d", id, number),
			token: a.token(t, "writer"), body: b.String(), contentType: "text/csv",
		})
	}
	put(1, row, wrong).want(t, http.StatusCreated)
	put(2, row[1:]).want(t, http.StatusBadRequest)
	put(2, row, append(slices.Clone(row[1:]), `"`)).want(t, http.StatusBadRequest)
	put(1, wrong).want(t, http.StatusConflict)
	a.call(t, "writer", http.MethodPost, "/api/v1/imports/"+id+"/commit", map[string]int{"parts": 1}).want(t, http.StatusAccepted)
	a.eventually(t, "the import to complete", func() bool {
		return strings.Contains(a.call(t, "writer", http.MethodGet, "/api/v1/operations/"+id, nil).want(t, http.StatusOK).body, `"completed"`)
	})
	result := a.call(t, "writer", http.MethodGet, "/api/v1/imports/"+id+"/result", nil).want(t, http.StatusOK)
	for _, m := range all {
		if strings.Contains(result.body, m.canonical) || strings.Contains(result.body, m.raw) {
			t.Errorf("the result of the import holds the value of class %s", m.name)
		}
	}
}

func (a *app) eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if met() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// waitForTelemetry waits until what was done last has reached the sink.
func (a *app) waitForTelemetry(t *testing.T) {
	t.Helper()
	file := filepath.Join(a.dir, "logs", "telemetry.ndjson")
	a.eventually(t, "telemetry of the import", func() bool {
		content, err := os.ReadFile(file)
		return err == nil && bytes.Contains(content, []byte("/api/v1/imports/:id/result"))
	})
}

// plant writes a control value of its own into a table, a queue and a blob, as
// a handler that leaks would: as text in every form, and inside binary content.
func (a *app) plant(t *testing.T) map[string]string {
	t.Helper()
	controls := map[string]string{}
	control := func(place string) string {
		controls[place] = "Zqü " + place + marks(t)["text"].raw
		return controls[place]
	}
	ctx, options := t.Context(), a.ClientOptions()
	for _, account := range []string{a.DataAccount(), stack.AuditAccount} {
		name := map[string]string{a.DataAccount(): "records", stack.AuditAccount: "audit"}[account]
		table, err := aztables.NewClient(stack.Endpoint(account, "table")+"/"+name, a.Credential(), &aztables.ClientOptions{ClientOptions: options})
		must(t, err)
		value := control("table " + name)
		entity := aztables.EDMEntity{
			Entity:     aztables.Entity{PartitionKey: "control", RowKey: "control"},
			Properties: map[string]any{"Text": textForms(value), "Binary": aztables.EDMBinary("xx" + value)},
		}
		b, err := json.Marshal(entity)
		must(t, err)
		_, err = table.UpsertEntity(ctx, b, nil)
		must(t, err)
	}
	queue, err := azqueue.NewQueueClient(stack.Endpoint(a.DataAccount(), "queue")+"/imports-poison", a.Credential(), &azqueue.ClientOptions{ClientOptions: options})
	must(t, err)
	delay := int32(3600)
	_, err = queue.EnqueueMessage(ctx, textForms(control("queue")), &azqueue.EnqueueMessageOptions{VisibilityTimeout: &delay})
	must(t, err)
	blob, err := blockblob.NewClient(stack.Endpoint(a.DataAccount(), "blob")+"/imports/control", a.Credential(), &blockblob.ClientOptions{ClientOptions: options})
	must(t, err)
	_, err = blob.Upload(ctx, streaming.NopCloser(bytes.NewReader(anyForms(control("blob")))), nil)
	must(t, err)
	return controls
}

// textForms are the forms of a value that are text.
func textForms(value string) string {
	var b strings.Builder
	for name, form := range forms(value) {
		if !binaryForm(name) && !strings.HasPrefix(name, "base64") || name == "base64+0" {
			b.Write(form)
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func anyForms(value string) []byte {
	var b bytes.Buffer
	for _, form := range forms(value) {
		b.Write(form)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func binaryForm(name string) bool {
	return slices.Contains([]string{"UTF-16LE", "SHA-256", "SHA-1", "MD5"}, name)
}

// plantInFiles adds a control to every file of the state folder that is text.
func plantInFiles(t *testing.T, dir string, controls map[string]string) {
	t.Helper()
	for path := range readAll(t, dir) {
		if strings.HasPrefix(path, filepath.Join(dir, "azurite")) {
			continue
		}
		controls[path] = "Zqü" + marks(t)["text"].raw
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = file.Write(anyForms(controls[path]))
		must(t, err)
		must(t, file.Close())
	}
	for _, name := range []string{"host.log", "azurite.log", "entra.log", "vault.log", "identity.log", "ingest.log", "telemetry.ndjson"} {
		if _, planted := controls[filepath.Join(dir, "logs", name)]; !planted {
			t.Errorf("the system left no %s", name)
		}
	}
}

// checkControls wants every control found, in every form that was planted.
func (h haystack) checkControls(t *testing.T, dir string, controls map[string]string) {
	t.Helper()
	for place, value := range controls {
		for name, form := range forms(value) {
			text := !filepath.IsAbs(place) && place != "blob"
			if text && (binaryForm(name) || strings.HasPrefix(name, "base64url")) {
				continue
			}
			if text && place == "queue" && strings.HasPrefix(name, "base64") && name != "base64+0" {
				continue
			}
			// In a table two bytes stand before the value inside binary content.
			if text && strings.HasPrefix(place, "table") && name == "base64+1" {
				continue
			}
			files := h.find(form)
			in := dir
			if filepath.IsAbs(place) {
				in = place
			}
			if !slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, in) }) {
				t.Errorf("the control in %s was not found as %s", place, name)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logged reports whether a process' log holds a text.
func (a *app) logged(t *testing.T, log, text string) bool {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(a.dir, "logs", log))
	must(t, err)
	return bytes.Contains(content, []byte(text))
}
