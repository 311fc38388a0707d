package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"golang.org/x/sync/errgroup"
)

// layout is what infra/ creates in an account: the app itself creates nothing.
type layout struct {
	tables, queues, containers []string
}

func dataLayout() layout {
	return layout{
		tables:     []string{"records", "keyring", "operations", "revocations"},
		queues:     []string{"imports", "imports-poison"},
		containers: []string{"imports"},
	}
}

// credential is the handler's identity as an SDK credential.
type credential struct{ stack *Stack }

// GetToken implements azcore.TokenCredential.
func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, errors.New("getting a token: one scope is needed")
	}
	resource := o.Scopes[0][:max(0, len(o.Scopes[0])-len("/.default"))]
	token, expires, err := c.stack.issueIdentity(resource)
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("getting a token: %w", err)
	}
	return azcore.AccessToken{Token: token, ExpiresOn: expires}, nil
}

// Credential is the handler's own identity, for SDK clients of tests and tools
// that look at, or damage, what the handler stored.
func (s *Stack) Credential() azcore.TokenCredential { return credential{s} }

// ClientOptions lets an SDK client reach the stack.
func (s *Stack) ClientOptions() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: s.client, Telemetry: policy.TelemetryOptions{Disabled: true}}
}

// DataAccount is the account that holds everything but the audit log.
func (s *Stack) DataAccount() string { return s.dataAccount }

// Endpoint is the address of a service ("table", "queue", "blob") of an account.
func Endpoint(account, service string) string {
	return "https://" + account + "." + service + "." + Suffix
}

func (s *Stack) makeStorage(ctx context.Context) error {
	s.options.Progress("making tables, queues and containers")
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.create(ctx, s.dataAccount, dataLayout()) })
	group.Go(func() error {
		return s.create(ctx, AuditAccount, layout{tables: []string{"audit", "erasures"}, containers: []string{"checkpoints"}})
	})
	return group.Wait()
}

// create makes what is missing; a second run finds everything there.
func (s *Stack) create(ctx context.Context, account string, l layout) error {
	cred, options := s.Credential(), s.ClientOptions()
	tables, err := aztables.NewServiceClient(Endpoint(account, "table"), cred, &aztables.ClientOptions{ClientOptions: options})
	if err != nil {
		return fmt.Errorf("making tables: %w", err)
	}
	for _, name := range l.tables {
		if _, err := tables.CreateTable(ctx, name, nil); err != nil && !exists(err, "TableAlreadyExists") {
			return fmt.Errorf("making table %s in %s: %w", name, account, err)
		}
	}
	queues, err := azqueue.NewServiceClient(Endpoint(account, "queue"), cred, &azqueue.ClientOptions{ClientOptions: options})
	if err != nil {
		return fmt.Errorf("making queues: %w", err)
	}
	for _, name := range l.queues {
		if _, err := queues.CreateQueue(ctx, name, nil); err != nil && !exists(err, "QueueAlreadyExists") {
			return fmt.Errorf("making queue %s in %s: %w", name, account, err)
		}
	}
	for _, name := range l.containers {
		if err := s.createContainer(ctx, account, name); err != nil {
			return fmt.Errorf("making container %s in %s: %w", name, account, err)
		}
	}
	return nil
}

// blobVersion is a version of the Blob REST API that makes containers.
const blobVersion = "2021-12-02"

// createContainer asks the REST API: one request does not need the SDK.
func (s *Stack) createContainer(ctx context.Context, account, name string) error {
	token, _, err := s.issueIdentity("https://storage.azure.com")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, Endpoint(account, "blob")+"/"+name+"?restype=container", http.NoBody)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-Ms-Version", blobVersion)
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusConflict {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func exists(err error, code string) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.ErrorCode == code
}
