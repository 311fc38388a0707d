package tables_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/azure/tables"
	"secureapi/handler/rowstore"
)

type staticToken string

func (s staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(s), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// serve runs the store against a server that answers as the emulator never does.
func serve(t *testing.T, handler http.HandlerFunc) *tables.Store {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	service, err := tables.NewService(server.URL, staticToken("x"), azcore.ClientOptions{
		Transport: server.Client(),
		Retry:     policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Nanosecond, TryTimeout: 5 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	store, err := service.Table("records")
	if err != nil {
		t.Fatal(err)
	}
	return store
}

const secretKey = "row-key-that-no-error-may-repeat"

var (
	one = []rowstore.Mutation{{Action: rowstore.Insert, Row: rowstore.Row{Partition: "p", Key: secretKey}}}
	two = append(one[:1:1], rowstore.Mutation{
		Action: rowstore.Delete, Row: rowstore.Row{Partition: "p", Key: "b", Version: "v"},
	})
)

func TestFaults(t *testing.T) {
	body := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"odata.error":{"code":%q,"message":{"lang":"en-US","value":"0:%s"}}}`, code, secretKey)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"throttled":       {body(503, "ServerBusy"), rowstore.ErrUnavailable},
		"too many":        {body(429, "TooManyRequests"), rowstore.ErrUnavailable},
		"failed":          {body(500, "InternalError"), rowstore.ErrUnavailable},
		"unauthenticated": {body(401, "NoAuthenticationInformation"), rowstore.ErrUnavailable},
		"not allowed":     {body(403, "AuthorizationPermissionMismatch"), rowstore.ErrUnavailable},
		"no table":        {body(404, "TableNotFound"), rowstore.ErrUnavailable},
		"a strange 404":   {body(404, ""), rowstore.ErrUnavailable},
		"a strange 409":   {body(409, "TableBeingDeleted"), rowstore.ErrUnavailable},
		"a strange code":  {body(500, secretKey), rowstore.ErrUnavailable},
		"too large":       {body(413, "RequestBodyTooLarge"), rowstore.ErrInvalid},
		"bad input":       {body(400, "InvalidInput"), rowstore.ErrInvalid},
		"empty 202":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, rowstore.ErrUnavailable},
		"one line 202": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			_, _ = fmt.Fprint(w, "--x")
		}, rowstore.ErrUnavailable},
		"hangs up":         {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, rowstore.ErrUnavailable},
		"redirects":        {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusTemporaryRedirect) }, rowstore.ErrUnavailable},
		"not JSON":         {func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html>"+secretKey) }, rowstore.ErrUnavailable},
		"other JSON":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, "[%q]", secretKey) }, rowstore.ErrUnavailable},
		"header promising": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "10") }, rowstore.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			store := serve(t, c.handler)
			_, getErr := store.Get(t.Context(), "p", secretKey)
			_, _, listErr := store.List(t.Context(), "p", rowstore.Range{From: secretKey, Limit: 1})
			_, oneErr := store.Apply(t.Context(), "p", one)
			_, twoErr := store.Apply(t.Context(), "p", two)
			for call, err := range map[string]error{"Get": getErr, "List": listErr, "one": oneErr, "two": twoErr} {
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", call, err, c.want)
				}
				if err != nil && strings.Contains(err.Error(), secretKey) {
					t.Errorf("%s: error repeats a key: %v", call, err)
				}
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	release := make(chan struct{})
	store := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := store.Apply(ctx, "p", two)
	if !errors.Is(err, rowstore.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Apply: %v, want ErrUnavailable and DeadlineExceeded", err)
	}
}

// TestEmptyPages: Table Storage may answer a page without rows that goes on.
func TestEmptyPages(t *testing.T) {
	for name, c := range map[string]struct {
		empty int32
		want  error
	}{
		"a few":    {5, nil},
		"for ever": {1 << 20, rowstore.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			var pages atomic.Int32
			store := serve(t, func(w http.ResponseWriter, r *http.Request) {
				page := pages.Add(1)
				if page > 1 && r.URL.Query().Get("NextRowKey") != fmt.Sprint("token", page-1) {
					t.Errorf("page %d asked with %q", page, r.URL.Query().Get("NextRowKey"))
				}
				w.Header().Set("X-Ms-Continuation-Nextpartitionkey", "token")
				w.Header().Set("X-Ms-Continuation-Nextrowkey", fmt.Sprint("token", page))
				if page <= c.empty {
					_, _ = fmt.Fprint(w, `{"value":[]}`)
					return
				}
				_, _ = fmt.Fprint(w, `{"value":[{"odata.etag":"1","PartitionKey":"p","RowKey":"k"}]}`)
			})
			rows, next, err := store.List(t.Context(), "p", rowstore.Range{Limit: 7})
			if !errors.Is(err, c.want) {
				t.Fatalf("List: %v, want %v", err, c.want)
			}
			if err == nil && (len(rows) != 1 || next != "k-") {
				t.Fatalf("%d rows, next %q", len(rows), next)
			}
		})
	}
}

// TestPlantedKeys: rows under keys that nothing here writes are left out, and
// the page still leads on.
func TestPlantedKeys(t *testing.T) {
	store := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("NextRowKey") != "" {
			_, _ = fmt.Fprint(w, `{"value":[{"odata.etag":"1","PartitionKey":"p","RowKey":"z"}]}`)
			return
		}
		w.Header().Set("X-Ms-Continuation-Nextpartitionkey", "p")
		w.Header().Set("X-Ms-Continuation-Nextrowkey", "more")
		_, _ = fmt.Fprint(w, `{"value":[{"odata.etag":"1","PartitionKey":"p","RowKey":"a' or 1 eq 1"},`+
			`{"odata.etag":"1","PartitionKey":"p","RowKey":""},{"odata.etag":"1","PartitionKey":"q","RowKey":"k"},`+
			`{"odata.etag":"1","RowKey":7}]}`)
	})
	rows, next, err := store.List(t.Context(), "p", rowstore.Range{Limit: 4})
	if err != nil || next != "" || len(rows) != 1 || rows[0].Key != "z" {
		t.Fatalf("rows %v, next %q, %v", rows, next, err)
	}
}

func TestNewServiceRefuses(t *testing.T) {
	for _, endpoint := range []string{
		"", "devdata.table.core.windows.net", "http://devdata.table.core.windows.net",
		"https://devdata.table.core.windows.net/", "https://devdata.table.core.windows.net?sig=x",
		"https://user:password@devdata.table.core.windows.net", "https://", "https://h#f", "::",
	} {
		if _, err := tables.NewService(endpoint, staticToken("x"), azcore.ClientOptions{}); err == nil {
			t.Errorf("endpoint %q was taken", endpoint)
		}
	}
	service, err := tables.NewService("https://devdata.table.core.windows.net", staticToken("x"), azcore.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "ab", "1abc", "a-b-c", "abc/def", "$batch", "Tables('x')", strings.Repeat("a", 64)} {
		if _, err := service.Table(name); err == nil {
			t.Errorf("table name %q was taken", name)
		}
	}
}
