package queues_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/azure/queues"
	"secureapi/handler/rowstore"
)

const endpoint = "https://devdata.queue.core.windows.net"

type staticToken struct{}

func (staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "x", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// TestRequest looks at what is sent: whole seconds, rounded up, and a life.
func TestRequest(t *testing.T) {
	var query string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, "<QueueMessagesList></QueueMessagesList>")
	}))
	defer server.Close()
	q := remote(t, server)
	for delay, want := range map[time.Duration]string{0: "0", 1: "1", time.Second: "1", 1500 * time.Millisecond: "2", 144 * time.Hour: "518400"} {
		if err := q.Send(t.Context(), "x", delay); err != nil {
			t.Fatal(err)
		}
		if query != "messagettl=604800&visibilitytimeout="+want {
			t.Errorf("delay %s: %s", delay, query)
		}
	}
}

func TestFaults(t *testing.T) {
	const secret = "text-that-no-error-may-repeat"
	for status, want := range map[int]error{
		503: rowstore.ErrUnavailable, 403: rowstore.ErrUnavailable, 404: rowstore.ErrUnavailable, 307: rowstore.ErrUnavailable,
		400: rowstore.ErrInvalid, 413: rowstore.ErrInvalid,
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "<Error><Code>SomeCode</Code><Message>%s</Message></Error>", secret)
		}))
		err := remote(t, server).Send(t.Context(), secret, 0)
		if !errors.Is(err, want) || strings.Contains(err.Error(), secret) {
			t.Errorf("status %d: %v, want %v", status, err, want)
		}
		server.Close()
	}
}

func remote(t *testing.T, server *httptest.Server) *queues.Queue {
	t.Helper()
	q, err := queues.NewQueue(server.URL, "imports", staticToken{}, azcore.ClientOptions{
		Transport: server.Client(), Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Nanosecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestNewQueueRefuses(t *testing.T) {
	for _, c := range [][2]string{
		{"http://devdata.queue.core.windows.net", "imports"},
		{endpoint + "/", "imports"},
		{endpoint, ""},
		{endpoint, "Imports"},
		{endpoint, "a--b"},
		{endpoint, "-ab"},
		{endpoint, "a/b"},
		{endpoint, strings.Repeat("a", 64)},
	} {
		if _, err := queues.NewQueue(c[0], c[1], staticToken{}, azcore.ClientOptions{}); err == nil {
			t.Errorf("%v was taken", c)
		}
	}
}
