package blobs_test

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

	"secureapi/handler/azure/blobs"
	"secureapi/handler/rowstore"
)

const limit = 1 << 20

const endpoint = "https://devdata.blob.core.windows.net"

type staticToken struct{}

func (staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "x", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestFaults(t *testing.T) {
	const secret = "name-that-no-error-may-repeat"
	for name, c := range map[string]struct {
		status int
		code   string
		want   error
	}{
		"throttled":   {503, "ServerBusy", rowstore.ErrUnavailable},
		"forbidden":   {403, "AuthorizationPermissionMismatch", rowstore.ErrUnavailable},
		"immutable":   {409, "BlobImmutableDueToPolicy", rowstore.ErrUnavailable},
		"leased":      {412, "LeaseIdMissing", rowstore.ErrUnavailable},
		"bad input":   {400, "InvalidInput", rowstore.ErrInvalid},
		"strange 404": {404, "ContainerNotFound", rowstore.ErrUnavailable},
		"redirected":  {307, "", rowstore.ErrUnavailable},
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Ms-Error-Code", c.code)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			_, _ = fmt.Fprint(w, secret)
		}))
		store, err := blobs.NewContainer(server.URL, "imports", limit, staticToken{}, azcore.ClientOptions{
			Transport: server.Client(), Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Nanosecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, getErr := store.Get(t.Context(), secret)
		for call, err := range map[string]error{
			"get": getErr, "put": store.Put(t.Context(), secret, nil),
			"create": store.Create(t.Context(), secret, nil), "delete": store.Delete(t.Context(), secret),
		} {
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %s: %v, want %v", name, call, err, c.want)
			}
		}
		server.Close()
	}
}

func TestNewContainerRefuses(t *testing.T) {
	for _, c := range []struct {
		endpoint, name string
		limit          int
	}{
		{"http://devdata.blob.core.windows.net", "imports", limit},
		{endpoint + "/x", "imports", limit},
		{endpoint, "", limit},
		{endpoint, "Imports", limit},
		{endpoint, "a--b", limit},
		{endpoint, "$root", limit},
		{endpoint, "a/b", limit},
		{endpoint, "imports", 0},
		{endpoint, "imports", 1 << 30},
	} {
		if _, err := blobs.NewContainer(c.endpoint, c.name, c.limit, staticToken{}, azcore.ClientOptions{}); err == nil {
			t.Errorf("%v was taken", c)
		}
	}
}
