package tokenvault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/dataclass"
	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// maxParallelReads bounds what one call asks of the store at once.
const maxParallelReads = 8

// found is a token on its way to being opened. A token of another tenant, an
// erased subject and a token that never was look the same: absent.
type found struct {
	token   string
	row     tokenRow
	subject *subject
	absent  bool
	broken  error
}

// find reads token rows and then their subjects' keys, each subject's once,
// without opening any value.
func (v *Vault) find(ctx context.Context, keys *keyring.Keys, tenant string, tokens []string) ([]*found, error) {
	list := make([]*found, len(tokens))
	rows, rowsCtx := errgroup.WithContext(ctx)
	rows.SetLimit(maxParallelReads)
	for i, token := range tokens {
		rows.Go(func() error {
			f, err := v.findRow(rowsCtx, keys, tenant, token)
			list[i] = f
			return err
		})
	}
	if err := rows.Wait(); err != nil {
		return nil, err
	}
	bySubject := make(map[string][]*found)
	for _, f := range list {
		if !f.absent && f.broken == nil {
			bySubject[f.row.subjectHash] = append(bySubject[f.row.subjectHash], f)
		}
	}
	subjects, subjectsCtx := errgroup.WithContext(ctx)
	subjects.SetLimit(maxParallelReads)
	for hash, same := range bySubject {
		subjects.Go(func() error { return v.findSubject(subjectsCtx, keys, tenant, hash, same) })
	}
	if err := subjects.Wait(); err != nil {
		return nil, err
	}
	return list, nil
}

func (v *Vault) findRow(ctx context.Context, keys *keyring.Keys, tenant, token string) (*found, error) {
	f := &found{token: token}
	hash := keys.TokenHash(tenant, token)
	row, err := v.Store.Get(ctx, partitionOf(tenant, hash), tokenKey(hash))
	if errors.Is(err, rowstore.ErrNotFound) {
		f.absent = true
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading token: %w", err)
	}
	if marksErased(row) {
		f.absent, f.broken = true, checkTombstone(keys, tenant, hash, row)
		return f, nil
	}
	f.row, f.broken = readTokenRow(tenant, hash, row)
	return f, nil
}

// findSubject puts the key of one subject's tokens at hand. What is wrong with
// the subject is its tokens' outcome; an error is a store that does not answer.
func (v *Vault) findSubject(ctx context.Context, keys *keyring.Keys, tenant, hash string, tokens []*found) error {
	s, err := v.knownSubject(ctx, keys, tenant, hash)
	absent := errors.Is(err, ErrErased)
	// A token without its subject was never written by this system.
	broken := errors.Is(err, rowstore.ErrNotFound) || errors.Is(err, rowseal.ErrTampered)
	if err != nil && !absent && !broken {
		return err
	}
	for _, f := range tokens {
		f.subject, f.absent = s, absent
		if broken {
			f.broken = err
		}
	}
	return nil
}

// refind reads the subjects again that were found so long ago that they may
// have been erased since: no call opens a value with a key older than
// subjectLife, however long its audit entry took.
func (v *Vault) refind(ctx context.Context, keys *keyring.Keys, tenant string, list []*found) error {
	old := make(map[string][]*found)
	for _, f := range list {
		if f.subject != nil && v.subjects.aged(f.subject) {
			old[f.row.subjectHash] = append(old[f.row.subjectHash], f)
		}
	}
	for hash, same := range old {
		if err := v.findSubject(ctx, keys, tenant, hash, same); err != nil {
			return err
		}
	}
	return nil
}

// object names what was asked for in the audit log. A token that is absent
// or broken is named by a keyed hash that no subject's key stands behind.
func (f *found) object(keys *keyring.Keys, tenant string) audit.Object {
	if f.subject == nil {
		return audit.Object{Pseudonym: keys.Pseudonym("absent token", tenant, f.token), Class: string(f.row.class)}
	}
	return objectOf(f.subject, f.row.tokenHash, f.row.class)
}

// Opened is the outcome for one token of a call that opens values.
type Opened struct {
	Token   string
	Class   dataclass.Class
	Created time.Time
	Value   dataclass.Secret // in clear or, from Inspect, masked
	// Err is nil, ErrNoToken or ErrIntegrity.
	Err error
}

// ErrNoToken: there is no such token for this caller.
var ErrNoToken = errors.New("no such token")

// openAll decrypts what was found. The audit entry is durable before.
func (v *Vault) openAll(
	ctx context.Context, p authz.Principal, permission authz.Permission, list []*found,
	show func(dataclass.Definition, dataclass.Secret) dataclass.Secret,
) []Opened {
	results := make([]Opened, len(list))
	for i, f := range list {
		results[i] = Opened{Token: f.token}
		if f.absent && f.broken == nil {
			results[i].Err = ErrNoToken
			continue
		}
		r, err := f.open()
		if err != nil {
			results[i].Err = v.alarm(ctx, p, permission, err)
			continue
		}
		shape, _ := dataclass.Lookup(f.row.class)
		results[i].Class, results[i].Created = f.row.class, r.created
		results[i].Value = show(shape, dataclass.NewSecret(r.value))
	}
	return results
}

func (f *found) open() (record, error) {
	if f.broken != nil {
		return record{}, f.broken
	}
	return f.row.open(f.subject.key, f.token)
}

// parseTokens refuses what cannot be a token, so that a value sent by mistake
// is neither looked up nor echoed.
func parseTokens(tokens []string, most int) error {
	if len(tokens) == 0 || len(tokens) > most {
		return &InvalidError{Fields: []*FieldError{{
			Pointer: "/tokens", Code: "tokens_count", Detail: fmt.Sprintf("must hold 1 to %d tokens", most),
		}}}
	}
	var invalid InvalidError
	seen := make(map[string]bool, len(tokens))
	for i, token := range tokens {
		pointer := fmt.Sprintf("/tokens/%d", i)
		if _, err := dataclass.ParseToken(token); err != nil {
			invalid.Fields = append(invalid.Fields, &FieldError{Pointer: pointer, Code: "token_malformed", Detail: "is not a token"})
		} else if seen[token] {
			invalid.Fields = append(invalid.Fields, &FieldError{Pointer: pointer, Code: "token_repeated", Detail: "stands in the list already"})
		}
		seen[token] = true
	}
	if len(invalid.Fields) > 0 {
		return &invalid
	}
	return nil
}
