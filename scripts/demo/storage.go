package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/go-json-experiment/json"

	"secureapi/scripts/demo/customers"
	"secureapi/scripts/devstack/stack"
)

// entity is a table's row as the service gives it.
type entity map[string]any

func (e entity) text(name string) string {
	s, _ := e[name].(string) //nolint:errcheck // "" is what is not there
	return s
}

// bytes is everything in the row, its binary properties decoded.
func (e entity) bytes() []byte {
	var all []byte
	for name := range e {
		value := e.text(name)
		all = append(append(all, value...), '\n')
		if raw, err := base64.StdEncoding.DecodeString(value); err == nil {
			all = append(append(all, raw...), '\n')
		}
	}
	return all
}

// appIdentity is the handler's own managed identity: the demo takes it to look
// at storage as an administrator of it could.
type appIdentity struct{ demo *demo }

// GetToken implements azcore.TokenCredential.
func (c appIdentity) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, errors.New("getting a token: one scope is needed")
	}
	env := c.demo.info.HandlerEnv
	url := env["IDENTITY_ENDPOINT"] + "?api-version=2019-08-01&client_id=" + env["AZURE_CLIENT_ID"] +
		"&resource=" + strings.TrimSuffix(o.Scopes[0], "/.default")
	var got struct {
		AccessToken string `json:"access_token"`
		ExpiresOn   string `json:"expires_on"`
	}
	err := c.demo.local(ctx, http.MethodGet, url, nil, http.StatusOK, &got, "X-IDENTITY-HEADER: "+env["IDENTITY_HEADER"])
	if err != nil {
		return azcore.AccessToken{}, err
	}
	seconds, err := strconv.ParseInt(got.ExpiresOn, 10, 64)
	if err != nil {
		return azcore.AccessToken{}, fmt.Errorf("getting a token: %w", err)
	}
	return azcore.AccessToken{Token: got.AccessToken, ExpiresOn: time.Unix(seconds, 0)}, nil
}

func (d *demo) records() (*aztables.Client, error) {
	url := stack.Endpoint(d.info.HandlerEnv["DATA_STORAGE_ACCOUNT"], "table") + "/records"
	client, err := aztables.NewClient(url, appIdentity{d}, &aztables.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: d.client, Telemetry: policy.TelemetryOptions{Disabled: true}},
	})
	if err != nil {
		return nil, fmt.Errorf("reaching the table: %w", err)
	}
	return client, nil
}

// rows reads the rows that an OData filter lets through.
func (d *demo) rows(ctx context.Context, filter string) ([]entity, error) {
	table, err := d.records()
	if err != nil {
		return nil, err
	}
	var all []entity
	pages := table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the table: %w", err)
		}
		for _, text := range page.Entities {
			var e entity
			if err := json.Unmarshal(text, &e); err != nil {
				return nil, fmt.Errorf("reading a row: %w", err)
			}
			all = append(all, e)
		}
	}
	return all, nil
}

// valueRows is the filter of the rows that hold values.
const valueRows = "RowKey ge 't|' and RowKey lt 't}'"

func (d *demo) storageScene() scene {
	return scene{
		"What the table holds",
		`Whoever can read the storage account sees this: a row of a card, as it is. Partition is the tenant and a shard, the
		row key a keyed hash of the token, the subject a keyed hash of the customer, the body AES-GCM under the
		customer's own key, which Key Vault's key protects in turn.`,
		d.runStorage,
	}
}

func (d *demo) runStorage(ctx context.Context) error {
	cards, err := d.rows(ctx, valueRows+" and Class eq 'pan'")
	if err != nil {
		return err
	}
	if len(cards) == 0 {
		return errors.New("there is no row of a card")
	}
	d.stored = cards[0]
	table := [][]string{{"property", "stored"}}
	for _, name := range slices.Sorted(maps.Keys(d.stored)) {
		if strings.Contains(name, "odata") {
			continue
		}
		table = append(table, []string{name, clip(d.stored.text(name), width-len("PartitionKey")-4)})
	}
	d.show.table(table...)
	all, err := d.rows(ctx, "")
	if err != nil {
		return err
	}
	needles, err := searched()
	if err != nil {
		return err
	}
	for _, e := range all {
		content := e.bytes()
		for _, needle := range needles {
			if bytes.Contains(content, needle) {
				return errors.New("a row of the table holds a value in clear")
			}
		}
	}
	d.show.checked("searched %d rows for the %d card numbers and e-mail addresses of the first fifty customers: none is there", len(all), len(needles))
	return nil
}

// searched are values that must not be found at rest.
func searched() (needles [][]byte, err error) {
	all, err := csv.NewReader(bytes.NewReader(customersFile)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("reading customers.csv: %w", err)
	}
	const most = 50
	seen := map[string]bool{}
	for _, cells := range all[1 : 1+most] {
		for i, c := range customers.Columns() {
			value := cells[i]
			if c.Name == "card" {
				value = strings.NewReplacer(" ", "", "-", "").Replace(value)
			}
			if (c.Name == "card" || c.Name == "email") && !seen[value] {
				seen[value] = true
				needles = append(needles, []byte(value))
			}
		}
	}
	return needles, nil
}

func (d *demo) tamperingScene() scene {
	return scene{
		"Storage is not trusted",
		`An administrator of the storage account cannot read a value, but can change a row. Here one bit of a throw-away
		record is turned over in the table, read, and turned back.`,
		d.runTampering,
	}
}

func (d *demo) runTampering(ctx context.Context) error {
	const filter = valueRows + " and Class eq 'text'"
	before, err := d.rows(ctx, filter)
	if err != nil {
		return err
	}
	item := map[string]string{"class": "text", "value": "a note to throw away"}
	var made struct {
		Token string `json:"token"`
	}
	if _, err := d.ask(ctx, "writer", http.MethodPost, "tokens", item, http.StatusCreated, &made); err != nil {
		return err
	}
	after, err := d.rows(ctx, filter)
	if err != nil {
		return err
	}
	row, err := added(before, after)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		what   string
		status int
		say    string
	}{
		{"altered", http.StatusInternalServerError, "altered, the row does not open, and raises an alarm"},
		{"put back", http.StatusOK, "put back as it was, it opens"},
	} {
		if err := d.flip(ctx, row); err != nil {
			return err
		}
		results, err := d.reveal(ctx, "revealer", []string{made.Token})
		if err != nil {
			return err
		}
		if results[0].Status != step.status {
			return fmt.Errorf("the row %s answers %d", step.what, results[0].Status)
		}
		d.show.checked("%s: %s", step.say, strings.TrimSpace(strconv.Itoa(results[0].Status)+" "+results[0].Problem.Code))
	}
	return nil
}

// added finds the one row that is new.
func added(before, after []entity) (entity, error) {
	known := map[string]bool{}
	for _, e := range before {
		known[e.text("RowKey")] = true
	}
	after = slices.DeleteFunc(after, func(e entity) bool { return known[e.text("RowKey")] })
	if len(after) != 1 {
		return nil, fmt.Errorf("%d rows are new, not one", len(after))
	}
	return after[0], nil
}

// flip turns one bit of a row's body over, in the table and in e.
func (d *demo) flip(ctx context.Context, e entity) error {
	table, err := d.records()
	if err != nil {
		return err
	}
	body, err := base64.StdEncoding.DecodeString(e.text("Body0"))
	if err != nil || len(body) == 0 {
		return errors.New("the row has no body")
	}
	body[len(body)-1] ^= 1
	e["Body0"] = base64.StdEncoding.EncodeToString(body)
	change, err := json.Marshal(map[string]any{
		"PartitionKey": e["PartitionKey"], "RowKey": e["RowKey"], "Body0@odata.type": "Edm.Binary", "Body0": e["Body0"],
	})
	if err != nil {
		return fmt.Errorf("encoding a row: %w", err)
	}
	if _, err := table.UpdateEntity(ctx, change, &aztables.UpdateEntityOptions{UpdateMode: aztables.UpdateModeMerge}); err != nil {
		return fmt.Errorf("altering a row: %w", err)
	}
	return nil
}
