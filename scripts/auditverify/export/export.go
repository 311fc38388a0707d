// Package export copies the audit log out of its account: the rows of table
// "audit" and the blobs of the write-once container, as they are. It needs no
// right but to read.
//
// Trust boundary: it believes nothing of what it copies; package verify judges
// the copy. Blobs are found by listing the container and never through a row,
// since whoever writes the table must not be able to hide one.
package export

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"secureapi/handler/rowstore"
	"secureapi/scripts/auditverify/verify"
)

// maxNote bounds a blob that is copied: a checkpoint has some 250 bytes.
const maxNote = 64 << 10

// Export copies the rows of table "audit", which handler/azure/tables reads, and
// the blobs. url is the container's.
func Export(ctx context.Context, table rowstore.Lister, url string, credential azcore.TokenCredential, options azcore.ClientOptions) (verify.Archive, error) {
	var a verify.Archive
	// Blobs first: a checkpoint that is published meanwhile covers rows that
	// are still to be read, and must not look like a truncated table.
	var err error
	if a.Notes, err = notes(ctx, url, credential, options); err != nil {
		return a, err
	}
	var streams []string
	for _, partition := range []string{"streams", "streams.closed"} {
		rows, err := list(ctx, table, partition)
		if err != nil {
			return a, err
		}
		for _, row := range rows {
			streams = append(streams, row.Key)
		}
		a.Rows = append(a.Rows, rows...)
	}
	slices.Sort(streams)
	for _, partition := range slices.Concat([]string{"checkpoints", "tree"}, slices.Compact(streams)) {
		rows, err := list(ctx, table, partition)
		if err != nil {
			return a, err
		}
		a.Rows = append(a.Rows, rows...)
	}
	return a, nil
}

func list(ctx context.Context, table rowstore.Lister, partition string) (all []verify.Row, err error) {
	for row, err := range rowstore.All(ctx, table, partition, rowstore.Range{Limit: rowstore.MaxPage}) {
		if err != nil {
			return nil, fmt.Errorf("exporting rows: %w", err)
		}
		all = append(all, verify.Row{Partition: row.Partition, Key: row.Key, Body: row.Body, Attributes: row.Attributes})
	}
	return all, nil
}

func notes(ctx context.Context, url string, credential azcore.TokenCredential, options azcore.ClientOptions) (map[string][]byte, error) {
	client, err := container.NewClient(url, credential, &container.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, fmt.Errorf("exporting checkpoints: %w", err)
	}
	all := map[string][]byte{}
	for pages := client.NewListBlobsFlatPager(nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("exporting checkpoints: %w", err)
		}
		for _, item := range page.Segment.BlobItems {
			resp, err := client.NewBlobClient(*item.Name).DownloadStream(ctx, nil)
			if err != nil {
				return nil, fmt.Errorf("exporting checkpoints: %w", err)
			}
			note, err := readAll(resp.Body)
			if err != nil {
				return nil, fmt.Errorf("exporting checkpoints: %w", err)
			}
			all[*item.Name] = note
		}
	}
	return all, nil
}

func readAll(body io.ReadCloser) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, body, maxNote))
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	return b, err //nolint:wrapcheck // the caller wraps
}
