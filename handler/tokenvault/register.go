package tokenvault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secureapi/handler/keyring"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

// ErasuresTable is the register of erased subjects, in the audit account: who
// can write the records cannot write it. A row is never deleted. It serves two
// ends: an old head that comes back is found out, and a restore of an older
// backup knows whom to erase again (docs/adr/0005-erasures-are-registered.md).
//
// It has the records' partitions; a key is a subject's keyed hash.
const ErasuresTable = "erasures"

// The states of a registration.
const (
	erasing = "erasing" // the head's change is under way
	erased  = "erased"  // the head has been changed
)

// registration is the sealed content of a row of the register.
type registration struct {
	State      string    `json:"state"`
	Operation  string    `json:"operation"`
	Authorised string    `json:"authorised"` // id of the audit entry
	Since      time.Time `json:"since"`
}

func registrationPlace(tenant, subjectHash string) rowseal.Place {
	return rowseal.Place{
		Tenant: tenant, Table: ErasuresTable, Partition: partitionOf(tenant, subjectHash),
		Key: subjectHash, Kind: "erasure",
	}
}

// readRegistration gives a subject's registration, or rowstore.ErrNotFound.
func (v *Vault) readRegistration(
	ctx context.Context, keys *keyring.Keys, tenant, subjectHash string,
) (r registration, version string, err error) {
	place := registrationPlace(tenant, subjectHash)
	row, err := v.Erased.Get(ctx, place.Partition, place.Key)
	if err != nil {
		return registration{}, "", fmt.Errorf("reading the register of erasures: %w", err)
	}
	err = rowseal.Open(keys.RowSeal(), place, row.Body, &r)
	return r, row.Version, err
}

// register makes the registration say at least what r says: "erased" is never
// taken back.
func (v *Vault) register(ctx context.Context, keys *keyring.Keys, tenant, subjectHash string, r registration) error {
	place := registrationPlace(tenant, subjectHash)
	for range maxAttempts {
		there, version, err := v.readRegistration(ctx, keys, tenant, subjectHash)
		action := rowstore.Replace
		switch {
		case errors.Is(err, rowstore.ErrNotFound):
			action = rowstore.Insert
		case errors.Is(err, rowseal.ErrTampered):
			// What somebody planted here must not keep a subject from being erased.
		case err != nil:
			return err
		case there.State == erased || there.State == r.State:
			return nil
		}
		body, err := rowseal.Seal(keys.RowSeal(), place, r)
		if err != nil {
			return err
		}
		_, err = v.Erased.Apply(ctx, place.Partition, []rowstore.Mutation{{Action: action, Row: rowstore.Row{
			Partition: place.Partition, Key: place.Key, Body: body, Version: version,
		}}})
		if err == nil {
			return nil
		}
		if !conflict(err) {
			return fmt.Errorf("registering the erasure: %w", err)
		}
	}
	return ErrBusy
}

// refuseErased holds an active head against the register. A head that is
// active although the register says "erased" was put back by somebody.
func (v *Vault) refuseErased(ctx context.Context, keys *keyring.Keys, tenant, subjectHash string) error {
	r, _, err := v.readRegistration(ctx, keys, tenant, subjectHash)
	switch {
	case errors.Is(err, rowstore.ErrNotFound):
		return nil
	case err != nil:
		return err
	case r.State != erased:
		return ErrErased
	}
	// The register was read after the head: the erasure may have come between.
	row, err := v.Store.Get(ctx, partitionOf(tenant, subjectHash), headKey(subjectHash))
	if err != nil {
		return fmt.Errorf("reading subject head again: %w", err)
	}
	var head headDocument
	if err := rowseal.Open(keys.RowSeal(), headPlace(tenant, subjectHash), row.Body, &head); err != nil {
		return err
	}
	if head.State == stateActive {
		return fmt.Errorf("%w: head of an erased subject", rowseal.ErrTampered)
	}
	return ErrErased
}
