package tokenvault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/keyring"
	"secureapi/handler/operation"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

const (
	// eraseJob names the job in the audit log.
	eraseJob = "SweepErasures"
	// settle is how long an erasure is on the due list before Sweep looks at
	// it: longer than the request that lists it before writing it may take.
	settle = 2 * time.Minute
	// sweepBudget bounds the work on one erasure in one run.
	sweepBudget = time.Minute
	// sweepPage is the number of tokens in a transaction: a member and a token each.
	sweepPage = rowstore.MaxTransaction / 2
)

// attrErased marks a token row as a tombstone.
const attrErased = "Erased"

// tombstone is the sealed content of a token row after an erasure. It names
// nobody. It stays, so that a short format-preserving token is never given to
// somebody else.
type tombstone struct {
	State string `json:"state"`
}

func tombstonePlace(tenant, tokenHash string) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: Table, Partition: partitionOf(tenant, tokenHash),
		Key: tokenKey(tokenHash), Kind: "tombstone",
	}
}

// marksErased reports whether a row says that it is a tombstone.
func marksErased(row rowstore.Row) bool {
	_, marked := row.Attributes[attrErased]
	return marked
}

// checkTombstone: a mark alone, which anyone can write, hides no token.
func checkTombstone(keys *keyring.Keys, tenant, tokenHash string, row rowstore.Row) error {
	var t tombstone
	return rowseal.Open(keys.RowSeal(), tombstonePlace(tenant, tokenHash), row.Body, &t)
}

// Sweep continues every erasure that is due. It is safe to run at any time and
// beside itself. One erasure that cannot be helped does not keep the others
// waiting; the errors are joined.
func (e *Erasures) Sweep(ctx context.Context) error {
	p := authz.System(eraseJob, "", "", authz.ErasuresRun)
	if err := e.Audit.Check(ctx, p, authz.ErasuresRun); err != nil {
		return err
	}
	var problems []error
	var forged error // of any number, one: rows must not be able to fill the log
	err := e.due.Each(ctx, ErasureKind, settle, func(d operation.Due) error {
		one, cancel := context.WithTimeout(ctx, sweepBudget)
		defer cancel()
		if err := e.proceed(one, d); err != nil {
			problems = append(problems, fmt.Errorf("erasure %s: %w", d.Operation, err))
		}
		return ctx.Err()
	}, func(err error) { forged = err })
	if forged != nil {
		problems = append(problems, e.tampered(ctx, p, authz.ErasuresRun, forged))
	}
	return errors.Join(append(problems, err)...)
}

// proceed takes an erasure as far as it goes now.
func (e *Erasures) proceed(ctx context.Context, d operation.Due) error {
	tenant, id := d.Tenant, d.Operation
	o, err := e.ops.Get(ctx, tenant, id)
	if errors.Is(err, operation.ErrNotFound) {
		return e.due.Drop(ctx, ErasureKind, d) // listed, and then never written
	}
	p := authz.System(eraseJob, tenant, id, authz.ErasuresRun)
	if err != nil {
		return e.tampered(ctx, p, authz.ErasuresRun, err)
	}
	if o.State == operation.Completed {
		return e.due.Remove(ctx, ErasureKind, tenant, id)
	}
	keys, err := e.Keys.ForWrite(ctx)
	if err != nil {
		return err
	}
	if err := e.close(ctx, keys, o); err != nil {
		return e.tampered(ctx, p, authz.ErasuresRun, err)
	}
	err = e.sweep(ctx, keys, o)
	if errors.Is(err, operation.ErrChanged) {
		return nil // another run is at it
	}
	return err
}

// sweep removes what the subject's members name, waits, and looks again. No
// row can come between, since every writer needs the head: what the second
// look finds was put back by somebody, is removed, and is an alarm.
func (e *Erasures) sweep(ctx context.Context, keys *keyring.Keys, o *erasureOp) error {
	second := !o.Detail.Swept.IsZero()
	if second && e.Clock().Sub(o.Detail.Swept) < keyring.WriteLife {
		return nil
	}
	found, err := e.bury(ctx, keys, o)
	if err != nil {
		return err
	}
	if second && found == 0 {
		return e.complete(ctx, o)
	}
	if second {
		e.tamperedRow(ctx, o, "rows came back after the sweep")
	}
	o.Detail.Swept = e.Clock().UTC()
	return e.ops.Update(ctx, o)
}

// complete writes the receipt: the completed entry. After a crash behind it the
// entry may stand twice, with the same id and times.
func (e *Erasures) complete(ctx context.Context, o *erasureOp) error {
	if e.Clock().Before(o.Detail.Inaccessible) {
		return nil
	}
	p := authz.System(eraseJob, o.Tenant, o.ID, authz.ErasuresRun)
	err := e.Audit.Outcome(ctx, audit.Entry{
		ID: o.Authorised, Phase: audit.Completed, Action: string(authz.SubjectsErase), Actor: audit.ActorOf(p),
		Operation: o.ID, Reason: o.Detail.Reason,
		InaccessibleAt: o.Detail.Inaccessible, IrrecoverableAt: o.Detail.Irrecoverable,
	})
	if err != nil {
		return err
	}
	o.State = operation.Completed
	if err := e.ops.Update(ctx, o); err != nil {
		return err
	}
	return e.due.Remove(ctx, ErasureKind, o.Tenant, o.ID)
}

// bury removes the subject's members and turns its tokens into tombstones. It
// gives the number of members found.
func (e *Erasures) bury(ctx context.Context, keys *keyring.Keys, o *erasureOp) (int, error) {
	prefix := memberKey(o.Detail.Subject, "")
	page := rowstore.Range{From: prefix, To: prefix + "z", Limit: sweepPage}
	found := 0
	for {
		members, next, err := e.Store.List(ctx, partitionOf(o.Tenant, o.Detail.Subject), page)
		if err != nil {
			return found, fmt.Errorf("listing members: %w", err)
		}
		found += len(members)
		err = e.buryPage(ctx, keys, o, members)
		if conflict(err) {
			if ctx.Err() != nil {
				return found, err
			}
			continue // another sweep was at these rows: look again
		}
		if err != nil {
			return found, err
		}
		if next == "" {
			return found, nil
		}
		page.From = next
	}
}

func (e *Erasures) buryPage(ctx context.Context, keys *keyring.Keys, o *erasureOp, members []rowstore.Row) error {
	var mutations []rowstore.Mutation
	for _, member := range members {
		own, err := e.buryOne(ctx, keys, o, member)
		if err != nil {
			return err
		}
		mutations = append(mutations, own...)
	}
	if len(mutations) == 0 {
		return nil
	}
	if _, err := e.Store.Apply(ctx, mutations[0].Row.Partition, mutations); err != nil {
		return fmt.Errorf("removing rows of an erased subject: %w", err)
	}
	return nil
}

// buryOne gives the mutations for one member. A member that this system did
// not write names nothing: it goes, and what it points at stays.
func (e *Erasures) buryOne(
	ctx context.Context, keys *keyring.Keys, o *erasureOp, member rowstore.Row,
) ([]rowstore.Mutation, error) {
	mutations := []rowstore.Mutation{{Action: rowstore.Delete, Row: rowstore.Row{
		Partition: member.Partition, Key: member.Key, Version: member.Version,
	}}}
	tokenHash := strings.TrimPrefix(member.Key, memberKey(o.Detail.Subject, ""))
	var document memberDocument
	place := memberPlace(o.Tenant, o.Detail.Subject, tokenHash)
	if err := rowseal.Open(keys.RowSeal(), place, member.Body, &document); err != nil {
		e.tamperedRow(ctx, o, "member")
		return mutations, nil //nolint:nilerr // the alarm is raised; the member goes, its token stays
	}
	row, err := e.Store.Get(ctx, member.Partition, tokenKey(tokenHash))
	switch {
	case errors.Is(err, rowstore.ErrNotFound):
		return mutations, nil
	case err != nil:
		return nil, fmt.Errorf("reading token of an erased subject: %w", err)
	case marksErased(row):
		return mutations, nil
	case row.Attributes[attrSubject] != o.Detail.Subject:
		e.tamperedRow(ctx, o, "token")
		return mutations, nil
	}
	grave := tombstonePlace(o.Tenant, tokenHash)
	body, err := rowseal.Seal(keys.RowSeal(), grave, tombstone{State: stateErased})
	if err != nil {
		return nil, err
	}
	return append(mutations, rowstore.Mutation{Action: rowstore.Replace, Row: rowstore.Row{
		Partition: grave.Partition, Key: grave.Key, Body: body, Version: row.Version,
		Attributes: map[string]string{attrErased: "1"},
	}}), nil
}
