// Package tables implements the contract of rowstore over Azure Table Storage.
//
// A row is one entity. Its body lies in binary properties Body0, Body1, … of
// 64 KiB each, its attributes in string properties of their own names, its
// version is the entity's tag. One mutation is one entity request; several are
// one entity group transaction.
//
// Trust boundary: rows read are outside data. This package undoes the encoding
// and no more; a row that it did not write comes back with an empty body, or
// not at all where its key could never be ours, and the caller, whose sealed
// body does not open, raises the alarm. No error repeats a key or a response:
// both hold identifiers, so errors are built from status and code alone.
package tables

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"secureapi/handler/azure"
	"secureapi/handler/rowstore"
)

// tableName is what the service takes as the name of a table.
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)

// Service is one account's table service.
type Service struct {
	client *aztables.ServiceClient
}

// NewService talks to endpoint (https://<account>.table.<suffix>), which it
// does not contact yet.
func NewService(endpoint string, credential azcore.TokenCredential, options azcore.ClientOptions) (*Service, error) {
	if err := azure.CheckEndpoint(endpoint); err != nil {
		return nil, fmt.Errorf("table service: %w", err)
	}
	client, err := aztables.NewServiceClient(endpoint, credential, &aztables.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, fmt.Errorf("making the table client: %w", err)
	}
	return &Service{client}, nil
}

// Store is one table; it is safe for concurrent use.
type Store struct {
	client *aztables.Client
}

// Table gives the store of one table, which the deployment has made.
func (s *Service) Table(name string) (*Store, error) {
	if !tableName.MatchString(name) {
		return nil, errors.New("not a table name")
	}
	return &Store{s.client.NewClient(name)}, nil
}

// Get implements the contract of rowstore.
func (s *Store) Get(ctx context.Context, partition, key string) (rowstore.Row, error) {
	if err := errors.Join(rowstore.ValidateKey(partition), rowstore.ValidateKey(key)); err != nil {
		return rowstore.Row{}, err
	}
	format := aztables.MetadataFormatNone
	resp, err := s.client.GetEntity(ctx, partition, key, &aztables.GetEntityOptions{Format: &format})
	if err != nil {
		return rowstore.Row{}, failure("reading a row", err)
	}
	row, err := decodeEntity(resp.Value)
	if err != nil {
		return rowstore.Row{}, fmt.Errorf("%w: reading a row: %w", rowstore.ErrUnavailable, err)
	}
	// The entity's own claim about where it stands is not needed.
	row.Partition, row.Key, row.Version = partition, key, string(resp.ETag)
	return row, nil
}

// Apply implements the contract of rowstore.
func (s *Store) Apply(ctx context.Context, partition string, mutations []rowstore.Mutation) ([]string, error) {
	if err := rowstore.Validate(partition, mutations); err != nil {
		return nil, err
	}
	entities := make([][]byte, len(mutations))
	for i, m := range mutations {
		entity, err := encodeEntity(m)
		if err != nil {
			return nil, fmt.Errorf("mutation %d: %w", i, err)
		}
		entities[i] = entity
	}
	if len(mutations) == 1 {
		version, err := s.applyOne(ctx, mutations[0], entities[0])
		if err != nil {
			return nil, mutationFailure(0, failure("writing a row", err))
		}
		return []string{version}, nil
	}
	return s.transact(ctx, mutations, entities)
}

func (s *Store) applyOne(ctx context.Context, m rowstore.Mutation, entity []byte) (string, error) {
	tag := azcore.ETag(m.Row.Version)
	switch m.Action {
	case rowstore.Insert:
		// Without this header the service sends the whole entity back.
		ctx = policy.WithHTTPHeader(ctx, http.Header{"Prefer": {"return-no-content"}})
		resp, err := s.client.AddEntity(ctx, entity, nil)
		return string(resp.ETag), err
	case rowstore.Delete:
		_, err := s.client.DeleteEntity(ctx, m.Row.Partition, m.Row.Key, &aztables.DeleteEntityOptions{IfMatch: &tag})
		return "", err
	default:
		mode := aztables.UpdateModeReplace
		if m.Action == rowstore.Merge {
			mode = aztables.UpdateModeMerge
		}
		resp, err := s.client.UpdateEntity(ctx, entity, &aztables.UpdateEntityOptions{IfMatch: &tag, UpdateMode: mode})
		return string(resp.ETag), err
	}
}

// failure tells an SDK error in the terms of rowstore.
func failure(step string, err error) error {
	return classify(step, azure.Inspect(err))
}

// classify knows conditions by status and code together: a missing table is
// 404 as well, and must not pass for a missing row.
func classify(step string, fault *azure.Fault) error {
	switch {
	case fault.Status == http.StatusNotFound && fault.Code == "ResourceNotFound":
		return rowstore.ErrNotFound
	case fault.Status == http.StatusConflict && fault.Code == "EntityAlreadyExists":
		return rowstore.ErrExists
	case fault.Status == http.StatusPreconditionFailed:
		return rowstore.ErrChanged
	case fault.Refused():
		return fmt.Errorf("%w: %s: %w", rowstore.ErrInvalid, step, fault)
	default:
		return fmt.Errorf("%w: %s: %w", rowstore.ErrUnavailable, step, fault)
	}
}

// mutationFailure gives a failed condition its position.
func mutationFailure(index int, err error) error {
	for _, condition := range []error{rowstore.ErrNotFound, rowstore.ErrExists, rowstore.ErrChanged} {
		if errors.Is(err, condition) {
			return &rowstore.MutationError{Index: index, Err: condition}
		}
	}
	return err
}
