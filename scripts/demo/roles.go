package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"secureapi/handler/clock"
	"secureapi/handler/dataclass"
	"secureapi/scripts/demo/customers"
)

// opened is one token's outcome.
type opened struct {
	Token   string  `json:"token"`
	Status  int     `json:"status"`
	Masked  string  `json:"masked"`
	Value   string  `json:"value"`
	Problem problem `json:"problem"`
}

// order asks to reveal tokens, with the purpose and the case that go into the log.
func order(tokens []string) map[string]any {
	return map[string]any{"tokens": tokens, "purpose": "fraud-review", "reason": "CASE-2026-004711"}
}

func (d *demo) reveal(ctx context.Context, as string, tokens []string) ([]opened, error) {
	a, err := d.call(ctx, as, http.MethodPost, "tokens/reveal", order(tokens))
	if err != nil {
		return nil, err
	}
	return a.results(len(tokens))
}

// results reads a list's outcomes; 207 is a list with a refusal in it.
func (a answer) results(n int) ([]opened, error) {
	var list struct {
		Results []opened `json:"results"`
	}
	status := http.StatusOK
	if a.status == http.StatusMultiStatus {
		status = a.status
	}
	if err := a.expect(status, "opening tokens", &list); err != nil {
		return nil, err
	}
	if len(list.Results) != n {
		return nil, errors.New("opening tokens: not one outcome for each")
	}
	return list.Results, nil
}

// customerTokens are the first customer's tokens in the order of the columns.
func (d *demo) customerTokens() (columns []customers.Column, tokens []string) {
	for _, c := range customers.Columns()[1:] {
		if d.tokens[c.Name] != "" {
			columns, tokens = append(columns, c), append(tokens, d.tokens[c.Name])
		}
	}
	return columns, tokens
}

func (d *demo) viewsScene() scene {
	return scene{
		"One record, seen by role",
		`The reader sees what is needed to recognise a customer. The revealer sees the value, after naming a purpose and a
		case, and for card and social security number after a fresh step-up sign-in. The log had each of these calls
		before the answer left.`,
		d.runViews,
	}
}

func (d *demo) runViews(ctx context.Context) error {
	columns, tokens := d.customerTokens()
	a, err := d.call(ctx, "reader", http.MethodPost, "tokens/inspect", map[string]any{"tokens": tokens})
	if err != nil {
		return err
	}
	masked, err := a.results(len(tokens))
	if err != nil {
		return err
	}
	inClear, err := d.reveal(ctx, "revealer", tokens)
	if err != nil {
		return err
	}
	table := [][]string{{"column", "token", "reader", "revealer"}}
	for i, c := range columns {
		table = append(table, []string{c.Name, clip(tokens[i], 20), masked[i].Masked, inClear[i].Value})
		if err := d.checkView(c, masked[i], inClear[i]); err != nil {
			return err
		}
	}
	d.show.table(table...)
	d.show.checked("the revealer has each value in its canonical form; no mask holds the value")
	return nil
}

func (d *demo) checkView(c customers.Column, masked, inClear opened) error {
	shape, known := dataclass.Lookup(c.Class)
	if !known {
		return fmt.Errorf("column %s has no class", c.Name)
	}
	given, err := shape.Parse(d.customer[c.Name], clock.System)
	if err != nil {
		return fmt.Errorf("column %s: %w", c.Name, err)
	}
	if inClear.Value != given.RevealString() || masked.Masked == "" || strings.Contains(masked.Masked, inClear.Value) || masked.Value != "" {
		return fmt.Errorf("column %s is not shown as it should", c.Name)
	}
	return nil
}

// attempt is a call that must be refused.
type attempt struct {
	who, tries, as, method, path string
	body                         any
	status                       int
	code                         string
}

func (d *demo) attempts() []attempt {
	card, email := []string{d.tokens["card"]}, []string{d.tokens["email"]}
	inspect := map[string]any{"tokens": email}
	idle := map[string]any{"tokens": email, "purpose": "curiosity", "reason": "CASE-2026-004711"}
	const post, get = http.MethodPost, http.MethodGet
	return []attempt{
		{"nobody", "to inspect, without a token", "", post, "tokens/inspect", inspect, 401, "unauthenticated"},
		{"a guest", "to inspect, without any role", "nobody", post, "tokens/inspect", inspect, 403, "forbidden"},
		{"the writer", "to read back what it wrote", "writer", post, "tokens/inspect", inspect, 403, "forbidden"},
		{"the reader", "to reveal", "reader", post, "tokens/reveal", order(email), 403, "forbidden"},
		{"the revealer", "to reveal for no configured purpose", "revealer", post, "tokens/reveal", idle, 400, "invalid_request"},
		{"the revealer", "a card, without step-up", "revealer-no-step-up", post, "tokens/reveal", order(card), 401, "step_up_required"},
		{"the operator", "to read the audit log", "operator", get, "audit/events", nil, 403, "forbidden"},
	}
}

func (d *demo) refusalsScene() scene {
	return scene{
		"What is refused",
		`Everybody else is refused, and scene 8 finds in the log who it was. Another customer of this API, with the same role,
		is told that there is no such token: tenants are part of every hash.`,
		d.runRefusals,
	}
}

func (d *demo) runRefusals(ctx context.Context) error {
	table := [][]string{{"who", "tries", "answer"}}
	for _, try := range d.attempts() {
		a, err := d.call(ctx, try.as, try.method, try.path, try.body)
		if err != nil {
			return err
		}
		p := a.problem()
		if a.status != try.status || p.Code != try.code {
			return fmt.Errorf("%s tries %s: got %d %q", try.who, try.tries, a.status, p.Code)
		}
		// Whoever is asked for more must be told what (RFC 6750; claims challenge).
		if asked := a.header.Get("WWW-Authenticate"); a.status == http.StatusUnauthorized && asked == "" ||
			p.Code == "step_up_required" && !strings.Contains(asked, "insufficient_claims") {
			return fmt.Errorf("%s tries %s: no challenge", try.who, try.tries)
		}
		table = append(table, []string{try.who, try.tries, d.show.refused(strconv.Itoa(a.status) + " " + p.Code)})
	}
	results, err := d.reveal(ctx, "other-revealer", []string{d.tokens["email"]})
	if err != nil {
		return err
	}
	if results[0].Status != http.StatusNotFound || results[0].Value != "" {
		return fmt.Errorf("another tenant's revealer: got %d", results[0].Status)
	}
	table = append(table, []string{"another tenant", "to reveal", d.show.refused(strconv.Itoa(results[0].Status) + " " + results[0].Problem.Code)})
	d.show.table(table...)
	d.show.checked("all %d refused; the call without step-up is told by a claims challenge how to sign in again", len(table)-1)
	return nil
}
