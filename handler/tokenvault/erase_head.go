package tokenvault

import (
	"context"
	"errors"
	"fmt"

	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// stateErased is a head without a key. It stays for ever: it keeps the subject
// from being made again, by a late writer too.
const stateErased = "erased"

// maxEraseAttempts bounds the fight for a head that others write at once. They
// drop out one after the other, because the register refuses them.
const maxEraseAttempts = 40

// eraseHead drops the subject's key. Every transaction that writes a token
// carries the head, inserted or at the version it read: whichever of the two
// comes second fails. Whatever stood there, it returns nil only when the head
// is erased.
func (e *Erasures) eraseHead(ctx context.Context, keys *keyring.Keys, o *erasureOp) error {
	defer e.subjects.drop(o.Tenant, o.Detail.Subject)
	var cause error
	for attempt := range maxEraseAttempts {
		done, err := e.tryEraseHead(ctx, keys, o)
		if done {
			return nil
		}
		if !conflict(err) && !errors.Is(err, rowstore.ErrUnavailable) {
			return err
		}
		cause = err
		if err := e.pause(ctx, attempt); err != nil {
			return fmt.Errorf("erasing subject head: %w", err)
		}
	}
	return fmt.Errorf("%w: %w", ErrBusy, cause)
}

func (e *Erasures) tryEraseHead(ctx context.Context, keys *keyring.Keys, o *erasureOp) (done bool, err error) {
	place := headPlace(o.Tenant, o.Detail.Subject)
	next := headDocument{State: stateErased, Epoch: 1}
	mutation := rowstore.Mutation{Action: rowstore.Insert, Row: rowstore.Row{Partition: place.Partition, Key: place.Key}}
	row, err := e.Store.Get(ctx, place.Partition, place.Key)
	switch {
	case errors.Is(err, rowstore.ErrNotFound):
		next.Created = e.Clock().UTC()
	case err != nil:
		return false, fmt.Errorf("reading subject head: %w", err)
	default:
		var head headDocument
		openErr := rowseal.Open(keys.RowSeal(), place, row.Body, &head)
		if openErr == nil && head.State == stateErased {
			return true, nil
		}
		if openErr != nil {
			e.tamperedRow(ctx, o, "head") // and overwritten: nobody's key is lost by that
		}
		next.Epoch, next.Created = head.Epoch+1, head.Created
		mutation.Action, mutation.Row.Version = rowstore.Replace, row.Version
	}
	if mutation.Row.Body, err = rowseal.Seal(keys.RowSeal(), place, next); err != nil {
		return false, err
	}
	if _, err := e.Store.Apply(ctx, place.Partition, []rowstore.Mutation{mutation}); err != nil {
		return false, fmt.Errorf("erasing subject head: %w", err)
	}
	return true, nil
}
