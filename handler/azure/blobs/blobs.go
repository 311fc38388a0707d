// Package blobs keeps small blobs of bounded size in one container of Azure
// Blob Storage: the sealed chunks and results of operations.
//
// Trust boundary: as with table rows, whoever can write the container can
// return anything. The caller seals what it puts and opens what it gets; this
// package only bounds how much it reads. Names are chosen by the caller from
// ids, are checked all the same, and stand in no error.
package blobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"secureapi/handler/azure"
	"secureapi/handler/rowstore"
)

const (
	// maxSize is the most that a container may be opened for: the transport
	// lets no larger response through.
	maxSize = 16 << 20
)

var (
	containerName = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)

	errOversize = errors.New("blob is larger than this container's limit")
)

// Container is one container. It is safe for concurrent use.
//
// It makes a client per blob: the SDK's container client links a columnar
// data library of many megabytes, and a client costs microseconds.
type Container struct {
	url        string
	credential azcore.TokenCredential
	options    blockblob.ClientOptions
	maxSize    int
}

// NewContainer opens the container called name at endpoint
// (https://<account>.blob.<suffix>), which it does not contact yet. No blob
// written or read is larger than limit.
func NewContainer(endpoint, name string, limit int, credential azcore.TokenCredential, options azcore.ClientOptions) (*Container, error) {
	if err := azure.CheckEndpoint(endpoint); err != nil {
		return nil, fmt.Errorf("blob service: %w", err)
	}
	if !containerName.MatchString(name) {
		return nil, errors.New("blob service: not a container name")
	}
	if limit < 1 || limit > maxSize {
		return nil, fmt.Errorf("blob service: a limit of %d bytes", limit)
	}
	return &Container{
		url: endpoint + "/" + name, credential: credential,
		options: blockblob.ClientOptions{ClientOptions: options}, maxSize: limit,
	}, nil
}

// blob gives the client of a blob whose name has been checked.
func (c *Container) blob(name string) (*blockblob.Client, error) {
	segments := strings.Split(name, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	options := c.options
	client, err := blockblob.NewClient(c.url+"/"+strings.Join(segments, "/"), c.credential, &options)
	if err != nil {
		return nil, fmt.Errorf("%w: making the blob client", rowstore.ErrInvalid)
	}
	return client, nil
}

// Put creates or overwrites a blob.
func (c *Container) Put(ctx context.Context, name string, data []byte) error {
	return c.upload(ctx, "putting a blob", name, data, nil)
}

// Create writes a blob that must not exist: rowstore.ErrExists. The SDK may
// repeat a request whose answer was lost, so ErrExists can be the echo of this
// very call.
func (c *Container) Create(ctx context.Context, name string, data []byte) error {
	anything := azcore.ETagAny
	return c.upload(ctx, "creating a blob", name, data, &blob.AccessConditions{
		ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &anything},
	})
}

func (c *Container) upload(ctx context.Context, step, name string, data []byte, conditions *blob.AccessConditions) error {
	if err := c.check(name, data); err != nil {
		return err
	}
	client, err := c.blob(name)
	if err != nil {
		return err
	}
	_, err = client.Upload(ctx, streaming.NopCloser(bytes.NewReader(data)),
		&blockblob.UploadOptions{AccessConditions: conditions})
	return failure(step, err)
}

// Get reads a blob: rowstore.ErrNotFound where there is none.
func (c *Container) Get(ctx context.Context, name string) (data []byte, err error) {
	const step = "getting a blob"
	if err := c.check(name, nil); err != nil {
		return nil, err
	}
	client, err := c.blob(name)
	if err != nil {
		return nil, err
	}
	resp, err := client.DownloadStream(ctx, nil)
	if err != nil {
		return nil, failure(step, err)
	}
	defer func() {
		if closeErr := resp.Body.Close(); closeErr != nil && err == nil {
			data, err = nil, failure(step, closeErr)
		}
	}()
	data, err = io.ReadAll(io.LimitReader(resp.Body, int64(c.maxSize)+1))
	if err != nil {
		return nil, failure(step, err)
	}
	if len(data) > c.maxSize {
		return nil, fmt.Errorf("%w: %s: %w", rowstore.ErrInvalid, step, errOversize)
	}
	return data, nil
}

// Delete removes a blob; that there is none is no error.
func (c *Container) Delete(ctx context.Context, name string) error {
	if err := c.check(name, nil); err != nil {
		return err
	}
	client, err := c.blob(name)
	if err != nil {
		return err
	}
	_, err = client.Delete(ctx, nil)
	err = failure("deleting a blob", err)
	if errors.Is(err, rowstore.ErrNotFound) {
		return nil
	}
	return err
}

func (c *Container) check(name string, data []byte) error {
	if err := rowstore.ValidateBlobName(name); err != nil {
		return err
	}
	if len(data) > c.maxSize {
		return fmt.Errorf("%w: a blob of %d bytes", rowstore.ErrInvalid, len(data))
	}
	return nil
}

// failure tells an SDK error in the terms of rowstore. A missing container is
// 404 as well, and must not pass for a missing blob.
func failure(step string, err error) error {
	if err == nil {
		return nil
	}
	fault := azure.Inspect(err)
	switch {
	case fault.Status == http.StatusNotFound && fault.Code == "BlobNotFound":
		return rowstore.ErrNotFound
	case fault.Status == http.StatusConflict && fault.Code == "BlobAlreadyExists":
		return rowstore.ErrExists
	case fault.Refused():
		return fmt.Errorf("%w: %s: %w", rowstore.ErrInvalid, step, fault)
	default:
		return fmt.Errorf("%w: %s: %w", rowstore.ErrUnavailable, step, fault)
	}
}
