package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"secureapi/handler/azure"
)

// maxFile bounds a certificate or assertion file.
const maxFile = 64 << 10

var errFile = errors.New("credential file cannot be used")

// App is the registration that a confidential client acts as.
type App struct {
	// AuthorityHost is that of the cloud, https://login.microsoftonline.com.
	AuthorityHost string
	TenantID      string
	ClientID      string
}

// federated is a confidential client that proves itself with an assertion of
// another issuer.
type federated struct {
	client confidential.Client
	app    App
}

const federatedStep = "workload identity"

// WorkloadIdentity proves the app with an assertion of a federated issuer. The
// file is read for each request, because its writer replaces it.
func WorkloadIdentity(app App, file string, client *http.Client, o Options) (*Credential, error) {
	proof := confidential.NewCredFromAssertionCallback(
		func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			assertion, err := readFile(file)
			if err != nil {
				return "", err
			}
			return string(bytes.TrimSpace(assertion)), nil
		})
	made, err := newClient(app, proof, client)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", federatedStep, err)
	}
	return newCredential(federated{made, app}, o), nil
}

func newClient(app App, proof confidential.Credential, client *http.Client) (confidential.Client, error) {
	if err := azure.CheckEndpoint(app.AuthorityHost); err != nil {
		return confidential.Client{}, fmt.Errorf("authority: %w", err)
	}
	if app.TenantID == "" || app.ClientID == "" {
		return confidential.Client{}, errors.New("tenant and client id are required")
	}
	made, err := confidential.New(app.AuthorityHost+"/"+app.TenantID, app.ClientID, proof,
		confidential.WithHTTPClient(client),
		// The authority is configuration; asking another host about it adds
		// a dependency and no trust.
		confidential.WithInstanceDiscovery(false),
		// The environment must not be able to choose a regional endpoint.
		confidential.WithAzureRegion("DisableMsalForceRegion"),
		confidential.WithClientCapabilities([]string{"cp1"}))
	if err != nil {
		return confidential.Client{}, fmt.Errorf("making the client: %w", err)
	}
	return made, nil
}

func (f federated) token(ctx context.Context, scope, claims string) (azcore.AccessToken, error) {
	return acquire(ctx, f.client, scope, claims)
}

func (federated) step() string { return federatedStep }

func (f federated) tenant() string { return f.app.TenantID }

func acquire(ctx context.Context, client confidential.Client, scope, claims string) (azcore.AccessToken, error) {
	var options []confidential.AcquireByCredentialOption
	if claims != "" {
		options = append(options, confidential.WithClaims(claims))
	}
	result, err := client.AcquireTokenByCredential(ctx, []string{scope}, options...)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{
		Token: result.AccessToken, ExpiresOn: result.ExpiresOn, RefreshOn: result.Metadata.RefreshOn,
	}, nil
}

// readFile reads a small file; its content is in no error.
func readFile(path string) (data []byte, err error) {
	file, err := os.Open(path) // #nosec G304 -- a setting of the deployment
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFile, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFile, err)
	}
	if len(data) == 0 || len(data) > maxFile {
		return nil, errFile
	}
	return data, nil
}
