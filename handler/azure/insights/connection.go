package insights

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

var (
	guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

	errConnection     = errors.New("not an Application Insights connection string")
	errAuthentication = errors.New("not an Application Insights authentication string")
)

// maxString bounds a setting, as the platform does.
const maxString = 4096

// Connection is where telemetry goes and how it proves itself.
type Connection struct {
	// InstrumentationKey names the resource. It is an address, not a secret,
	// once the resource takes Entra ID tokens only.
	InstrumentationKey string
	// TrackURL takes the items.
	TrackURL string
	// AAD says that requests carry a token of this process' identity.
	AAD bool
	// ClientID names that identity; "" where it is the process' only one.
	ClientID string
}

// ParseConnection reads APPLICATIONINSIGHTS_CONNECTION_STRING
// ("InstrumentationKey=<guid>;IngestionEndpoint=https://<host>/;…") and
// APPLICATIONINSIGHTS_AUTHENTICATION_STRING ("Authorization=AAD[;ClientId=…]",
// or empty). See
// https://learn.microsoft.com/azure/azure-monitor/app/connection-strings and
// https://learn.microsoft.com/azure/azure-monitor/app/azure-ad-authentication.
func ParseConnection(connection, authentication string) (Connection, error) {
	fields, err := parsePairs(connection)
	if err != nil {
		return Connection{}, fmt.Errorf("%w: %w", errConnection, err)
	}
	c := Connection{InstrumentationKey: fields["instrumentationkey"]}
	if !guid.MatchString(c.InstrumentationKey) {
		return Connection{}, fmt.Errorf("%w: InstrumentationKey is not a GUID", errConnection)
	}
	u, err := url.Parse(fields["ingestionendpoint"])
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Connection{}, fmt.Errorf("%w: IngestionEndpoint is not https://<host>/", errConnection)
	}
	version := "v2"
	if authentication != "" {
		fields, err := parsePairs(authentication)
		if err != nil {
			return Connection{}, fmt.Errorf("%w: %w", errAuthentication, err)
		}
		if !strings.EqualFold(fields["authorization"], "AAD") {
			return Connection{}, fmt.Errorf("%w: Authorization is not AAD", errAuthentication)
		}
		c.ClientID = strings.ToLower(fields["clientid"])
		if c.ClientID != "" && !guid.MatchString(c.ClientID) {
			return Connection{}, fmt.Errorf("%w: ClientId is not a GUID", errAuthentication)
		}
		c.AAD, version = true, "v2.1"
	}
	c.TrackURL = "https://" + u.Host + "/" + version + "/track"
	return c, nil
}

// Endpoint is https://<host> of the ingestion service.
func (c Connection) Endpoint() string {
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(c.TrackURL, "/track"), "/v2"), "/v2.1")
}

// parsePairs reads "Name=value;Name=value". Names are case-insensitive and
// stand once. The error repeats nothing.
func parsePairs(s string) (map[string]string, error) {
	if len(s) > maxString {
		return nil, errors.New("too long")
	}
	pairs := make(map[string]string)
	for part := range strings.SplitSeq(s, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, found := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := pairs[name]; !found || name == "" || twice {
			return nil, errors.New("malformed pair")
		}
		pairs[name] = strings.TrimSpace(value)
	}
	return pairs, nil
}
