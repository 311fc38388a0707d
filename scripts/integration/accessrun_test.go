package integration

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"

	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/stack"
	"secureapi/scripts/stage/funcjson"
)

const (
	// fewestCells is how many one run must not fall below.
	fewestCells = 8000
	// askers is how many requests are under way at once.
	askers = 16
	// shown bounds the differences that are printed.
	shown = 25
)

// accessCell is one request of one caller.
type accessCell struct {
	name string
	request
	q    requester
	want outcome
	// byHost: the request must not reach the handler at all.
	byHost bool
}

// TestTheBinaryAnswersByTheAccessMatrix asks the built handler for every cell of
// the policy. First those who may; then all the others, after whom no table of
// the vault may have changed by one row.
func TestTheBinaryAnswersByTheAccessMatrix(t *testing.T) {
	for _, mode := range []host.Mode{host.Proxying, host.Forwarding} {
		t.Run(string(mode), func(t *testing.T) {
			a := startApp(t, mode, withoutTimers(t))
			var allowed, refused []accessCell
			tokens := map[string]string{} // by caller
			for _, c := range append(a.ruleCells(t, a.fixture(t), tokens), a.otherCells(t, tokens)...) {
				if c.want.refused() || c.byHost {
					refused = append(refused, c)
				} else {
					allowed = append(allowed, c)
				}
			}
			if n := len(allowed) + len(refused); n < fewestCells || len(allowed) < fewestCells/20 {
				t.Fatalf("%d cells, of those who may %d", n, len(allowed))
			}
			a.askAll(t, allowed)
			before := a.rows(t)
			a.askAll(t, refused)
			after := a.rows(t)
			if !maps.Equal(before, after) {
				t.Errorf("the refused requests changed what is stored: %d rows before, %d after", len(before), len(after))
			}
			a.checkDenied(t, refused)
			t.Logf("%d cells of those who may, %d of others, %d rows stored", len(allowed), len(refused), len(before))
		})
	}
}

// withoutTimers has no timer function fire, so that nothing but requests changes
// what is stored.
func withoutTimers(t *testing.T) func(*stack.Options) {
	t.Helper()
	files := map[string]string{}
	functions, err := funcjson.Load("../../functions")
	must(t, err)
	for _, f := range functions {
		if f.Trigger().Type != funcjson.TimerTrigger {
			continue
		}
		name := filepath.Join(f.Name, funcjson.FileName)
		text, err := os.ReadFile(filepath.Join("..", "..", "functions", name))
		must(t, err)
		if files[name] = strings.Replace(string(text), f.Trigger().Schedule, "0 0 0 29 2 *", 1); files[name] == string(text) {
			t.Fatalf("%s has no schedule", name)
		}
	}
	dir := repackage(t, files)
	return func(o *stack.Options) { o.Host.Dir = dir }
}

// ruleCells is each rule for each of its callers.
func (a *app) ruleCells(t *testing.T, fixture, tokens map[string]string) (cells []accessCell) {
	t.Helper()
	// A canceled import is canceled by whoever asks again.
	a.call(t, "writer", http.MethodPost, "/api/v1/imports/"+fixture["another"]+"/cancel", nil).want(t, http.StatusAccepted)
	for _, r := range rules() {
		prepared := a.prepared(t, r.request, fixture)
		if strings.HasSuffix(prepared.target, "/audit/events") {
			prepared.target += "?limit=1"
		}
		for _, q := range r.requesters() {
			one := prepared
			one.token = a.tokenOf(t, q, tokens)
			cells = append(cells, accessCell{r.request + " by " + q.String(), one, q, r.answer(q), false})
		}
	}
	return cells
}

// otherCells is each path with the methods that it does not have, and each queue
// and timer function, asked for by everybody of the tenant. The host has no such
// route.
func (a *app) otherCells(t *testing.T, tokens map[string]string) (cells []accessCell) {
	t.Helper()
	callers := []requester{{}}
	for _, roles := range roleSets() {
		callers = append(
			callers,
			requester{kind: "user", roles: roles, tenant: entra.HomeTenant, scoped: true, signIn: fresh},
			requester{kind: "app", roles: roles, tenant: entra.HomeTenant, signIn: fresh},
		)
	}
	methods := map[string][]string{} // by path
	for _, r := range rules() {
		method, path, _ := strings.Cut(strings.ReplaceAll(r.route(), idPattern, "00000000-0000-4000-8000-000000000000"), " ")
		methods[path] = append(methods[path], method)
	}
	functions, err := funcjson.Load("../../functions")
	must(t, err)
	for _, f := range functions {
		if f.Trigger().Type != funcjson.HTTPTrigger {
			methods["/"+f.Name], methods["/api/"+f.Name] = nil, nil
		}
	}
	for _, path := range slices.Sorted(maps.Keys(methods)) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if slices.Contains(methods[path], method) {
				continue
			}
			for _, q := range callers {
				one := request{method: method, target: path, token: a.tokenOf(t, q, tokens)}
				if strings.HasPrefix(method, "P") {
					one.body = emailBody
				}
				cells = append(cells, accessCell{method + " " + path + " by " + q.String(), one, q, outcome{status: http.StatusNotFound}, true})
			}
		}
	}
	return cells
}

// tokenOf is the caller's token, signed once. Nobody's is none.
func (a *app) tokenOf(t *testing.T, q requester, tokens map[string]string) string {
	t.Helper()
	switch q.kind {
	case "":
		return ""
	case "garbage":
		return "not.a.token"
	}
	if tokens[q.String()] == "" {
		tokens[q.String()] = a.sign(t, q)
	}
	return tokens[q.String()]
}

func (a *app) sign(t *testing.T, q requester) string {
	t.Helper()
	signer := q.tenant
	if q.tenant == notAllowed {
		signer = entra.HomeTenant
	}
	var claims map[string]any
	if q.kind == "app" {
		proof := "2"
		if q.secret {
			proof = "1"
		}
		claims = a.Entra.AppClaims(entra.App{Tenant: q.tenant, OID: strangerID, ClientID: strangerID, Roles: q.roles}, proof)
	} else {
		grant := entra.Grant{Capable: q.capable}
		if q.signIn == stale {
			grant.Age = 11 * time.Minute
		}
		who := entra.Persona{Tenant: q.tenant, OID: strangerID, Roles: q.roles}
		if q.maker {
			who.OID = persona(t, entra.HomeTenant, writer).OID
		}
		claims = a.Entra.PersonaClaims(who, grant)
		if !q.scoped {
			claims["scp"] = "Other.Access " + entra.Scope + "s"
		}
	}
	switch q.signIn {
	case fresh, stale:
		claims["acrs"] = []string{entra.StepUp}
	case another:
		claims["acrs"] = []string{"c10", "c2"}
	case none:
	}
	token, err := a.Entra.Sign(signer, claims)
	must(t, err)
	return token
}

// strangerID is the object id of everybody who has made nothing.
const strangerID = "6b99ffff-3d7e-4a15-9c02-f48e6d1b7a90"

// askAll asks for the cells, some at once and in an order of its own, so that no
// cell is right only because of the one before it.
func (a *app) askAll(t *testing.T, cells []accessCell) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(askers)
	var wrong atomic.Int64
	var mu sync.Mutex
	for _, c := range shuffled(cells) {
		group.Go(func() error {
			problem := a.ask(t.Context(), c)
			if problem != "" && wrong.Add(1) <= shown {
				mu.Lock()
				defer mu.Unlock()
				t.Errorf("%s: %s", c.name, problem)
			}
			return nil
		})
	}
	must(t, group.Wait())
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d cells differ", n, len(cells))
	}
}

// shuffled sorts by random numbers.
func shuffled(cells []accessCell) []accessCell {
	order := make(map[int]string, len(cells))
	for i := range cells {
		order[i] = rand.Text()
	}
	mixed := make([]accessCell, 0, len(cells))
	for _, i := range slices.SortedFunc(maps.Keys(order), func(x, y int) int { return strings.Compare(order[x], order[y]) }) {
		mixed = append(mixed, cells[i])
	}
	return mixed
}

// ask says what is wrong with the answer of a cell, or "".
func (a *app) ask(ctx context.Context, c accessCell) string {
	got, err := a.try(ctx, c.request)
	switch {
	case err != nil:
		return err.Error()
	case got.status != c.want.status:
		return fmt.Sprintf("status %d, want %d: %s", got.status, c.want.status, got.body)
	case c.byHost && (got.body != "" || got.header.Get("X-Request-Id") != ""):
		return "the handler has seen the request"
	case c.byHost || !c.want.refused():
		return ""
	}
	// A refusal says that it is one, and nothing else.
	var problem struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Code      string `json:"code"`
		RequestID string `json:"requestId"`
	}
	if err := json.Unmarshal([]byte(got.body), &problem, json.RejectUnknownMembers(true)); err != nil {
		return "the refusal is more than a problem document: " + got.body
	}
	challenge := got.header.Get("WWW-Authenticate")
	switch {
	case problem.Code != c.want.code || problem.Status != c.want.status:
		return fmt.Sprintf("code %q, want %q", problem.Code, c.want.code)
	case (got.status == http.StatusUnauthorized) != (challenge != ""):
		return fmt.Sprintf("status %d with the challenge %q", got.status, challenge)
	case strings.Contains(challenge, "insufficient_claims") != (got.status == http.StatusUnauthorized && problem.Code == "step_up_required"):
		return fmt.Sprintf("the challenge %q for %s", challenge, problem.Code)
	}
	return ""
}

// checkDenied: each refusal of a caller who is known is one entry of the audit
// log, and nothing else is.
func (a *app) checkDenied(t *testing.T, refused []accessCell) {
	t.Helper()
	const forbidden, token = "forbidden", "token refused"
	want, got := map[string]int{}, map[string]int{}
	for _, c := range refused {
		switch {
		case c.byHost, c.q.kind != "user" && c.q.kind != "app", c.q.tenant == notAllowed: // not known
		case c.want.code == "unauthenticated":
			want[token]++
		case c.want.code != "not_found":
			want[c.want.code]++
		case c.q.tenant == entra.HomeTenant: // another tenant's is not even looked for
			want["not_owner"]++
		}
	}
	for _, body := range a.auditBodies(t) {
		var e event
		must(t, json.Unmarshal(body, &e))
		switch {
		case e.Phase != "denied":
		case slices.Contains([]string{"scope_missing", "role_missing"}, e.ReasonCode):
			got[forbidden]++
		case slices.Contains([]string{"neither_scope_nor_role", "client_secret_not_enough"}, e.ReasonCode):
			got[token]++
		default:
			got[e.ReasonCode]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the audit log denied %v, the policy %v", got, want)
	}
}

// rows is all that the vault's tables hold, as it is stored.
func (a *app) rows(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range []string{"records", "operations", "keyring", "revocations"} {
		table, err := aztables.NewClient(stack.Endpoint(a.DataAccount(), "table")+"/"+name, a.Credential(),
			&aztables.ClientOptions{ClientOptions: a.ClientOptions()})
		must(t, err)
		for pager := table.NewListEntitiesPager(nil); pager.More(); {
			page, err := pager.NextPage(t.Context())
			must(t, err)
			for _, b := range page.Entities {
				var row aztables.EDMEntity
				must(t, json.Unmarshal(b, &row))
				all[name+"|"+row.PartitionKey+"|"+row.RowKey] = string(b)
			}
		}
	}
	return all
}
