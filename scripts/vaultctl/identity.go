package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/azure"
	"secureapi/handler/azure/credential"
	"secureapi/handler/clock"
)

const (
	azureCLI      = "azure-cli"
	clientTimeout = 10 * time.Second
	cliTimeout    = 60 * time.Second
)

// identity is as whom the step is taken. There is no kind that takes a secret.
type identity struct {
	kind            string
	app             credential.App
	certificate     string
	federatedToken  string
	cliProgram      string
	managedClientID string
}

func (i *identity) flags(flags *flag.FlagSet, getenv func(string) string) {
	flags.StringVar(&i.kind, "credential", or(getenv("AZURE_CREDENTIAL"), azureCLI),
		"`kind`: azure-cli, managed-identity, client-certificate or workload-identity (AZURE_CREDENTIAL)")
	i.app = credential.App{
		AuthorityHost: or(getenv("AUTHORITY_HOST"), "https://login.microsoftonline.com"),
		TenantID:      getenv("AZURE_TENANT_ID"), ClientID: getenv("AZURE_CLIENT_ID"),
	}
	i.managedClientID = getenv("AZURE_CLIENT_ID")
	i.certificate, i.federatedToken = getenv("AZURE_CLIENT_CERTIFICATE_PATH"), getenv("AZURE_FEDERATED_TOKEN_FILE")
	i.cliProgram = "az"
}

func (i *identity) credential(t *azure.Transport) (azcore.TokenCredential, error) {
	o := credential.Options{Clock: clock.System}
	switch i.kind {
	case azureCLI:
		return cli{i.cliProgram}, nil
	case "managed-identity":
		return credential.ManagedIdentity(i.managedClientID, t.IdentityClient(clientTimeout), o)
	case "client-certificate":
		return credential.ClientCertificate(i.app, i.certificate, t.Client(clientTimeout), o)
	case "workload-identity":
		return credential.WorkloadIdentity(i.app, i.federatedToken, t.Client(clientTimeout), o)
	default:
		return nil, errors.New("no such kind of credential")
	}
}

// cli asks the Azure CLI for the tokens of the person who is signed in to it.
// No shell is between: the scope is an argument, and the token comes by a pipe.
type cli struct{ program string }

// GetToken implements azcore.TokenCredential. The CLI's own text stays with
// it: it can quote the account.
func (c cli) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || !strings.HasPrefix(o.Scopes[0], "https://") {
		return azcore.AccessToken{}, errors.New("azure CLI: not one scope")
	}
	ctx, cancel := context.WithTimeout(ctx, cliTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, "account", "get-access-token", "--output", "json", "--scope", o.Scopes[0]) // #nosec G204 -- a fixed program
	text, err := cmd.Output()
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("azure CLI: getting a token (is somebody signed in? az login): %w", err)
	}
	var answer struct {
		Token   string `json:"accessToken"`
		Expires int64  `json:"expires_on"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Token == "" || answer.Expires == 0 {
		return azcore.AccessToken{}, errors.New("azure CLI: the answer holds no token with its end; version 2.54 or newer is needed")
	}
	return azcore.AccessToken{Token: answer.Token, ExpiresOn: time.Unix(answer.Expires, 0)}, nil
}
