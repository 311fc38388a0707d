package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/audit"
	"secureapi/handler/azure/tables"
	"secureapi/scripts/auditverify/export"
	"secureapi/scripts/auditverify/verify"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/stack"
)

// event is what the demo reads of an audit entry.
type event struct {
	Time   time.Time `json:"time"`
	Phase  string    `json:"phase"`
	Action string    `json:"action"`
	Actor  struct {
		ID string `json:"id"`
	} `json:"actor"`
	Purpose    string `json:"purpose"`
	Reason     string `json:"reason"`
	ReasonCode string `json:"reasonCode"`
	Count      int    `json:"count"`
}

func (d *demo) auditScene() scene {
	return scene{
		"The log has it all",
		`The auditor reads the entries since this demo began; each is checked against its chain
		as it is read. Customers are pseudonyms in it, and values are not in it at all.`,
		d.runAudit,
	}
}

// events reads the log since the demo began, page by page.
func (d *demo) events(ctx context.Context) (all []event, raw []byte, err error) {
	cursor := ""
	for {
		query := url.Values{"from": {d.started.Format(time.RFC3339)}, "limit": {"500"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		var page struct {
			Events []event `json:"events"`
			Next   string  `json:"next"`
		}
		a, err := d.ask(ctx, "auditor", http.MethodGet, "audit/events?"+query.Encode(), nil, http.StatusOK, &page)
		if err != nil {
			return nil, nil, err
		}
		all, raw = append(all, page.Events...), append(raw, a.body...)
		if page.Next == "" {
			return all, raw, nil
		}
		cursor = page.Next
	}
}

// expected are entries that the scenes before must have left: action, phase, reason code.
func expected() [][3]string {
	return [][3]string{
		{"imports.manage", "authorised", ""},
		{"tokens.inspect", "authorised", ""},
		{"tokens.reveal", "authorised", ""},
		{"tokens.inspect", "denied", "role_missing"},
		{"tokens.reveal", "denied", "role_missing"},
		{"tokens.reveal", "denied", "step_up_required"},
		{"audit.read", "denied", "role_missing"},
		{"tokens.reveal", "alarm", "integrity_failure"},
		{"keys.adopt", "completed", ""},
	}
}

func (d *demo) runAudit(ctx context.Context) error {
	var all []event
	var raw []byte
	// A denial does not wait for its entry, so the log may be a moment behind.
	var missing [3]string
	err := d.until(ctx, "the entries", func() (done bool, err error) {
		if all, raw, err = d.events(ctx); err != nil {
			return false, err
		}
		for _, missing = range expected() {
			if !slices.ContainsFunc(all, func(e event) bool { return e.is(missing) }) {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("%w (missing: %v)", err, missing)
	}
	d.showCounts(all)
	d.show.words("Those that say no, or raise an alarm, and one that says yes:")
	d.showEvents(all)
	for column, value := range d.customer {
		if value != "" && column != "customer" && bytes.Contains(raw, []byte(value)) {
			return errors.New("the log holds a value")
		}
	}
	if bytes.Contains(raw, []byte(d.customer["customer"])) {
		return errors.New("the log names a customer")
	}
	d.show.checked("%d entries, every one that there should be; neither a value nor a customer's reference in them", len(all))
	return nil
}

func (e event) is(want [3]string) bool {
	return e.Action == want[0] && e.Phase == want[1] && (want[2] == "" || e.ReasonCode == want[2])
}

func (d *demo) showCounts(all []event) {
	counts := map[string]map[string]int{}
	phases := []string{"authorised", "completed", "failed", "denied", "alarm", "counted"}
	for _, e := range all {
		if counts[e.Action] == nil {
			counts[e.Action] = map[string]int{}
		}
		counts[e.Action][e.Phase]++
	}
	table := [][]string{append([]string{"action"}, phases...)}
	for _, action := range slices.Sorted(maps.Keys(counts)) {
		row := []string{action}
		for _, phase := range phases {
			cell := ""
			if n := counts[action][phase]; n > 0 {
				cell = strconv.Itoa(n)
			}
			row = append(row, cell)
		}
		table = append(table, row)
	}
	d.show.table(table...)
}

func (d *demo) showEvents(all []event) {
	table := [][]string{{"time", "who", "action", "phase", "why"}}
	revealed := false
	for _, e := range all {
		yes := e.Action == "tokens.reveal" && e.Phase == "authorised"
		if yes && revealed || !yes && e.Phase != "denied" && e.Phase != "alarm" {
			continue
		}
		revealed = revealed || yes
		why := e.ReasonCode
		if yes {
			why = fmt.Sprintf("%s %s, %d tokens", e.Purpose, e.Reason, e.Count)
		}
		table = append(table, []string{e.Time.Format("15:04:05.000"), who(e.Actor.ID), e.Action, e.Phase, why})
	}
	d.show.table(table...)
}

// who is the persona's name, where an entry has the object id.
func who(id string) string {
	for _, p := range entra.Personas() {
		if p.OID == id {
			return p.Name
		}
	}
	return id
}

func (d *demo) checkpointScene() scene {
	return scene{
		"The log is sealed",
		`Each minute a timer function verifies what was added to the log since the last checkpoint, and writes the next
		one. It runs here at once. Then the log is taken out of its account, and checked without the handler.`,
		d.runCheckpoint,
	}
}

// checkpoint is the newest of the log.
type checkpoint struct {
	Number  uint64 `json:"number"`
	Entries uint64 `json:"entries"`
}

func (d *demo) runCheckpoint(ctx context.Context) error {
	read := func() (c checkpoint, err error) {
		_, err = d.ask(ctx, "auditor", http.MethodGet, "audit/checkpoint", nil, http.StatusOK, &c)
		return c, err
	}
	before, err := read()
	if err != nil {
		return err
	}
	// One entry more, in case that the timer has just sealed all there was.
	if _, err := d.ask(ctx, "auditor", http.MethodGet, "audit/events?limit=1", nil, http.StatusOK, nil); err != nil {
		return err
	}
	err = d.local(ctx, http.MethodPost, d.info.API+"/admin/functions/SealAudit", map[string]string{}, http.StatusAccepted, nil, "X-Functions-Key: "+d.info.MasterKey)
	if err != nil {
		return err
	}
	var now checkpoint
	if err := d.until(ctx, "the checkpoint", func() (_ bool, err error) {
		now, err = read()
		return now.Number > before.Number, err
	}); err != nil {
		return err
	}
	if now.Entries <= before.Entries {
		return errors.New("the checkpoint covers no more than the one before")
	}
	d.show.checked("checkpoint %d covers %d entries, %d more than the one before", now.Number, now.Entries, now.Entries-before.Entries)
	return d.verifyExport(ctx, now)
}

// verifyExport takes the log out of its account and checks it as an auditor
// does: without the handler, by the vault's public keys.
func (d *demo) verifyExport(ctx context.Context, sealed checkpoint) error {
	env := d.info.HandlerEnv
	options := azcore.ClientOptions{Transport: d.client, Telemetry: policy.TelemetryOptions{Disabled: true}}
	service, err := tables.NewService(stack.Endpoint(env["AUDIT_STORAGE_ACCOUNT"], "table"), appIdentity{d}, options)
	if err != nil {
		return err
	}
	table, err := service.Table("audit")
	if err != nil {
		return err
	}
	keys, err := export.ReadKeys(ctx, d.info.VaultURL, env["KEY_SIGN_NAME"], appIdentity{d}, options)
	if err != nil {
		return err
	}
	// The blob comes a moment after the row that the API tells of.
	var archive verify.Archive
	if err := d.until(ctx, "the signed checkpoint", func() (_ bool, err error) {
		archive, err = export.Export(ctx, table, stack.Endpoint(env["AUDIT_STORAGE_ACCOUNT"], "blob")+"/"+audit.Container, appIdentity{d}, options)
		published := slices.Collect(maps.Keys(archive.Notes)) // by size, all names of one length
		return len(published) > 0 && slices.Max(published) >= audit.BlobName(sealed.Entries), err
	}); err != nil {
		return err
	}
	report := verify.Verify(archive, keys.Public...)
	if len(report.Findings) > 0 {
		return fmt.Errorf("the exported log does not verify: %s", report.Findings[0])
	}
	d.show.checked("exported and checked by public keys alone, as scripts/auditverify does: %d sealed entries, signed up to %d, no finding",
		report.Entries, report.Size)
	return nil
}
