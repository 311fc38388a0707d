package integration

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"secureapi/handler/authn/attacks"
	"secureapi/handler/azure/tables"
	"secureapi/handler/rowstore"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/stack"
)

// fewestAttacks is how many the list must not fall below.
const fewestAttacks = 430

// TestTheBinaryRefusesEveryAttackForItsReason sends each attack to the built
// handler: by the host in both modes, and past it. Outside, all refusals are one
// answer; the audit log has the reason of each.
func TestTheBinaryRefusesEveryAttackForItsReason(t *testing.T) {
	for _, mode := range []host.Mode{host.Proxying, host.Forwarding} {
		t.Run(string(mode), func(t *testing.T) {
			a := startApp(t, mode)
			world := a.attackWorld(t)
			cases, err := attacks.Cases(world)
			must(t, err)
			if len(cases) < fewestAttacks {
				t.Fatalf("%d attacks", len(cases))
			}
			counted := map[string]int{} // by reason, of those before the signature
			own := map[string]string{}  // reason by token id
			unnamed := map[string]int{} // by reason, of verified tokens without an id
			answers := map[string]string{}
			controls, err := attacks.Controls(world)
			must(t, err)
			for i, c := range cases {
				if len(c.Header) > 1 && mode == host.Forwarding {
					continue // the host joins them, as the handler's port shows below
				}
				r := attack(c.Header...)
				r.direct = i%7 == 0 || len(c.Header) > 1
				a.refused(t, c.Name, r, answers)
				switch {
				case !c.Verified:
					counted[c.Reason]++
				case c.ID != "":
					own[c.ID] = c.Reason
				default:
					unnamed[c.Reason]++
				}
				if i%100 == 0 {
					a.accepted(t, controls)
				}
			}
			a.accepted(t, controls)
			for name, r := range a.tokenElsewhere(t) {
				a.refused(t, name, r, answers)
				counted["authorization_missing"]++
			}
			if len(answers) != 1 {
				t.Errorf("refusals have %d different answers: %q", len(answers), slices.Sorted(maps.Keys(answers)))
			}
			a.checkReasons(t, counted, own, unnamed)
		})
	}
}

func attack(authorization ...string) request {
	return request{method: http.MethodPost, target: "/api/v1/tokens", body: emailBody, headers: http.Header{"Authorization": authorization}}
}

// attackWorld has the issuer's own keys.
func (a *app) attackWorld(t *testing.T) attacks.World {
	t.Helper()
	key, id, ok := a.Entra.SigningKey(entra.HomeTenant)
	other, otherID, okToo := a.Entra.SigningKey(entra.OtherTenant)
	if !ok || !okToo {
		t.Fatal("a tenant has no key")
	}
	return attacks.World{
		Tenant: entra.HomeTenant, Key: key, KeyID: id, Neighbour: entra.OtherTenant, NeighbourKey: other, NeighbourID: otherID,
		Audience: entra.APIClientID, Authority: entra.Authority, V1Host: "https://sts.windows.net",
		User: func() map[string]any {
			return a.Entra.PersonaClaims(persona(t, entra.HomeTenant, "Vault.Writer"), entra.Grant{})
		},
		App: func() map[string]any {
			return a.Entra.AppClaims(a.application(t, entra.HomeTenant, "Vault.Writer"), "2")
		},
		Now: time.Now(), Margin: 30 * time.Second,
	}
}

// refused notes the answer, without what is each request's own.
func (a *app) refused(t *testing.T, name string, r request, answers map[string]string) {
	t.Helper()
	got := a.do(t, r)
	if got.status != http.StatusUnauthorized {
		t.Errorf("%s: status %d: %s", name, got.status, got.body)
		return
	}
	noteRefusal(name, got, answers)
}

func noteRefusal(name string, got answer, answers map[string]string) {
	header := maps.Clone(got.header)
	for _, own := range []string{"Date", "X-Request-Id", "Server"} { // the last is the host's
		header.Del(own)
	}
	var lines []string
	for key, values := range header {
		lines = append(lines, key+": "+strings.Join(values, ", "))
	}
	slices.Sort(lines)
	answers[requestIDs.ReplaceAllString(strings.Join(lines, "\n")+"\n\n"+got.body, "")] = name
}

var requestIDs = regexp.MustCompile(`"requestId":"[0-9a-f-]{36}"`)

// accepted holds the controls, so that a handler which refuses all does not pass.
func (a *app) accepted(t *testing.T, controls map[string]string) {
	t.Helper()
	for name, token := range controls {
		if got := a.do(t, attack("Bearer "+token)); got.status != http.StatusCreated {
			t.Errorf("the good token %q: status %d: %s", name, got.status, got.body)
		}
	}
}

// tokenElsewhere carries a good token everywhere but where it belongs.
func (a *app) tokenElsewhere(t *testing.T) map[string]request {
	t.Helper()
	token := a.token(t, "writer")
	requests := map[string]request{}
	for name, header := range map[string]http.Header{
		"in a cookie":                  {"Cookie": {"access_token=" + token + "; Authorization=Bearer " + token}},
		"in Proxy-Authorization":       {"Proxy-Authorization": {"Bearer " + token}},
		"in X-Authorization":           {"X-Authorization": {"Bearer " + token}},
		"in X-Forwarded-Authorization": {"X-Forwarded-Authorization": {"Bearer " + token}},
		"in the platform's headers":    {"X-Ms-Token-Aad-Access-Token": {token}, "X-Zumo-Auth": {token}},
		"as the platform's principal":  {"X-Ms-Client-Principal": {token}, "X-Ms-Client-Principal-Id": {"6b100001-3d7e-4a15-9c02-f48e6d1b7a90"}},
		"as a function key":            {"X-Functions-Key": {token}},
		"in Authentication":            {"Authentication": {"Bearer " + token}},
	} {
		requests[name] = request{method: http.MethodPost, target: "/api/v1/tokens", body: emailBody, headers: header}
	}
	for _, name := range []string{"access_token", "Authorization", "token", "code"} {
		requests["in the query as "+name] = request{method: http.MethodPost, target: "/api/v1/tokens?" + name + "=" + url.QueryEscape(token), body: emailBody}
	}
	requests["in a form"] = request{
		method: http.MethodPost, target: "/api/v1/tokens", body: "access_token=" + token, contentType: "application/x-www-form-urlencoded",
	}
	requests["in the body"] = request{method: http.MethodPost, target: "/api/v1/tokens", body: `{"access_token":"` + token + `"}`}
	return requests
}

// checkReasons ends the handler as its host's machine would, which writes the
// counts that wait, and reads the log's rows.
func (a *app) checkReasons(t *testing.T, counted map[string]int, own map[string]string, unnamed map[string]int) {
	t.Helper()
	restarts := a.Host.Restarts()
	must(t, syscall.Kill(a.Host.HandlerPID(), syscall.SIGTERM))
	a.eventually(t, "the handler to be started again", func() bool { return a.Host.Restarts() > restarts })
	type entry struct {
		Phase      string `json:"phase"`
		ReasonCode string `json:"reasonCode"`
		Count      int    `json:"count"`
		Time       time.Time
		Actor      struct {
			TokenID string `json:"tokenId"`
		} `json:"actor"`
	}
	counts, entries, minutes := map[string]int{}, map[string]int{}, map[time.Time]bool{}
	reasons, others := map[string]string{}, map[string]int{}
	for _, body := range a.auditBodies(t) {
		var e entry
		must(t, json.Unmarshal(body, &e, json.MatchCaseInsensitiveNames(true)))
		minutes[e.Time.Truncate(time.Minute)] = true
		switch {
		case e.Phase == "counted":
			counts[e.ReasonCode] += e.Count
			entries[e.ReasonCode]++
		case e.Phase == "denied" && strings.HasPrefix(e.Actor.TokenID, "attack-"):
			reasons[e.Actor.TokenID] = e.ReasonCode
		case e.Phase == "denied":
			others[e.ReasonCode]++
		}
	}
	if !maps.Equal(counts, counted) {
		t.Errorf("counted refusals\n%v\nwant\n%v", counts, counted)
	}
	for reason, n := range entries {
		if n > len(minutes) {
			t.Errorf("%s has %d entries in %d minutes", reason, n, len(minutes))
		}
	}
	if !maps.Equal(others, unnamed) {
		t.Errorf("refusals of tokens that name no id\n%v\nwant\n%v", others, unnamed)
	}
	for id, want := range own {
		if reasons[id] != want {
			t.Errorf("%s: the log says %q, want %q", id, reasons[id], want)
		}
	}
}

// auditBodies reads every entry of the audit log's table, as someone with the
// account's rights does.
func (a *app) auditBodies(t *testing.T) [][]byte {
	t.Helper()
	service, err := tables.NewService(stack.Endpoint(stack.AuditAccount, "table"), a.Credential(), a.ClientOptions())
	must(t, err)
	table, err := service.Table("audit")
	must(t, err)
	list := func(partition string) (rows []rowstore.Row) {
		ctx := context.WithoutCancel(t.Context())
		for row, err := range rowstore.All(ctx, table, partition, rowstore.Range{Limit: rowstore.MaxPage}) {
			must(t, err)
			rows = append(rows, row)
		}
		return rows
	}
	var bodies [][]byte
	for _, stream := range append(list("streams"), list("streams.closed")...) {
		for _, row := range list(stream.Key) {
			if strings.HasPrefix(row.Key, "e|") {
				bodies = append(bodies, row.Body)
			}
		}
	}
	if len(bodies) == 0 {
		t.Fatal("the audit log has no entry")
	}
	return bodies
}
