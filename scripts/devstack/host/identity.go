package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/go-json-experiment/json"
)

// managedIdentity is the host's own credential: the App Service protocol of
// IDENTITY_ENDPOINT. It is spoken here directly because MSAL reads the variables
// of the process and keeps one token cache for it, while several stand-ins, each
// with its own environment and issuer, may run in one process. azcore caches.
type managedIdentity struct {
	endpoint, header, clientID string
	client                     *http.Client
}

const (
	identityTimeout = 30 * time.Second
	maxTokenAnswer  = 64 << 10
)

func newManagedIdentity(env environment, clientID string, client *http.Client) (*managedIdentity, error) {
	m := &managedIdentity{
		endpoint: env.get("IDENTITY_ENDPOINT"), header: env.get("IDENTITY_HEADER"),
		clientID: clientID, client: client,
	}
	if m.endpoint == "" || m.header == "" {
		return nil, errors.New("IDENTITY_ENDPOINT and IDENTITY_HEADER are not set")
	}
	u, err := url.Parse(m.endpoint)
	if err != nil {
		return nil, errors.New("IDENTITY_ENDPOINT is not an address")
	}
	if u.Scheme == "http" {
		// The platform's endpoint is plain HTTP on loopback; the client for
		// storage need not know the way there.
		m.client = &http.Client{
			Transport:     &http.Transport{Proxy: nil},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return m, nil
}

// GetToken implements azcore.TokenCredential.
func (m *managedIdentity) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, errors.New("asking for a managed identity token: one scope is needed")
	}
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	query := url.Values{"api-version": {"2019-08-01"}, "resource": {strings.TrimSuffix(o.Scopes[0], "/.default")}}
	if m.clientID != "" {
		query.Set("client_id", m.clientID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.endpoint+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("asking for a managed identity token: %w", err)
	}
	req.Header.Set("X-IDENTITY-HEADER", m.header)
	resp, err := m.client.Do(req)
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("asking for a managed identity token: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("reading a managed identity token: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return azcore.AccessToken{}, fmt.Errorf("asking for a managed identity token: status %d", resp.StatusCode)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresOn   string `json:"expires_on"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		return azcore.AccessToken{}, errors.New("decoding a managed identity token")
	}
	expires, err := strconv.ParseInt(answer.ExpiresOn, 10, 64)
	if err != nil {
		return azcore.AccessToken{}, errors.New("decoding a managed identity token's expiry")
	}
	return azcore.AccessToken{Token: answer.AccessToken, ExpiresOn: time.Unix(expires, 0)}, nil
}
