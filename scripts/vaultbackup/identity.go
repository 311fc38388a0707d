package main

import (
	"context"
	"encoding/json"
	"errors"
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

// newCredential is as whom the tool acts. There is no kind that takes a secret.
func newCredential(o options, t *azure.Transport) (azcore.TokenCredential, error) {
	switch o.credential {
	case azureCLI:
		return cli{"az"}, nil
	case "managed-identity":
		return credential.ManagedIdentity(o.clientID, t.IdentityClient(clientTimeout), credential.Options{Clock: clock.System})
	default:
		return nil, errors.New("no such kind of credential")
	}
}

// cli asks the Azure CLI for the tokens of the person who is signed in to it.
// No shell is between, and its own text stays with it: it can quote the account.
type cli struct{ program string }

// GetToken implements azcore.TokenCredential.
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
