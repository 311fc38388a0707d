package insights

import (
	"errors"
	"strings"
	"testing"
)

const key = "0f8fad5b-d9cb-469f-a165-70867728950e"

func TestParseConnection(t *testing.T) {
	const endpoint = "https://westeurope-5.in.applicationinsights.azure.com"
	for name, c := range map[string]struct {
		connection, authentication string
		want                       Connection
	}{
		"as the portal gives it": {
			"InstrumentationKey=" + key + ";IngestionEndpoint=" + endpoint + "/;LiveEndpoint=https://x/;ApplicationId=y", "",
			Connection{key, endpoint + "/v2/track", false, ""},
		},
		"with Entra ID": {
			"IngestionEndpoint=" + endpoint + ";InstrumentationKey=" + key, "ClientId=2F6E8D10-9b47-4c35-8f0a-d41c7e5b9366;Authorization=AAD",
			Connection{key, endpoint + "/v2.1/track", true, "2f6e8d10-9b47-4c35-8f0a-d41c7e5b9366"},
		},
		"in other case": {
			" instrumentationkey = " + key + " ; INGESTIONENDPOINT=" + endpoint + ";;", "authorization=aad",
			Connection{key, endpoint + "/v2.1/track", true, ""},
		},
	} {
		if got, err := ParseConnection(c.connection, c.authentication); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestParseConnectionRefuses(t *testing.T) {
	const good = "InstrumentationKey=" + key + ";IngestionEndpoint=https://host.example.com/"
	for _, c := range []struct {
		connection, authentication string
		want                       error
	}{
		{"", "", errConnection},
		{key, "", errConnection},
		{"InstrumentationKey=secret;IngestionEndpoint=https://host.example.com/", "", errConnection},
		{"InstrumentationKey=" + key, "", errConnection},
		{"InstrumentationKey=" + key + ";IngestionEndpoint=http://host.example.com/", "", errConnection},
		{"InstrumentationKey=" + key + ";IngestionEndpoint=https://host.example.com/secret", "", errConnection},
		{"InstrumentationKey=" + key + ";IngestionEndpoint=https://u:secret@host.example.com/", "", errConnection},
		{"InstrumentationKey=" + key + ";IngestionEndpoint=https://host.example.com/?secret", "", errConnection},
		{"InstrumentationKey=" + key + ";IngestionEndpoint=https:///", "", errConnection},
		{good + ";InstrumentationKey=" + key, "", errConnection},
		{good + ";=x", "", errConnection},
		{good + ";secret", "", errConnection},
		{good + ";x=" + strings.Repeat("x", maxString), "", errConnection},
		{good, "secret", errAuthentication},
		{good, "Authorization=secret", errAuthentication},
		{good, "ClientId=2f6e8d10-9b47-4c35-8f0a-d41c7e5b9366", errAuthentication},
		{good, "Authorization=AAD;ClientId=secret", errAuthentication},
	} {
		got, err := ParseConnection(c.connection, c.authentication)
		if !errors.Is(err, c.want) || got != (Connection{}) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q, %q: %v, %v; want %v", c.connection, c.authentication, got, err, c.want)
		}
	}
}

func FuzzParseConnection(f *testing.F) {
	f.Add("InstrumentationKey="+key+";IngestionEndpoint=https://host.example.com/", "Authorization=AAD;ClientId=z")
	f.Add("a=b;c", "=;")
	f.Fuzz(func(t *testing.T, connection, authentication string) {
		c, err := ParseConnection(connection, authentication)
		if err != nil {
			return
		}
		if c.Endpoint()+"/v2/track" != c.TrackURL && c.Endpoint()+"/v2.1/track" != c.TrackURL || !strings.HasPrefix(c.Endpoint(), "https://") {
			t.Fatalf("endpoint %q of %q", c.Endpoint(), c.TrackURL)
		}
		if !strings.HasPrefix(c.TrackURL, "https://") || !strings.HasSuffix(c.TrackURL, "/track") || c.AAD != (authentication != "") {
			t.Fatalf("%+v", c)
		}
	})
}
