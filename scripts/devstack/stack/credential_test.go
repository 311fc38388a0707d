package stack_test

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

func storageScope() policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}}
}

// wrongResource hands out storage tokens, whatever is asked for.
type wrongResource struct{ azcore.TokenCredential }

func (w wrongResource) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return w.TokenCredential.GetToken(ctx, storageScope())
}
