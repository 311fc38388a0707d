package tables_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"secureapi/handler/azure"
	"secureapi/handler/azure/tables"
	"secureapi/handler/clock"
	"secureapi/handler/storetest"
)

const endpoint = "https://devdata.table.core.windows.net"

type staticToken string

func (s staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(s), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func devToken() staticToken {
	enc := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now().Unix()
	return staticToken(enc(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + enc(map[string]any{
		"iss": "https://sts.windows.net/0f8fad5b-d9cb-469f-a165-70867728950e/", "aud": "https://storage.azure.com",
		"iat": now, "nbf": now - 60, "exp": now + 3600,
	}) + "." + base64.RawURLEncoding.EncodeToString([]byte("sig")))
}

func newTable(t *testing.T, transport *azure.Transport) *tables.Store {
	t.Helper()
	name := "t" + rand.Text()[:20]
	sc, err := aztables.NewServiceClient(endpoint, devToken(), &aztables.ClientOptions{ClientOptions: transport.ClientOptions(azure.Tables, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sc.CreateTable(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
	s, err := tables.NewService(endpoint, devToken(), transport.ClientOptions(azure.Tables, nil))
	if err != nil {
		t.Fatal(err)
	}
	store, err := s.Table(name)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestRows(t *testing.T) {
	tr, err := azure.NewTransport("/tmp/h6stack/state/transport.json", func(string) string { return "" }, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Rows(t, func(t *testing.T) storetest.Store { return newTable(t, tr) })
}
