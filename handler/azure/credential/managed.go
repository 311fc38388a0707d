package credential

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
)

// managed is a managed identity, by the endpoint of App Service and Functions
// or by the instance metadata service.
type managed struct {
	client managedidentity.Client
}

// ManagedIdentity uses the user-assigned identity with the client id, or the
// system-assigned one where that is empty. client must reach the identity
// endpoint (azure.Transport.IdentityClient).
//
// MSAL reads IDENTITY_ENDPOINT and IDENTITY_HEADER from the process itself.
// Its other sources (Arc, Cloud Shell, Machine Learning, Service Fabric) are
// refused: nothing here runs there, and their endpoints come from variables
// that the transport does not check.
func ManagedIdentity(clientID string, client *http.Client, o Options) (*Credential, error) {
	source, err := managedidentity.GetSource()
	if err != nil {
		return nil, fmt.Errorf("managed identity: finding the source: %w", err)
	}
	if source != managedidentity.AppService && source != managedidentity.DefaultToIMDS {
		return nil, fmt.Errorf("managed identity: source %s is not supported", source)
	}
	id := managedidentity.SystemAssigned()
	if clientID != "" {
		id = managedidentity.UserAssignedClientID(clientID)
	}
	msal, err := managedidentity.New(id, managedidentity.WithHTTPClient(client))
	if err != nil {
		return nil, fmt.Errorf("managed identity: %w", err)
	}
	return newCredential(managed{msal}, o), nil
}

func (m managed) token(ctx context.Context, scope, claims string) (azcore.AccessToken, error) {
	var options []managedidentity.AcquireTokenOption
	if claims != "" {
		options = append(options, managedidentity.WithClaims(claims))
	}
	result, err := m.client.AcquireToken(ctx, strings.TrimSuffix(scope, scopeSuffix), options...)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{
		Token: result.AccessToken, ExpiresOn: result.ExpiresOn, RefreshOn: result.Metadata.RefreshOn,
	}, nil
}

func (managed) step() string { return "managed identity" }

func (managed) tenant() string { return "" }
