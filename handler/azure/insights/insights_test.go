package insights

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/telemetry"
)

// endpoint plays the ingestion endpoint; answer decides each request.
type endpoint struct {
	mu       sync.Mutex
	requests int
	items    []map[string]any
	answer   func(request int, r *http.Request) (status int, header http.Header, body string)
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	payload, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.requests++
	n := e.requests
	e.mu.Unlock()
	status, header, body := http.StatusOK, http.Header{}, "{}"
	if e.answer != nil {
		status, header, body = e.answer(n, r)
	}
	if status == 0 { // hangs
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if status < 300 {
		e.take(payload)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (e *endpoint) take(payload []byte) {
	reader, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		panic(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		panic(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for line := range bytes.Lines(text) {
		var item map[string]any
		if err := json.Unmarshal(line, &item); err != nil {
			panic(err)
		}
		e.items = append(e.items, item)
	}
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.items)
}

func start(t *testing.T, e *endpoint, credential azcore.TokenCredential) *Client {
	t.Helper()
	c, err := New(Options{
		Connection: Connection{key, "https://host.example.com/v2.1/track", credential != nil, ""}, Role: "secureapi", Instance: "one",
		Credential: credential, HTTP: &http.Client{Transport: e, Timeout: 10 * time.Second}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closeWithin(c *Client, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return c.Close(ctx)
}

func dig(item map[string]any, path ...string) any {
	var value any = item
	for _, name := range path {
		fields, _ := value.(map[string]any)
		value = fields[name]
	}
	return value
}

type credentialFunc func() (string, error)

func (f credentialFunc) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://monitor.azure.com/.default" {
		return azcore.AccessToken{}, fmt.Errorf("scopes %q", o.Scopes)
	}
	token, err := f()
	return azcore.AccessToken{Token: token}, err
}

func TestItems(t *testing.T) {
	e := &endpoint{answer: func(_ int, r *http.Request) (int, http.Header, string) {
		if r.URL.String() != "https://host.example.com/v2.1/track" || r.Header.Get("Authorization") != "Bearer the-token" ||
			r.Header.Get("Content-Type") != "application/x-json-stream" || r.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s with %v", r.URL, r.Header)
		}
		return 200, nil, "{}"
	}}
	c := start(t, e, credentialFunc(func() (string, error) { return "the-token", nil }))
	ctx := telemetry.WithTrace(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c.Request(ctx, telemetry.Request{
		ID: "the-id", Method: "POST", Route: "/api/v1/tokens?pan=4111", Status: 422, Reason: "idempotency_conflict",
		Tenant: "t", Caller: "c", Client: netip.MustParseAddr("192.0.2.7"), Started: at, Duration: 1500 * time.Millisecond,
	})
	c.Dependency(ctx, telemetry.Dependency{
		Service: "Azure table", Target: "devdata.table.core.windows.net", Name: "POST $batch", Status: 503, Tries: 4, Failed: true,
		Started: at, Duration: time.Second,
	})
	c.Exception(ctx, telemetry.Exception{Name: "panic", Type: "*runtime.TypeAssertionError"})
	c.Event(ctx, telemetry.EventAlarm)
	c.Metric(ctx, telemetry.MetricQueueAge, 1.5)
	c.Metric(ctx, telemetry.MetricQueueAge, math.NaN())
	if err := closeWithin(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	if len(e.items) != 5 {
		t.Fatalf("%d items", len(e.items))
	}
	span := telemetry.SpanID(ctx)
	for _, want := range []struct {
		item  int
		path  []string
		value any
	}{
		{0, []string{"iKey"}, key},
		{0, []string{"time"}, "2026-01-02T03:04:05Z"},
		{0, []string{"tags", "ai.location.ip"}, "192.0.2.7"},
		{0, []string{"data", "baseType"}, "RequestData"},
		{0, []string{"data", "baseData", "id"}, span},
		{0, []string{"data", "baseData", "name"}, "POST /api/v1/tokens"},
		{0, []string{"data", "baseData", "url"}, "/api/v1/tokens"},
		{0, []string{"data", "baseData", "responseCode"}, "422"},
		{0, []string{"data", "baseData", "success"}, true},
		{0, []string{"data", "baseData", "duration"}, "0.00:00:01.5000000"},
		{0, []string{"data", "baseData", "properties", "reason"}, "idempotency_conflict"},
		{0, []string{"data", "baseData", "properties", "requestId"}, "the-id"},
		{0, []string{"tags", "ai.operation.id"}, "0af7651916cd43dd8448eb211c80319c"},
		{0, []string{"tags", "ai.operation.parentId"}, "b7ad6b7169203331"},
		{0, []string{"tags", "ai.cloud.role"}, "secureapi"},
		{0, []string{"tags", "ai.cloud.roleInstance"}, "one"},
		{0, []string{"tags", "ai.device.id"}, nil},
		{1, []string{"data", "baseType"}, "RemoteDependencyData"},
		{1, []string{"data", "baseData", "name"}, "POST $batch"},
		{1, []string{"data", "baseData", "type"}, "Azure table"},
		{1, []string{"data", "baseData", "target"}, "devdata.table.core.windows.net"},
		{1, []string{"data", "baseData", "data"}, ""},
		{1, []string{"data", "baseData", "resultCode"}, "503"},
		{1, []string{"data", "baseData", "success"}, false},
		{1, []string{"data", "baseData", "measurements", "tries"}, 4.0},
		{1, []string{"tags", "ai.operation.parentId"}, span},
		{2, []string{"data", "baseType"}, "ExceptionData"},
		{2, []string{"data", "baseData", "properties", "type"}, "*runtime.TypeAssertionError"},
		{3, []string{"data", "baseData", "name"}, "security.alarm"},
		{4, []string{"data", "baseType"}, "MetricData"},
	} {
		if got := dig(e.items[want.item], want.path...); got != want.value {
			t.Errorf("item %d: %s is %v, want %v", want.item, strings.Join(want.path, "."), got, want.value)
		}
	}
}

func TestEndpointHangsForEver(t *testing.T) {
	e := &endpoint{answer: func(int, *http.Request) (int, http.Header, string) { return 0, nil, "" }}
	c := start(t, e, nil)
	const offered = 30_000
	for range offered {
		c.Event(t.Context(), telemetry.EventStarted)
	}
	// What is neither dropped nor sent is held in memory.
	if held := offered - int(c.Dropped()); held > queueSize+(payloads+2)*batchSize {
		t.Errorf("%d items are held", held)
	}
	// One more where Close still had the time to tell of the loss: that is lost, too.
	if err := closeWithin(c, 100*time.Millisecond); err == nil || c.Dropped()-offered > 1 {
		t.Errorf("%d of %d dropped, %v", c.Dropped(), offered, err)
	}
}

func TestBatchesGoWithoutClose(t *testing.T) {
	e := &endpoint{}
	c := start(t, e, nil)
	for range 2*batchSize + 1 {
		c.Event(t.Context(), "x")
	}
	for e.count() < 2*batchSize {
		time.Sleep(time.Millisecond)
	}
	if err := closeWithin(c, time.Minute); err != nil || e.count() != 2*batchSize+1 {
		t.Errorf("%d items after Close, %v", e.count(), err)
	}
}

func TestAfterClose(t *testing.T) {
	c := start(t, &endpoint{}, nil)
	if err := closeWithin(c, time.Minute); err != nil {
		t.Fatal(err)
	}
	c.Event(t.Context(), "x")
	c.Request(t.Context(), telemetry.Request{})
	if err := closeWithin(c, time.Minute); err == nil || c.Dropped() != 2 {
		t.Errorf("%d dropped, %v", c.Dropped(), err)
	}
}

func TestLossIsReported(t *testing.T) {
	e := &endpoint{}
	c := start(t, e, nil)
	if total, held := c.report(0, 7); total != 0 || held != 7 {
		t.Error("a loss out of nothing")
	}
	c.dropped.Add(2)
	if total, held := c.report(0, 0); total != 2 || held != 1 {
		t.Error("the loss is not reported")
	}
	if total, held := c.report(2, 1); total != 2 || held != 1 {
		t.Error("the loss is reported twice")
	}
	c.flush(1)
	if err := closeWithin(c, time.Minute); err == nil {
		t.Error("Close does not tell of the loss")
	}
	// The second is the pump's own last word: it has not seen the reports above.
	if len(e.items) != 2 {
		t.Fatalf("%d items", len(e.items))
	}
	for _, item := range e.items {
		metrics, _ := dig(item, "data", "baseData", "metrics").([]any)
		point, _ := metrics[0].(map[string]any)
		if point["name"] != telemetry.MetricTelemetryDropped || point["value"] != 2.0 {
			t.Errorf("%v", point)
		}
	}
}

// TestConcurrentClose has no expectation but the race detector's and that
// what is not lost is sent.
func TestConcurrentClose(t *testing.T) {
	e := &endpoint{}
	c := start(t, e, nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 500 {
				c.Dependency(t.Context(), telemetry.Dependency{Service: "Azure table"})
			}
		})
	}
	group.Go(func() { _ = closeWithin(c, 10*time.Second) })
	group.Wait()
	if err := closeWithin(c, time.Second); err == nil && e.count() != 4000 {
		t.Errorf("%d items sent, none lost", e.count())
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{Connection: Connection{AAD: true}, HTTP: &http.Client{}, Logger: slog.New(slog.DiscardHandler)}
	noClient, noLogger := good, good
	noClient.HTTP, noLogger.Logger = nil, nil
	for name, o := range map[string]Options{"no credential": good, "no client": noClient, "no logger": noLogger} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
