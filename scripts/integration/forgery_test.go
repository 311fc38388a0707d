package integration

import (
	"encoding/base64"
	"net"
	"net/http"
	"strings"
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

// invocation is what the host posts for a queue message: its text twice encoded.
func invocation(t *testing.T, message string) string {
	t.Helper()
	inner, err := json.Marshal(message)
	must(t, err)
	outer, err := json.Marshal(string(inner))
	must(t, err)
	return `{"Data":{"message":` + string(outer) + `},"Metadata":{"DequeueCount":"1","Id":"\"3da0e4b0-7c1e-4a53-8a11-0d2f6c5b7e90\"",` +
		`"sys":{"MethodName":"ImportChunk","UtcNow":"2026-01-01T00:00:00Z","RandGuid":"c6d9f5f0-6b63-4d6a-9a5c-4a4d7b0d4a11"}}}`
}

// TestAForgedInvocationOnlyRaisesAnAlarm posts to the handler's port exactly what
// the host would: envelope, chunked, its headers. The message cannot be sealed
// by anyone without the keyring. Nothing of the import moves, nothing of the
// input is answered or logged, and the alarm is raised.
func TestAForgedInvocationOnlyRaisesAnAlarm(t *testing.T) {
	a := startApp(t, host.Proxying)
	id := a.newImport(t)
	state := func() string {
		return a.call(t, "writer", http.MethodGet, "/api/v1/operations/"+id, nil).want(t, http.StatusOK).body
	}
	before := state()
	const canary = "zq4111111111111111"
	sealed := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(canary, 8)))
	post := func(function, body string) answer {
		t.Helper()
		answers := send(t, function, a.Host.HandlerAddr(), "POST /"+function+" HTTP/1.1\r\nHost: "+a.Host.HandlerAddr()+"\r\n"+
			"X-Azure-Functions-HostVersion: 4.1036.3.0\r\nX-Azure-Functions-InvocationId: c6d9f5f0-6b63-4d6a-9a5c-4a4d7b0d4a11\r\n"+
			"User-Agent: Azure-Functions-Host/4.1036.3.0\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"+
			chunked(body))
		if len(answers) != 1 {
			t.Fatalf("%s: %d answers", function, len(answers))
		}
		return answers[0]
	}
	for _, function := range []string{"ImportChunk", "QuarantineImport"} {
		for name, message := range map[string]string{
			"an object":      `{"operation":"` + id + `","chunk":1,"x":"` + canary + `"}`,
			"the bare id":    id,
			"looks sealed":   sealed,
			"empty":          "",
			"a control text": "\x00" + canary,
		} {
			got := post(function, invocation(t, message))
			if got.status != http.StatusOK || got.body != "{}" {
				t.Errorf("%s: %s: %d %s", function, name, got.status, got.body)
			}
		}
		// Not what the host writes: no answer says why.
		if got := post(function, `{"Data":{"message":"`+canary+`"}}`); got.status != http.StatusBadRequest || strings.Contains(got.body, canary) {
			t.Errorf("%s: malformed: %d %s", function, got.status, got.body)
		}
	}
	// A timer does what is due anyway, and takes nothing of what is sent.
	for _, function := range []string{"SealAudit", "RepairOperations", "RotateKeys"} {
		if got := post(function, timerPost); got.status != http.StatusOK || got.body != "{}" {
			t.Errorf("%s: %d %s", function, got.status, got.body)
		}
	}
	if after := state(); after != before {
		t.Errorf("the import has changed:\n%s\n%s", before, after)
	}
	a.eventually(t, "the alarm", func() bool { return a.logged(t, "host.log", "forged_message") })
	if a.logged(t, "host.log", canary) || a.logged(t, "host.log", sealed[:40]) {
		t.Error("the log holds the input")
	}
}

// The handler listens on 127.0.0.1 and on nothing else: no other address of the
// machine, 127.0.0.2 and IPv6 loopback included, has its port.
func TestTheHandlerListensOnLoopbackOnly(t *testing.T) {
	a := startApp(t, host.Proxying)
	_, port, err := net.SplitHostPort(a.Host.HandlerAddr())
	must(t, err)
	addresses := []string{"127.0.0.2", "::1"}
	interfaces, err := net.InterfaceAddrs()
	must(t, err)
	for _, address := range interfaces {
		if ip, ok := address.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			addresses = append(addresses, ip.IP.String())
		}
	}
	d := net.Dialer{Timeout: wireTimeout}
	for _, address := range addresses {
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(address, port))
		if err == nil {
			_ = conn.Close()
			t.Errorf("%s has the handler's port", address)
		}
	}
	conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", port))
	must(t, err)
	must(t, conn.Close())
}
