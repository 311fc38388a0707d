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

// application is a confidential client: a service principal that proves
// itself with a signed assertion.
type application struct {
	client confidential.Client
	app    App
	name   string
}

// ClientCertificate proves the app with the certificate and private key in a
// PEM file. The file is read once.
func ClientCertificate(app App, file string, client *http.Client, o Options) (*Credential, error) {
	pem, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	certificates, key, err := confidential.CertFromPEM(pem, "")
	clear(pem)
	if err != nil {
		// MSAL's text may quote the file.
		return nil, fmt.Errorf("client certificate: %w", errFile)
	}
	proof, err := confidential.NewCredFromCert(certificates, key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", errFile)
	}
	return newApplication(app, proof, "client certificate", client, o)
}

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
	return newApplication(app, proof, "workload identity", client, o)
}

func newApplication(app App, proof confidential.Credential, name string, client *http.Client, o Options) (*Credential, error) {
	if err := azure.CheckEndpoint(app.AuthorityHost); err != nil {
		return nil, fmt.Errorf("%s: authority: %w", name, err)
	}
	if app.TenantID == "" || app.ClientID == "" {
		return nil, fmt.Errorf("%s: tenant and client id are required", name)
	}
	msal, err := confidential.New(app.AuthorityHost+"/"+app.TenantID, app.ClientID, proof,
		confidential.WithHTTPClient(client),
		// The authority is configuration; asking another host about it adds
		// a dependency and no trust.
		confidential.WithInstanceDiscovery(false),
		// The environment must not be able to choose a regional endpoint.
		confidential.WithAzureRegion("DisableMsalForceRegion"),
		confidential.WithClientCapabilities([]string{"cp1"}))
	if err != nil {
		return nil, fmt.Errorf("%s: making the client: %w", name, err)
	}
	return newCredential(application{msal, app, name}, o), nil
}

func (a application) token(ctx context.Context, scope, claims string) (azcore.AccessToken, error) {
	var options []confidential.AcquireByCredentialOption
	if claims != "" {
		options = append(options, confidential.WithClaims(claims))
	}
	result, err := a.client.AcquireTokenByCredential(ctx, []string{scope}, options...)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{
		Token: result.AccessToken, ExpiresOn: result.ExpiresOn, RefreshOn: result.Metadata.RefreshOn,
	}, nil
}

func (a application) step() string { return a.name }

func (a application) tenant() string { return a.app.TenantID }

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
