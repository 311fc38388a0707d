package integration

import (
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/go-json-experiment/json"

	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/stack"
)

// Someone who can write the storage swaps two values' rows and sends a message
// of his own: the running system refuses both, alarms both, and goes on.
func TestAStorageWriterIsRefusedAndAlarmed(t *testing.T) {
	a := startApp(t, host.Proxying)
	first, second := a.tokenize(t, "email", "first@example.com"), a.tokenize(t, "email", "second@example.com")
	a.reveal(t, first, second).want(t, http.StatusOK)

	queue, err := azqueue.NewQueueClient(stack.Endpoint(a.DataAccount(), "queue")+"/imports", a.Credential(),
		&azqueue.ClientOptions{ClientOptions: a.ClientOptions()})
	must(t, err)
	_, err = queue.EnqueueMessage(t.Context(), `{"operation":"00000000-0000-4000-8000-000000000000"}`, nil)
	must(t, err)
	a.swapTokenRows(t)

	for _, r := range a.reveal(t, first, second).want(t, http.StatusMultiStatus).decode(t).Results {
		if r.Value != "" || r.Problem.Code != "integrity_failure" {
			t.Errorf("a swapped row: status %d, code %q, a value %t", r.Status, r.Problem.Code, r.Value != "")
		}
	}
	// The forged message belongs to no tenant, and so stands in no tenant's log:
	// the process log has it, and the queue not any more.
	a.eventually(t, "the forged message to be taken", func() bool {
		return a.logged(t, "host.log", "forged_message")
	})
	alarms := 0
	for _, e := range a.events(t, nil) {
		if e.Phase == "alarm" && e.ReasonCode == "integrity_failure" {
			alarms++
		}
	}
	if alarms < 2 {
		t.Errorf("%d alarms for two swapped rows", alarms)
	}
	third := a.tokenize(t, "email", "third@example.com")
	a.reveal(t, third).want(t, http.StatusOK)
}

// swapTokenRows exchanges the sealed values of the two token rows there are.
func (a *app) swapTokenRows(t *testing.T) {
	t.Helper()
	table, err := aztables.NewClient(stack.Endpoint(a.DataAccount(), "table")+"/records", a.Credential(),
		&aztables.ClientOptions{ClientOptions: a.ClientOptions()})
	must(t, err)
	filter := "RowKey ge 't|' and RowKey lt 't~'"
	var rows []aztables.EDMEntity
	for pager := table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter}); pager.More(); {
		page, err := pager.NextPage(t.Context())
		must(t, err)
		for _, b := range page.Entities {
			var row aztables.EDMEntity
			must(t, json.Unmarshal(b, &row))
			rows = append(rows, row)
		}
	}
	if len(rows) != 2 {
		t.Fatalf("%d token rows", len(rows))
	}
	rows[0].Properties, rows[1].Properties = rows[1].Properties, rows[0].Properties
	for _, row := range rows {
		row.ETag = ""
		b, err := json.Marshal(row)
		must(t, err)
		_, err = table.UpdateEntity(t.Context(), b, &aztables.UpdateEntityOptions{UpdateMode: aztables.UpdateModeReplace})
		must(t, err)
	}
}
