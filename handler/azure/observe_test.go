package azure

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/google/go-cmp/cmp"
)

func TestObserver(t *testing.T) {
	answers := []int{http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusNoContent}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") != "Go-http-client/1.1" || r.Header.Get("X-Ms-Client-Request-Id") != "" {
			t.Errorf("the SDK's telemetry is on: %v", r.Header)
		}
		w.WriteHeader(answers[0])
		answers = answers[1:]
	}))
	defer server.Close()
	now := time.Unix(1_800_000_000, 0)
	transport, err := NewTransport(stackOf(t, server, "example.com"), environment{}.get, func() time.Time {
		now = now.Add(time.Second)
		return now
	})
	if err != nil {
		t.Fatal(err)
	}
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "trace")
	var calls []Call
	options := transport.ClientOptions(Tables, func(ctx context.Context, call Call) {
		if ctx.Value(key{}) != "trace" {
			t.Error("the observer does not see the caller's context")
		}
		calls = append(calls, call)
	})
	client, err := azcore.NewClient("test", "v1.0.0", runtime.PipelineOptions{}, &options)
	if err != nil {
		t.Fatal(err)
	}
	request, err := runtime.NewRequest(ctx, http.MethodPut, "https://example.com/records(PartitionKey='p',RowKey='k')?x=y")
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Pipeline().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	want := []Call{{
		Kind: Tables, Host: "example.com", Operation: "PUT records", Start: time.Unix(1_800_000_001, 0),
		Duration: time.Second, Tries: 3, Status: http.StatusNoContent,
	}}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestOperationNamesNoRow(t *testing.T) {
	for path, want := range map[string]string{
		"/records(PartitionKey='p',RowKey='k')": "GET records",
		"/records()":                            "GET records",
		"/$batch":                               "GET $batch",
		"/imports/messages":                     "GET imports",
		"/imports/0f8fad5b/part-1":              "GET imports",
		"/keys/kek":                             "GET keys/kek",
		"/keys/kek/":                            "GET keys/kek",
		"/keys/kek/0123456789abcdef/unwrapkey":  "GET keys/kek unwrapkey",
		"/keys/sign/0123456789abcdef":           "GET keys/sign",
		"":                                      "GET",
	} {
		if got := operation(http.MethodGet, path); got != want {
			t.Errorf("operation of %q: %q, want %q", path, got, want)
		}
	}
}

func TestFailed(t *testing.T) {
	for status, want := range map[int]bool{0: true, 200: false, 204: false, 404: false, 409: false, 412: false, 400: true, 403: true, 503: true} {
		if got := (Call{Status: status}).Failed(); got != want {
			t.Errorf("status %d: failed %t", status, got)
		}
	}
}
