package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/go-json-experiment/json"

	"secureapi/handler/azure"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
	"secureapi/scripts/devstack/stack"
)

// replay makes, through aztables alone, the requests that the handler made:
// over the same transport and credential, with the same rows of the same sizes.
// Writes go to tables of its own, so that none meets a row that is there;
// conditional ones become unconditional, which costs storage no less than the
// comparison of a tag. Rows are encoded beforehand, in nobody's time.
type replay struct {
	read, write map[string]*aztables.Client
}

// request is one encoded transaction or read.
type request func(ctx context.Context) error

func newReplay(ctx context.Context, a *adapters) (*replay, error) {
	r := &replay{read: map[string]*aztables.Client{}, write: map[string]*aztables.Client{}}
	data := a.stack.DataAccount()
	for name, account := range map[string]string{
		tokenvault.Table: data, operation.Table: data, keyring.Table: data, "audit": stack.AuditAccount,
	} {
		service, err := aztables.NewServiceClient(stack.Endpoint(account, "table"), a.stack.Credential(),
			&aztables.ClientOptions{ClientOptions: a.transport.ClientOptions(azure.Tables, nil)})
		if err != nil {
			return nil, fmt.Errorf("making a client: %w", err)
		}
		r.read[name], r.write[name] = service.NewClient(name), service.NewClient("raw"+name)
		if _, err := r.write[name].CreateTable(ctx, nil); err != nil {
			return nil, fmt.Errorf("making a table: %w", err)
		}
	}
	return r, nil
}

// run repeats everything with so many workers.
func (r *replay) run(ctx context.Context, workers int, list []asked) (time.Duration, error) {
	requests := make([]request, len(list))
	for i, a := range list {
		var err error
		if requests[i], err = r.encode(a); err != nil {
			return 0, err
		}
	}
	return parallel(ctx, workers, len(requests), func(i, _ int) error { return requests[i](ctx) })
}

func (r *replay) encode(a asked) (request, error) {
	client := r.write[a.table]
	if a.mutations == nil {
		client, format := r.read[a.table], aztables.MetadataFormatNone
		return func(ctx context.Context) error {
			_, err := client.GetEntity(ctx, a.partition, a.key, &aztables.GetEntityOptions{Format: &format})
			return err
		}, nil
	}
	actions := make([]aztables.TransactionAction, len(a.mutations))
	for i, m := range a.mutations {
		entity, err := encodeRow(m.Row)
		if err != nil {
			return nil, err
		}
		actions[i] = aztables.TransactionAction{ActionType: unconditional(m.Action), Entity: entity}
	}
	if len(actions) > 1 {
		return func(ctx context.Context) error {
			_, err := client.SubmitTransaction(ctx, actions, nil)
			return err
		}, nil
	}
	return func(ctx context.Context) error {
		if actions[0].ActionType != aztables.TransactionTypeAdd {
			_, err := client.UpsertEntity(ctx, actions[0].Entity, nil)
			return err
		}
		// Without this header the service sends the whole row back.
		ctx = policy.WithHTTPHeader(ctx, http.Header{"Prefer": {"return-no-content"}})
		_, err := client.AddEntity(ctx, actions[0].Entity, nil)
		return err
	}, nil
}

func unconditional(a rowstore.Action) aztables.TransactionType {
	switch a {
	case rowstore.Insert:
		return aztables.TransactionTypeAdd
	case rowstore.Merge:
		return aztables.TransactionTypeInsertMerge
	default:
		return aztables.TransactionTypeInsertReplace
	}
}

// bodyPiece is the largest binary property.
const bodyPiece = 64 << 10

// encodeRow lays a row out as the handler's adapter does.
func encodeRow(row rowstore.Row) ([]byte, error) {
	entity := map[string]any{"PartitionKey": row.Partition, "RowKey": row.Key}
	for name, value := range maps.All(row.Attributes) {
		entity[name] = value
	}
	for i := 0; i*bodyPiece < len(row.Body); i++ {
		name := "Body" + strconv.Itoa(i)
		entity[name+"@odata.type"] = "Edm.Binary"
		entity[name] = row.Body[i*bodyPiece : min((i+1)*bodyPiece, len(row.Body))]
	}
	b, err := json.Marshal(entity)
	if err != nil {
		return nil, fmt.Errorf("encoding a row: %w", err)
	}
	return b, nil
}
