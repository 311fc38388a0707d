package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/config"
	"secureapi/handler/rowstore"
	"secureapi/scripts/devstack/entra"
)

// namesTrace keeps what this file sends apart from what others look for.
const namesTrace = "5bd8af3518a145f2b3bdc0c1a1a7c0de"

// declaredNames are the names of package telemetry by their constants, and by
// the kind of item that carries them.
func declaredNames(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "telemetry/names.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no literal", spec.Names[0].Name)
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		kind := "Event"
		if strings.HasPrefix(spec.Names[0].Name, "Metric") {
			kind = "Metric"
		}
		names[value] = kind
		return true
	})
	return names
}

// received are the names of events and metrics that have arrived, with the
// number of items.
func received(t *testing.T) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, raw := range local.Ingest.Items() {
		var i struct {
			Name string `json:"name"`
			Data struct {
				Base struct {
					Name    string `json:"name"`
					Metrics []struct {
						Name string `json:"name"`
					} `json:"metrics"`
				} `json:"baseData"`
			} `json:"data"`
		}
		if err := json.Unmarshal(raw.Raw, &i); err != nil {
			t.Fatal(err)
		}
		switch i.Name[strings.LastIndex(i.Name, ".")+1:] {
		case "Event":
			got["Event "+i.Data.Base.Name]++
		case "Metric":
			got["Metric "+i.Data.Base.Metrics[0].Name]++
		}
	}
	return got
}

// served runs the app's own serve loop until do returns, so that what it sends
// at its start and end is sent.
func served(t *testing.T, do func(a *app, url string)) {
	t.Helper()
	a, server := startApp(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- a.serve(ctx, 0) }()
	do(a, server.URL)
	stop()
	if code := <-done; code == 0 {
		t.Error("the handler ended with 0")
	}
}

// queued is a queue message as the host posts it.
func queued(text string) string {
	return `{"Data":{"message":` + strconv.Quote(strconv.Quote(text)) + `},"Metadata":{"DequeueCount":"1"}}`
}

// must posts to a function and wants the status.
func must(t *testing.T, url, body string, status int) {
	t.Helper()
	if got := post(t, url, namesTrace, "", body); got != status {
		t.Fatalf("%s: status %d, want %d", url[strings.LastIndex(url, "/"):], got, status)
	}
}

// TestEveryDeclaredNameIsSent: an alert on a name that nobody sends is worse
// than none. Each is brought about in the assembled handler and waited for
// behind the telemetry endpoint. Without its line here a new name fails.
func TestEveryDeclaredNameIsSent(t *testing.T) {
	before := received(t)
	served(t, func(a *app, url string) {
		forged := queued(base64.StdEncoding.EncodeToString([]byte("forged")))
		must(t, url+"/ImportChunk", forged, http.StatusOK)      // security.alarm
		must(t, url+"/QuarantineImport", forged, http.StatusOK) // queue.poison
		must(t, url+"/RepairOperations", tick, http.StatusOK)   // queue.messages, queue.age
		must(t, url+"/SealAudit", tick, http.StatusOK)          // audit.unsealed
		for range 2000 {                                        // requests.untold: more at once than are told one by one
			if status := post(t, url+"/api/v1/tokens", namesTrace, "", `{}`); status != http.StatusUnauthorized {
				t.Fatalf("without a token: status %d", status)
			}
		}
		writer, err := local.Entra.PersonaToken("writer", entra.Grant{})
		if err != nil {
			t.Fatal(err)
		}
		if status := post(t, url+"/api/v1/tokens", namesTrace, writer, `{"class":"email","value":"names@example.com","subject":"customer-names"}`); status != http.StatusCreated {
			t.Fatalf("tokenize: status %d", status)
		}
		measureOnce(t, a) // cache.hits
		breakAuditLog(t, a, func() { must(t, url+"/SealAudit", tick, http.StatusInternalServerError) })
		a.keyringRefused(t.Context()) // as TestARefusedKeyringIsInTheAuditLog brings about
	})
	a, _ := startApp(t)
	for a.recorder.insights.Dropped() == 0 { // telemetry.dropped: more than the queue takes
		a.recorder.insights.Event(t.Context(), "noise")
	}
	// The process itself gives up after telemetryFlush, on a busy machine before
	// the count has left: here it may take as long as it needs.
	if err := a.recorder.insights.Close(t.Context()); err == nil {
		t.Error("telemetry was lost, and closing does not say so")
	}
	a.close(t.Context())

	got := received(t)
	declared := declaredNames(t)
	for name, kind := range declared {
		if got[kind+" "+name] <= before[kind+" "+name] {
			t.Errorf("no %s %q has arrived", kind, name)
		}
	}
	if len(declared) < 10 {
		t.Errorf("%d names are declared: the parser misses some", len(declared))
	}
}

// breakAuditLog alters an entry that no checkpoint covers, and mends it.
func breakAuditLog(t *testing.T, a *app, do func()) {
	t.Helper()
	c, err := config.Load(handlerEnv(local))
	if err != nil {
		t.Fatal(err)
	}
	all, err := newStores(c, local.Credential(), a.transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = a.audit.Deny(t.Context(), audit.Entry{Action: "test", Actor: audit.ActorOf(authz.System("test", "", ""))})
	if err != nil {
		t.Fatal(err)
	}
	entry := lastEntry(t, all.audit)
	entry.Body[len(entry.Body)/2] ^= 1
	put := func() {
		versions, err := all.audit.Apply(t.Context(), entry.Partition, []rowstore.Mutation{{Action: rowstore.Replace, Row: entry}})
		if err != nil {
			t.Fatal(err)
		}
		entry.Version = versions[0]
	}
	put()
	do()
	entry.Body[len(entry.Body)/2] ^= 1
	put()
}

// lastEntry is the newest entry of the stream that was opened last.
func lastEntry(t *testing.T, store audit.Store) rowstore.Row {
	t.Helper()
	last := func(partition string) rowstore.Row {
		var newest rowstore.Row
		for row, err := range rowstore.All(t.Context(), store, partition, rowstore.Range{From: "0", To: "f", Limit: rowstore.MaxPage}) {
			if err != nil {
				t.Fatal(err)
			}
			newest = row
		}
		return newest
	}
	entry := last(last("streams").Key)
	if !strings.HasPrefix(entry.Key, "e|") {
		t.Fatalf("no entry in the newest stream: %q", entry.Key)
	}
	return entry
}

// measureOnce has the app tell the share of cache hits.
func measureOnce(t *testing.T, a *app) {
	t.Helper()
	share, sent := a.cacheHits, false
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	a.cacheHits = func() (float64, bool) {
		value, ok := share()
		if sent = ok; ok {
			stop()
		}
		return value, ok
	}
	a.measure(ctx, time.Millisecond)
	if !sent {
		t.Fatal("no share of cache hits")
	}
}
