package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"secureapi/handler/telemetry"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

func TestTraceContinues(t *testing.T) {
	for header, want := range map[string]bool{
		parent: true, parent[:53] + "00": true, "cc" + parent[2:]: true, "cc" + parent[2:] + "-what-later-versions-add": true,
		"": false, "ff" + parent[2:]: false, parent + "-": false, parent + "-x": false, "cc" + parent[2:] + ".x": false, parent[:54]: false,
		strings.ToUpper(parent): false, strings.Replace(parent, traceID, strings.Repeat("0", 32), 1): false,
		strings.Replace(parent, spanID, strings.Repeat("0", 16), 1): false, strings.ReplaceAll(parent, "-", "_"): false,
		" " + parent: false, parent[:53] + "0g": false, "0x" + parent[2:]: false,
	} {
		ctx := telemetry.WithTrace(t.Context(), header)
		if got := telemetry.TraceID(ctx) == traceID && telemetry.ParentID(ctx) == spanID; got != want {
			t.Errorf("%q continues: %t, want %t", header, got, want)
		}
		if !want && telemetry.ParentID(ctx) != "" {
			t.Errorf("%q: a new trace with parent %s", header, telemetry.ParentID(ctx))
		}
		again := telemetry.WithTrace(t.Context(), telemetry.TraceParent(ctx))
		if telemetry.TraceID(again) != telemetry.TraceID(ctx) || telemetry.ParentID(again) != telemetry.SpanID(ctx) {
			t.Errorf("%q: own header %q does not continue", header, telemetry.TraceParent(ctx))
		}
	}
}

func TestNewTraces(t *testing.T) {
	a, b := telemetry.WithTrace(t.Context(), ""), telemetry.WithTrace(t.Context(), "")
	if telemetry.TraceID(a) == telemetry.TraceID(b) || telemetry.SpanID(a) == telemetry.SpanID(b) {
		t.Error("two requests share an id")
	}
	if telemetry.TraceID(t.Context())+telemetry.SpanID(t.Context())+telemetry.ParentID(t.Context())+telemetry.TraceParent(t.Context()) != "" {
		t.Error("a context without trace has one")
	}
}

func FuzzTraceParent(f *testing.F) {
	f.Add(parent)
	f.Add("01" + parent[2:] + "-x")
	f.Add("00-" + strings.Repeat("0", 32) + "-" + spanID + "-01")
	shape := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)
	f.Fuzz(func(t *testing.T, header string) {
		ctx := telemetry.WithTrace(t.Context(), header)
		if !shape.MatchString(telemetry.TraceParent(ctx)) {
			t.Fatalf("%q gives %q", header, telemetry.TraceParent(ctx))
		}
		if p := telemetry.ParentID(ctx); p != "" && !strings.Contains(header, telemetry.TraceID(ctx)+"-"+p) {
			t.Fatalf("%q gives parent %q", header, p)
		}
	})
}

func lines(t *testing.T, level slog.Level, write func(context.Context, telemetry.Recorder, *slog.Logger)) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	logger := telemetry.NewLogger(&out, level)
	write(telemetry.WithTrace(t.Context(), parent), telemetry.Tee{telemetry.Log{Logger: logger}}, logger)
	var all []map[string]any
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(fields["time"])); err != nil || at.Location() != time.UTC {
			t.Errorf("time %v, %v", fields["time"], err)
		}
		delete(fields, "time")
		delete(fields, "spanId")
		all = append(all, fields)
	}
	return all
}

func TestLog(t *testing.T) {
	got := lines(t, slog.LevelDebug, func(ctx context.Context, r telemetry.Recorder, logger *slog.Logger) {
		r.Request(ctx, telemetry.Request{
			ID: "1", Method: "POST", Route: "/api/v1/tokens", Status: 201, Reason: "", Tenant: "t", Caller: "c",
			Client:   netip.MustParseAddr("192.0.2.7"),
			Duration: 1500 * time.Millisecond,
		})
		r.Dependency(ctx, telemetry.Dependency{Service: "Azure table", Target: "h", Name: "POST $batch", Status: 503, Tries: 4, Failed: true})
		r.Dependency(ctx, telemetry.Dependency{Service: "Azure table", Target: "h", Name: "GET records", Status: 404, Tries: 1})
		r.Exception(ctx, telemetry.Exception{Name: "panic", Type: "*runtime.TypeAssertionError"})
		r.Event(ctx, telemetry.EventAlarm)
		r.Metric(ctx, telemetry.MetricQueueAge, 1.5)
		r.Metric(ctx, telemetry.MetricQueueAge, math.NaN())
		logger.With("a", 1).WithGroup("g").WarnContext(ctx, "m", "severity", "kept", "level", "kept")
	})
	request := map[string]any{
		"severity": "INFO", "msg": "request", "requestId": "1", "method": "POST", "route": "/api/v1/tokens", "status": 201.0,
		"reason": "", "tenant": "t", "caller": "c", "client": "192.0.2.7", "durationMs": 1500.0, "traceId": traceID,
	}
	want := []map[string]any{
		request,
		{
			"severity": "WARN", "msg": "dependency", "service": "Azure table", "target": "h", "name": "POST $batch",
			"status": 503.0, "tries": 4.0, "durationMs": 0.0, "traceId": traceID,
		},
		{
			"severity": "DEBUG", "msg": "dependency", "service": "Azure table", "target": "h", "name": "GET records",
			"status": 404.0, "tries": 1.0, "durationMs": 0.0, "traceId": traceID,
		},
		{"severity": "ERROR", "msg": "exception", "name": "panic", "type": "*runtime.TypeAssertionError", "traceId": traceID},
		{"severity": "INFO", "msg": "event", "name": "security.alarm", "traceId": traceID},
		{"severity": "DEBUG", "msg": "metric", "name": "queue.age", "value": 1.5, "traceId": traceID},
	}
	if len(got) != len(want)+1 {
		t.Fatalf("%d lines", len(got))
	}
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	group, _ := got[len(want)]["g"].(map[string]any)
	if got[len(want)]["severity"] != "WARN" || group["severity"] != "kept" || group["level"] != "kept" || group["traceId"] != traceID {
		t.Errorf("grouped: %v", got[len(want)])
	}
}

func TestLogLevel(t *testing.T) {
	got := lines(t, slog.LevelWarn, func(ctx context.Context, r telemetry.Recorder, logger *slog.Logger) {
		r.Request(ctx, telemetry.Request{})
		logger.InfoContext(ctx, "left out")
		logger.WarnContext(ctx, "kept")
	})
	if len(got) != 1 || got[0]["msg"] != "kept" {
		t.Errorf("%v", got)
	}
}

// TestRedaction: whatever a careless caller puts into an item, nothing that
// could be a value leaves.
func TestRedaction(t *testing.T) {
	for _, secret := range []string{
		"4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "078-05-1120", "jane@example.com", "+49 30 901820",
		"Zoë", "a\nb", `{"pan":1}`, "Bearer eyJhbGciOiJSUzI1NiJ9." + strings.Repeat("aB", 60), "PartitionKey='x'", "https://host/path?sig=secret", "#secret",
		strings.Repeat("a", 200), "2026-01-02", "a,b", "a=b", "a;b", "a%41",
	} {
		r := telemetry.Request{ID: secret, Method: secret, Route: secret, Reason: secret, Tenant: secret, Caller: secret}.Redacted()
		d := telemetry.Dependency{Service: secret, Target: secret, Name: secret}.Redacted()
		e := telemetry.Exception{Name: secret, Type: secret}.Redacted()
		if r.Method != "OTHER" {
			t.Errorf("method %q", r.Method)
		}
		for _, field := range []string{r.Route, r.Reason, d.Service, d.Target, d.Name, e.Name, e.Type, telemetry.RedactName(secret)} {
			if field == secret || strings.Contains(field, "secret") {
				t.Errorf("%q leaves as %q", secret, field)
			}
		}
	}
	if zoned := (telemetry.Request{Client: netip.MustParseAddr("fe80::1%4111111111111111")}).Redacted(); zoned.Client.Zone() != "" {
		t.Errorf("an address leaves with the text %q", zoned.Client.Zone())
	}
	for _, id := range []string{"jane@example.com", "4111 1111", "a?b", strings.Repeat("a", 101), "Zoë", "a\nb"} {
		r := telemetry.Request{ID: id, Tenant: id, Caller: id}.Redacted()
		if r.ID == id || r.Tenant == id || r.Caller == id {
			t.Errorf("id %q leaves", id)
		}
	}
}

func TestNamesPass(t *testing.T) {
	for _, name := range []string{
		telemetry.EventStarted, telemetry.EventStopping, telemetry.EventAlarm, telemetry.EventKeyringRefused,
		telemetry.EventAuditBroken, telemetry.EventPoisonMessage, telemetry.MetricTelemetryDropped, telemetry.MetricQueueMessages,
		telemetry.MetricQueueAge, telemetry.MetricAuditUnsealed, telemetry.MetricCacheHits,
		telemetry.MetricRequestsUntold,
		"/api/v1/imports/:id/parts", "/v1/operations/{id:guid}", "POST $batch", "PUT keys/kek unwrapkey", "*errors.errorString",
		"devdata.table.core.windows.net", "devvault.vault.azure.net", "idempotency_conflict", "",
	} {
		if got := telemetry.RedactName(name); got != name {
			t.Errorf("%q becomes %q", name, got)
		}
	}
	guid := "0f8fad5b-d9cb-469f-a165-70867728950e"
	r := telemetry.Request{
		Method: "DELETE", ID: guid, Tenant: guid, Caller: guid + "/" + guid, Client: netip.MustParseAddr("2001:db8::1"),
	}
	if diff := cmp.Diff(r, r.Redacted(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestTypeOfTheErrorBelow(t *testing.T) {
	inner := &json.SyntaxError{}
	for name, err := range map[string]error{
		"itself": inner, "wrapped": fmt.Errorf("a: %w", fmt.Errorf("b: %w", inner)),
		"joined": errors.Join(inner, context.Canceled), "two verbs": fmt.Errorf("%w: %w", inner, context.Canceled),
	} {
		if got := telemetry.TypeOf(err); got != "*json.SyntaxError" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := telemetry.TypeOf(nil); got != "<nil>" {
		t.Errorf("none: %s", got)
	}
}
