package tokenvault

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/envelope"
	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// MaxImportRows is the number of rows of one Import.
const MaxImportRows = 2000

// maxParallelWrites bounds the transactions that one import has under way. A
// tenant's 16 partitions take no more than one each.
const maxParallelWrites = 8

// Row is one row of an import: values of one data subject.
type Row struct {
	// Subject is the opaque reference of the data subject. Where Named is
	// false a random one is drawn.
	Subject string
	Named   bool
	// Items are the row's values; their Subject is not used.
	Items []Item
}

// ColumnError refuses a row because of one of its items. It holds no value.
type ColumnError struct {
	Column int // index into Row.Items; -1 is the subject
	Code   string
}

// Imported is the outcome of one row: a token for each item, or what is wrong
// with it. A row is stored whole or not at all.
type Imported struct {
	Tokens  []string
	Invalid []ColumnError
}

// Import stores the rows of one chunk of an operation. It is for the system's
// own job, which continues what the operation row records as authorised.
//
// Everything random is drawn from key, the operation's own, and the chunk's
// name: the same chunk imported again, after a crash or beside itself, writes
// the same rows under the same tokens and so stores nothing twice.
func (v *Vault) Import(
	ctx context.Context, p authz.Principal, key envelope.Key, chunk string, rows []Row,
) ([]Imported, error) {
	if err := v.Audit.Check(ctx, p, authz.ImportsRun); err != nil {
		return nil, err
	}
	if len(rows) == 0 || len(rows) > MaxImportRows {
		return nil, fmt.Errorf("importing: %d rows in a chunk", len(rows))
	}
	keys, err := v.Keys.ForWrite(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]Imported, len(rows))
	items, err := v.planRows(keys, p.TenantID, key, chunk, rows, results)
	if err != nil {
		return nil, err
	}
	units, err := v.importUnits(ctx, keys, p.TenantID, items, results)
	if err != nil {
		return nil, v.tampered(ctx, p, authz.ImportsRun, err)
	}
	ticket, err := v.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.ImportsRun), Actor: audit.ActorOf(p), Operation: p.Operation(),
		Objects: objects(units), Count: itemsOf(units),
	})
	if err != nil {
		return nil, err
	}
	if err := v.commitPartitions(ctx, keys, units); err != nil {
		ticket.Failed(reasonOf(err))
		return nil, v.tampered(ctx, p, authz.ImportsRun, err)
	}
	ticket.Completed(func(e *audit.Entry) { e.Objects = objects(units) })
	for _, item := range items {
		if results[item.row].Invalid == nil {
			results[item.row].Tokens[item.column] = item.token
		}
	}
	return results, nil
}

// rowItem is an item that knows its cell.
type rowItem struct {
	*planned
	row, column int
}

// planRows parses every row and draws what is random about the valid ones.
func (v *Vault) planRows(
	keys *keyring.Keys, tenant string, key envelope.Key, chunk string, rows []Row, results []Imported,
) ([]rowItem, error) {
	var items []rowItem
	drawn := make(drawn)
	for r, row := range rows {
		parsed := v.parseRow(row, &results[r])
		if results[r].Invalid != nil {
			continue
		}
		results[r].Tokens = make([]string, len(row.Items))
		subject := row.Subject
		if !row.Named {
			subject = hex.EncodeToString(key.Derive("import subject", subjectBytes, chunk, strconv.Itoa(r)))
		}
		for c, item := range parsed {
			item.subject, item.drawn = subject, !row.Named
			source, err := drawSource(key, chunk, r, c)
			if err != nil {
				return nil, err
			}
			if err := drawn.draw(item, keys, tenant, source); err != nil {
				return nil, err
			}
			items = append(items, rowItem{item, r, c})
		}
	}
	return items, nil
}

func (v *Vault) parseRow(row Row, result *Imported) []*planned {
	if row.Named && !validSubject(row.Subject) {
		result.Invalid = append(result.Invalid, ColumnError{Column: -1, Code: "subject_invalid"})
	}
	parsed := make([]*planned, 0, len(row.Items))
	for c, item := range row.Items {
		item.Subject = ""
		one, invalid := parse(c, item, v.Clock)
		if invalid == nil {
			parsed = append(parsed, one)
			continue
		}
		for _, field := range invalid.Fields {
			result.Invalid = append(result.Invalid, ColumnError{Column: c, Code: field.Code})
		}
	}
	return parsed
}

// drawSource is the stream of random bytes of one cell: AES-256-CTR under a
// key of its own, so that an all-zero counter block is used once per key.
func drawSource(key envelope.Key, chunk string, row, column int) (io.Reader, error) {
	const keySize = 32
	block, err := aes.NewCipher(key.Derive("import draw", keySize, chunk, strconv.Itoa(row), strconv.Itoa(column)))
	if err != nil {
		return nil, fmt.Errorf("drawing for an import: %w", err)
	}
	counter := make([]byte, aes.BlockSize)
	return cipher.StreamReader{S: cipher.NewCTR(block, counter), R: zeros{}}, nil //nolint:gosec // G407: the key is used once
}

// zeros is an endless source of zero bytes for a stream cipher.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// importUnits groups items by subject, reading the heads of named subjects in
// parallel. A row whose subject was erased is refused like any invalid one.
func (v *Vault) importUnits(
	ctx context.Context, keys *keyring.Keys, tenant string, items []rowItem, results []Imported,
) ([]*unit, error) {
	subjects, err := v.headsOf(ctx, keys, tenant, items)
	if err != nil {
		return nil, err
	}
	var units []*unit
	bySubject := make(map[string]*unit, len(subjects))
	for _, item := range items {
		s := subjects[item.hash]
		if s == nil {
			results[item.row] = Imported{Invalid: []ColumnError{{Column: -1, Code: "subject_erased"}}}
			continue
		}
		u, ok := bySubject[item.hash]
		if !ok {
			u = &unit{subject: s}
			bySubject[item.hash] = u
			units = append(units, u)
		}
		u.items = append(u.items, item.planned)
	}
	return units, nil
}

// headsOf gives each item's subject by its hash; nil where it was erased.
func (v *Vault) headsOf(
	ctx context.Context, keys *keyring.Keys, tenant string, items []rowItem,
) (map[string]*subject, error) {
	found := make(map[string]*subject, len(items))
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelReads)
	for _, item := range items {
		mu.Lock()
		_, asked := found[item.hash]
		if !asked {
			found[item.hash] = nil
		}
		mu.Unlock()
		if asked {
			continue
		}
		group.Go(func() error {
			s, err := v.subjectFor(ctx, keys, tenant, item.planned)
			if errors.Is(err, ErrErased) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			found[item.hash] = s
			return err
		})
	}
	return found, group.Wait()
}

// commitPartitions writes units partition by partition, several at once.
// Inside a partition they go in order, because units of one subject build on
// one another's head.
func (v *Vault) commitPartitions(ctx context.Context, keys *keyring.Keys, units []*unit) error {
	byPartition := make(map[string][]*unit)
	for _, u := range units {
		partition := partitionOf(u.subject.tenant, u.subject.hash)
		byPartition[partition] = append(byPartition[partition], u)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelWrites)
	for _, own := range byPartition {
		group.Go(func() error {
			return v.commit(ctx, keys, own, func(u *unit) error { return v.redrawTaken(ctx, keys, u) })
		})
	}
	return group.Wait()
}

// redrawTaken gives another token to each item of u whose token is another
// row's. The item's own source goes on where it stopped, so that a repeat of
// the import comes to the same token.
func (v *Vault) redrawTaken(ctx context.Context, keys *keyring.Keys, u *unit) error {
	for _, item := range u.items {
		_, err := v.isStored(ctx, u.subject, item)
		switch {
		case err == nil:
		case errors.Is(err, errTaken):
			if err := item.drawToken(keys, u.subject.tenant); err != nil {
				return err
			}
		case errors.Is(err, rowseal.ErrTampered), errors.Is(err, rowstore.ErrUnavailable):
			return err
		default:
			return fmt.Errorf("drawing another token: %w", err)
		}
	}
	return nil
}

func itemsOf(units []*unit) int {
	n := 0
	for _, u := range units {
		n += len(u.items)
	}
	return n
}
