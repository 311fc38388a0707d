package azureidentity

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
)

// cliTimeout bounds a call of the CLI, which may refresh its own sign-in.
const cliTimeout = 60 * time.Second

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
