package tokenvault_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

func rowsWith(rows []rowstore.Row, prefix string) (list []rowstore.Row) {
	for _, row := range rows {
		if strings.HasPrefix(row.Key, prefix) {
			list = append(list, row)
		}
	}
	return list
}

// TestARestoredSubjectIsFoundOut: who can write the records puts back every row
// of an erased subject, as it was. The register, in another account, tells.
func TestARestoredSubjectIsFoundOut(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	before := w.records.All()
	e := erase(t, p, "c-1")
	w.finish(t, p, e.ID)
	for _, row := range before {
		w.records.Plant(row)
	}
	for _, reader := range []*process{p, w.process(t)} {
		if got := reveal(t, reader, tokens...)[0]; !errors.Is(got.Err, tokenvault.ErrIntegrity) {
			t.Errorf("revealed: %v, %q", got.Err, got.Value.RevealString())
		}
		_, err := reader.Tokenize(t.Context(), who(authz.Writer), []tokenvault.Item{email("b@example.com", "c-1")}, "")
		if !errors.Is(err, tokenvault.ErrIntegrity) {
			t.Errorf("tokenized: %v", err)
		}
	}
	if got := w.phases(t, "tokens.reveal")[audit.Alarm]; got != 2 {
		t.Errorf("%d alarms", got)
	}
}

// TestALostHeadDoesNotReviveASubject: with the head deleted, the subject's old
// tokens have no key; what is written anew is found out at the next look.
func TestALostHeadDoesNotReviveASubject(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	old := rowsWith(w.records.All(), "t|")
	e := erase(t, p, "c-1")
	w.finish(t, p, e.ID)
	head := rowsWith(w.records.All(), "s|")[0]
	w.records.Remove(head.Partition, head.Key)
	w.records.Plant(old[0])
	fresh := w.process(t)
	if got := reveal(t, fresh, tokens...)[0]; !errors.Is(got.Err, tokenvault.ErrIntegrity) {
		t.Errorf("a token without its head: %v", got.Err)
	}
	tokenize(t, fresh, "", email("b@example.com", "c-1"))
	w.later(61 * time.Second)
	_, err := fresh.Tokenize(t.Context(), who(authz.Writer), []tokenvault.Item{email("b@example.com", "c-1")}, "")
	if !errors.Is(err, tokenvault.ErrIntegrity) {
		t.Errorf("a head beside the register: %v", err)
	}
}

// TestRowsThatComeBackAreRemovedAndAlarmed: between the two sweeps.
func TestRowsThatComeBackAreRemovedAndAlarmed(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokenize(t, p, "", email("anna@example.com", "c-1"))
	before := w.records.All()
	e := erase(t, p, "c-1")
	w.later(2*time.Minute + time.Second)
	if err := p.erasures.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, row := range append(rowsWith(before, "m|"), rowsWith(before, "t|")...) {
		w.records.Plant(row)
	}
	w.finish(t, p, e.ID)
	if got := w.leftovers(); len(got) != 0 {
		t.Errorf("rows %v", got)
	}
	if got := w.phases(t, "erasures.run")[audit.Alarm]; got != 1 {
		t.Errorf("%d alarms", got)
	}
}

// TestAForgedMemberRemovesNobodyElsesToken: the erasure ends, and alarms.
func TestAForgedMemberRemovesNobodyElsesToken(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokenize(t, p, "", email("anna@example.com", "c-1"))
	member := rowsWith(w.records.All(), "m|")[0]
	other := tokenize(t, p, "", email("bela@example.com", "c-2"))
	subject, _, _ := strings.Cut(strings.TrimPrefix(member.Key, "m|"), "|")
	for _, row := range rowsWith(w.records.All(), "t|") {
		if row.Attributes["Subject"] != subject {
			w.records.Plant(rowstore.Row{
				Partition: member.Partition, Key: "m|" + subject + "|" + strings.TrimPrefix(row.Key, "t|"), Body: member.Body,
			})
		}
	}
	w.finish(t, p, erase(t, p, "c-1").ID)
	if got := values(reveal(t, p, other...)); got != "bela@example.com" {
		t.Errorf("another subject's value: %q", got)
	}
	if got := w.phases(t, "erasures.run")[audit.Alarm]; got != 1 {
		t.Errorf("%d alarms", got)
	}
}

// TestAForgedTombstoneHidesNothing: a mark alone makes a token broken, not absent.
func TestAForgedTombstoneHidesNothing(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	row := rowsWith(w.records.All(), "t|")[0]
	row.Attributes["Erased"] = "1"
	w.records.Plant(row)
	if got := reveal(t, p, tokens...)[0]; !errors.Is(got.Err, tokenvault.ErrIntegrity) {
		t.Errorf("revealed: %v", got.Err)
	}
}

// TestDamageDoesNotKeepASubjectFromBeingErased: head and register hold rubbish.
func TestDamageDoesNotKeepASubjectFromBeingErased(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	tokens := tokenize(t, p, "", email("anna@example.com", "c-1"))
	head := rowsWith(w.records.All(), "s|")[0]
	w.records.Plant(rowstore.Row{Partition: head.Partition, Key: head.Key, Body: []byte("rubbish")})
	w.erased.Plant(rowstore.Row{Partition: head.Partition, Key: strings.TrimPrefix(head.Key, "s|"), Body: []byte("rubbish")})
	fresh := w.process(t)
	w.finish(t, fresh, erase(t, fresh, "c-1").ID)
	if got := w.leftovers(); len(got) != 0 {
		t.Errorf("rows %v", got)
	}
	wantAbsent(t, "after the erasure", reveal(t, fresh, tokens...))
	if got := w.phases(t, "erasures.run")[audit.Alarm]; got != 1 {
		t.Errorf("%d alarms", got)
	}
}
