// Package azureidentity is as whom a person's tool acts in Azure: whoever is
// signed in to the Azure CLI, or a pipeline's own identity.
//
// Trust boundary: the tool has the rights of that identity and no others. No
// kind takes a secret, and no token is printed or kept.
package azureidentity

import (
	"errors"
	"flag"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"secureapi/handler/azure"
	"secureapi/handler/azure/credential"
	"secureapi/handler/clock"
)

const (
	azureCLI      = "azure-cli"
	clientTimeout = 10 * time.Second
)

// Identity is what the flags and the environment say of the identity.
type Identity struct {
	kind           string
	app            credential.App
	certificate    string
	federatedToken string
}

// Flags adds the flags of the identity; those that are not given have the
// environment's values.
func (i *Identity) Flags(flags *flag.FlagSet, getenv func(string) string) {
	flags.StringVar(&i.kind, "credential", or(getenv("AZURE_CREDENTIAL"), azureCLI),
		"`kind`: azure-cli, managed-identity, client-certificate or workload-identity (AZURE_CREDENTIAL)")
	flags.StringVar(&i.app.ClientID, "client-id", getenv("AZURE_CLIENT_ID"),
		"the client `id` of an identity that is not the CLI's (AZURE_CLIENT_ID)")
	i.app.AuthorityHost = or(getenv("AUTHORITY_HOST"), "https://login.microsoftonline.com")
	i.app.TenantID = getenv("AZURE_TENANT_ID")
	i.certificate, i.federatedToken = getenv("AZURE_CLIENT_CERTIFICATE_PATH"), getenv("AZURE_FEDERATED_TOKEN_FILE")
}

// AuthorityHost is the endpoint (https://host) that Credential may ask: the
// transport has to name it.
func (i *Identity) AuthorityHost() string { return i.app.AuthorityHost }

// Credential makes the source of tokens. It asks for none yet.
func (i *Identity) Credential(t *azure.Transport) (azcore.TokenCredential, error) {
	o := credential.Options{Clock: clock.System}
	switch i.kind {
	case azureCLI:
		return cli{"az"}, nil
	case "managed-identity":
		return credential.ManagedIdentity(i.app.ClientID, t.IdentityClient(clientTimeout), o)
	case "client-certificate":
		return credential.ClientCertificate(i.app, i.certificate, t.Client(clientTimeout), o)
	case "workload-identity":
		return credential.WorkloadIdentity(i.app, i.federatedToken, t.Client(clientTimeout), o)
	default:
		return nil, errors.New("no such kind of credential")
	}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
