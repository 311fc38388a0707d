package tables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"secureapi/handler/rowstore"
)

// maxEmptyPages is how many pages without a row are followed before the
// service counts as unable to answer.
const maxEmptyPages = 32

var errEndless = errors.New("too many empty pages")

// List implements the contract of rowstore. The service's continuation token
// is opaque and its own; next is therefore the smallest key after the last one
// given, and pages that are empty but go on are followed here.
func (s *Store) List(ctx context.Context, partition string, r rowstore.Range) ([]rowstore.Row, string, error) {
	if err := rowstore.ValidateRange(partition, r); err != nil {
		return nil, "", err
	}
	filter := rangeFilter(partition, r)
	top := int32(r.Limit) // #nosec G115 -- at most rowstore.MaxPage
	format := aztables.MetadataFormatMinimal
	pager := s.client.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter, Top: &top, Format: &format})
	for range maxEmptyPages {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, "", failure("listing rows", err)
		}
		rows, err := decodePage(partition, page.Entities)
		if err != nil {
			return nil, "", fmt.Errorf("%w: listing rows: %w", rowstore.ErrUnavailable, err)
		}
		if !pager.More() {
			return rows, "", nil
		}
		if len(rows) > 0 {
			return rows, successor(rows[len(rows)-1].Key), nil
		}
	}
	return nil, "", fmt.Errorf("%w: listing rows: %w", rowstore.ErrUnavailable, errEndless)
}

// decodePage leaves out rows under keys that nothing here writes: planting
// them must not stop a scan.
func decodePage(partition string, entities [][]byte) ([]rowstore.Row, error) {
	rows := make([]rowstore.Row, 0, len(entities))
	for _, entity := range entities {
		row, err := decodeEntity(entity)
		if err != nil {
			return nil, err
		}
		if row.Partition == partition && rowstore.ValidateKey(row.Key) == nil {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func rangeFilter(partition string, r rowstore.Range) string {
	filter := "PartitionKey eq " + quote(partition)
	if r.From != "" {
		filter += " and RowKey ge " + quote(r.From)
	}
	if r.To != "" {
		filter += " and RowKey lt " + quote(r.To)
	}
	return filter
}

// quote writes an OData string literal. Keys hold no quote; that is checked
// elsewhere, and elsewhere is not here.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

const (
	// firstByte and lastByte bound the alphabet of keys.
	firstByte, lastByte = '-', '|'
	// alphabet is every byte of a key in ascending order.
	alphabet = "-.0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz|"
)

// successor is the smallest valid key greater than key, or "" if there is none.
func successor(key string) string {
	if len(key) < rowstore.MaxKey {
		return key + string(firstByte)
	}
	key = strings.TrimRight(key, string(lastByte))
	if key == "" {
		return ""
	}
	last := len(key) - 1
	next := alphabet[strings.IndexByte(alphabet, key[last])+1]
	return key[:last] + string(next)
}

// Scan reads every partition's rows whose keys begin with prefix ("" is all),
// in the order of partition and key, as they are at the time. It is for
// backups: nothing that serves a request goes over a whole table.
func (s *Store) Scan(ctx context.Context, prefix string, visit func(rowstore.Row) error) error {
	top := int32(rowstore.MaxPage)
	format := aztables.MetadataFormatMinimal
	options := &aztables.ListEntitiesOptions{Top: &top, Format: &format}
	if prefix != "" {
		if err := rowstore.ValidateKey(prefix); err != nil {
			return err
		}
		filter := "RowKey ge " + quote(prefix) + " and RowKey lt " + quote(prefix+"~")
		options.Filter = &filter
	}
	for pager := s.client.NewListEntitiesPager(options); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return failure("scanning rows", err)
		}
		for _, entity := range page.Entities {
			row, err := decodeEntity(entity)
			if err != nil {
				return fmt.Errorf("%w: scanning rows: %w", rowstore.ErrUnavailable, err)
			}
			if errors.Join(rowstore.ValidateKey(row.Partition), rowstore.ValidateKey(row.Key)) != nil {
				continue // nothing here writes such keys
			}
			if err := visit(row); err != nil {
				return err
			}
		}
	}
	return nil
}
