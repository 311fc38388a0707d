package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// key names a version of a key in Key Vault.
type key struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func (d *demo) keyScene() scene {
	return scene{
		"A new key, and not one value touched",
		`Key Vault gets a new version of the key, and the operator adopts it: the root of the keyring is wrapped anew. What
		hangs below it, customers' keys and values, stays as it is and opens as before.`,
		d.runKeys,
	}
}

// wrappedBy is the key version that protects the newest generation.
func (d *demo) wrappedBy(ctx context.Context) (key, error) {
	var keys struct {
		Generations []struct {
			WrappedBy key `json:"wrappedBy"`
		} `json:"generations"`
	}
	if _, err := d.ask(ctx, "operator", http.MethodGet, "keys", nil, http.StatusOK, &keys); err != nil {
		return key{}, err
	}
	if len(keys.Generations) == 0 {
		return key{}, errors.New("there is no generation")
	}
	return keys.Generations[len(keys.Generations)-1].WrappedBy, nil
}

func (d *demo) runKeys(ctx context.Context) error {
	_, tokens := d.customerTokens()
	before, err := d.reveal(ctx, "revealer", tokens)
	if err != nil {
		return err
	}
	old, err := d.wrappedBy(ctx)
	if err != nil {
		return err
	}
	var added struct {
		Version string `json:"version"`
	}
	url := d.info.VaultURL + "/local/keys/" + d.info.HandlerEnv["KEY_WRAP_NAME"] + "/versions"
	if err := d.local(ctx, http.MethodPost, url, nil, http.StatusOK, &added); err != nil {
		return err
	}
	if _, err := d.ask(ctx, "operator", http.MethodPost, "keys/adopt", nil, http.StatusOK, nil); err != nil {
		return err
	}
	now, err := d.wrappedBy(ctx)
	if err != nil {
		return err
	}
	if now.Version != added.Version || now == old {
		return errors.New("the keyring is not wrapped by the new version")
	}
	d.show.checked("the keyring was wrapped by %s/%s, and is by %s/%s", old.Name, clip(old.Version, 12), now.Name, clip(now.Version, 12))
	after, err := d.reveal(ctx, "revealer", tokens)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return errors.New("a value is not what it was")
	}
	return d.checkUntouched(ctx, len(after))
}

// checkUntouched compares the row of scene 3 with what is there now.
func (d *demo) checkUntouched(ctx context.Context, values int) error {
	rows, err := d.rows(ctx, fmt.Sprintf("PartitionKey eq '%s' and RowKey eq '%s'", d.stored.text("PartitionKey"), d.stored.text("RowKey")))
	if err != nil {
		return err
	}
	if len(rows) != 1 || rows[0].text("Body0") != d.stored.text("Body0") || rows[0].text("Timestamp") != d.stored.text("Timestamp") {
		return errors.New("a record was written again")
	}
	d.show.checked("the customer's %d values open as before; the card's row is as it was, byte for byte", values)
	return nil
}
