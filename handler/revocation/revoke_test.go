package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
	"secureapi/handler/telemetry"
)

func TestATokenIsRevokedByItsID(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		first, second := bearer(home, alice, "t1"), bearer(home, alice, "t2")
		i.wants(t, "before", first, "")
		e := i.revoke(t, revocation.Request{TokenID: "t1"})
		if e.TokenID != "t1" || !e.ExpiresAt.Equal(time.Now().Add(tokenLife)) || e.RevokedBy != operator(home).ObjectID {
			t.Errorf("%+v", e)
		}
		i.wants(t, "revoked", first, "token")
		i.wants(t, "another of the subject", second, "")
		i.wants(t, "one without an id", bearer(home, alice, ""), "")
		i.wants(t, "the same id in another tenant", bearer(other, alice, "t1"), "")
		i.wants(t, "a tenant without a list", bearer("9188040d-6c67-4c5b-b112-36a304b66dad", alice, "t1"), "unknown")
	})
}

func TestASubjectsTokensAreRevokedUpToAMoment(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		time.Sleep(300 * time.Millisecond)
		before := bearer(home, alice, "t1")
		e := i.revoke(t, revocation.Request{ObjectID: alice})
		if want := time.Now().Truncate(time.Second).Add(time.Second); !e.IssuedBefore.Equal(want) || !e.ExpiresAt.Equal(want.Add(tokenLife)) {
			t.Errorf("%+v, want the end of the running second", e)
		}
		i.wants(t, "issued before", before, "subject")
		i.wants(t, "issued in the same second", bearer(home, alice, "t2"), "subject")
		i.wants(t, "another subject", bearer(home, bob, "t3"), "")
		i.wants(t, "the same subject in another tenant", bearer(other, alice, "t4"), "")
		time.Sleep(time.Second)
		i.wants(t, "issued after", bearer(home, alice, "t5"), "")
		i.wants(t, "issued before, still", before, "subject")
	})
}

// A moment between two seconds takes the whole second back.
func TestAMomentCountsInWholeSeconds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		time.Sleep(time.Minute)
		second := time.Now().Add(-30 * time.Second).Truncate(time.Second)
		for asked, want := range map[time.Time]time.Time{
			second:                      second,
			second.Add(1):               second.Add(time.Second),
			second.Add(999_999_999):     second.Add(time.Second),
			second.Add(2 * time.Second): second.Add(2 * time.Second),
		} {
			subject := fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", asked.UnixNano()%1e12)
			if e := i.revoke(t, revocation.Request{ObjectID: subject, IssuedBefore: asked}); !e.IssuedBefore.Equal(want) {
				t.Errorf("%s: %s", asked, e.IssuedBefore)
			}
		}
	})
}

// The same revocation again changes nothing, and none lowers another.
func TestRevokingTwiceIsRevokingOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		noon := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
		for _, r := range []revocation.Request{{TokenID: "t1"}, {ObjectID: alice, IssuedBefore: noon}} {
			first := i.revoke(t, r)
			version := i.status(t).Version
			time.Sleep(time.Minute)
			if diff := cmp.Diff(first, i.revoke(t, r)); diff != "" || i.status(t).Version != version {
				t.Errorf("%+v: version %d, %s", r, i.status(t).Version, diff)
			}
		}
		earlier := i.revoke(t, revocation.Request{ObjectID: alice, IssuedBefore: noon.Add(-time.Hour)})
		if !earlier.IssuedBefore.Equal(noon) {
			t.Errorf("an earlier moment lowered a later one: %+v", earlier)
		}
		later := i.revoke(t, revocation.Request{ObjectID: alice})
		if got := i.status(t); !later.IssuedBefore.After(noon) || len(got.Revocations) != 2 || got.Version != 3 {
			t.Errorf("a later moment: %+v", got)
		}
	})
}

func (i *instance) status(t *testing.T) revocation.Status {
	t.Helper()
	s, err := i.Status(t.Context(), operator(home))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatCannotBeRevokedIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		past := time.Now().Add(-time.Minute)
		for name, tt := range map[string]struct {
			r             revocation.Request
			pointer, code string
		}{
			"nothing":               {revocation.Request{}, "", "target_ambiguous"},
			"both":                  {revocation.Request{TokenID: "t", ObjectID: alice}, "", "target_ambiguous"},
			"a time alone":          {revocation.Request{IssuedBefore: past}, "", "target_ambiguous"},
			"an id with a space":    {revocation.Request{TokenID: "a b"}, "/tokenId", "token_id_invalid"},
			"a whole token":         {revocation.Request{TokenID: "e30.e30.AA"}, "/tokenId", "token_id_invalid"},
			"an id too long":        {revocation.Request{TokenID: strings.Repeat("t", 129)}, "/tokenId", "token_id_invalid"},
			"a card's number":       {revocation.Request{TokenID: "4111-1111-1111-1111"}, "/tokenId", "token_id_invalid"},
			"a person's number":     {revocation.Request{TokenID: "123-45-6789"}, "/tokenId", "token_id_invalid"},
			"a token and a time":    {revocation.Request{TokenID: "t", IssuedBefore: past}, "/issuedBefore", "time_unexpected"},
			"a name":                {revocation.Request{ObjectID: "alice@example.com"}, "/objectId", "object_id_invalid"},
			"upper case":            {revocation.Request{ObjectID: strings.ToUpper(alice)}, "/objectId", "object_id_invalid"},
			"the future":            {revocation.Request{ObjectID: alice, IssuedBefore: time.Now().Add(time.Second)}, "/issuedBefore", "time_range"},
			"beyond every token":    {revocation.Request{ObjectID: alice, IssuedBefore: time.Now().Add(-tokenLife)}, "/issuedBefore", "time_range"},
			"the beginning of time": {revocation.Request{ObjectID: alice, IssuedBefore: time.Unix(0, 0)}, "/issuedBefore", "time_range"},
		} {
			_, err := i.Revoke(t.Context(), operator(home), tt.r)
			invalid, ok := errors.AsType[*revocation.InvalidError](err)
			if !ok || invalid.Pointer != tt.pointer || invalid.Code != tt.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		if rows := w.store.All(); len(rows) != 0 {
			t.Errorf("%d rows were written", len(rows))
		}
	})
}

// The list authorises and audits itself, whoever calls it.
func TestOnlyOperatorsRevoke(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		for _, role := range authz.Roles() {
			p := operator(home)
			p.Roles = []authz.Role{role}
			_, err := i.Revoke(t.Context(), p, revocation.Request{TokenID: "t1"})
			_, statusErr := i.Status(t.Context(), p)
			for permission, err := range map[authz.Permission]error{authz.RevocationsCreate: err, authz.RevocationsRead: statusErr} {
				denial, denied := errors.AsType[*authz.Denial](err)
				if denied == (role == authz.Operator) || denied && denial.Permission != permission {
					t.Errorf("%s, %s: %v", role, permission, err)
				}
			}
		}
		for _, p := range []authz.Principal{{}, authz.System("sweep", home, "", authz.KeysRotate)} {
			if _, err := i.Revoke(t.Context(), p, revocation.Request{TokenID: "t1"}); err == nil {
				t.Errorf("%+v revokes", p)
			}
		}
	})
}

func TestARevocationIsAuditedBeforeItIsWritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		w.log.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrUnavailable })
		if _, err := i.Revoke(t.Context(), operator(home), revocation.Request{TokenID: "t0"}); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("without an audit log: %v", err)
		}
		if rows := w.store.All(); len(rows) != 0 {
			t.Error("it was written without an audit entry")
		}
		w.log.OnApply(nil)
		i.revoke(t, revocation.Request{TokenID: "t1"})
		i.revoke(t, revocation.Request{ObjectID: alice})
		w.store.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrUnavailable })
		if _, err := i.Revoke(t.Context(), operator(home), revocation.Request{TokenID: "t2"}); !errors.Is(err, rowstore.ErrUnavailable) {
			t.Errorf("without the table: %v", err)
		}
		want := []string{
			"authorised access-token t0 ", // stored later, and nothing followed
			"authorised access-token t1 ", "completed access-token t1 ", "authorised principal " + alice + " ",
			"completed principal " + alice + " ", "authorised access-token t2 ", "failed access-token t2 dependency_unavailable",
		}
		if diff := cmp.Diff(want, w.entries(t, i, authz.RevocationsCreate)); diff != "" {
			t.Error(diff)
		}
	})
}

// entries are the audit entries of an action.
func (w *world) entries(t *testing.T, i *instance, action authz.Permission) []string {
	t.Helper()
	if err := i.audit.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(w.ringOptions())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := audit.NewReader(audit.Options{
		Store: w.log, MACKey: ring.AuditMAC, Clock: time.Now, Instance: "reader", Logger: slog.New(slog.DiscardHandler),
		Telemetry: telemetry.Log{Logger: slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := reader.Events(t.Context(), audit.Query{Tenant: home, Action: string(action), Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range page.Entries {
		text := string(e.Phase)
		for _, o := range e.Objects {
			text += " " + o.Class + " " + o.Pseudonym
		}
		list = append(list, text+" "+e.ReasonCode)
	}
	return list
}

func TestEntriesExpireByThemselves(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i, reader := w.instance(t), w.instance(t)
		reader.run(t)
		i.revoke(t, revocation.Request{TokenID: "t1"})
		time.Sleep(tokenLife - time.Second)
		i.revoke(t, revocation.Request{TokenID: "t2"})
		if got := i.status(t).Revocations; len(got) != 2 || got[0].TokenID != "t2" {
			t.Errorf("a second before: %+v", got)
		}
		time.Sleep(time.Second)
		if got := i.status(t).Revocations; len(got) != 1 || got[0].TokenID != "t2" {
			t.Errorf("at the end: %+v", got)
		}
		time.Sleep(2 * time.Hour)
		size := len(w.store.All()[0].Body)
		i.revoke(t, revocation.Request{TokenID: "t3"})
		if got := len(w.store.All()[0].Body); got > size {
			t.Errorf("the expired entry still stands: %d bytes, then %d", size, got)
		}
		time.Sleep(revocation.Within)
		reader.wants(t, "where the expired entry was known", bearer(home, alice, "t3"), "token")
		if n := w.events.count(); n != 0 {
			t.Errorf("forgetting raised %d alarms", n)
		}
	})
}

func TestAFullListSaysSoAndEmptiesItself(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		id := func(n int) string { return fmt.Sprintf("%0128d", n)[:120] + fmt.Sprintf("-%07d", n) }
		for n := range revocation.MaxEntries {
			i.revoke(t, revocation.Request{TokenID: id(n)})
		}
		_, err := i.Revoke(t.Context(), operator(home), revocation.Request{ObjectID: alice})
		if !errors.Is(err, revocation.ErrFull) {
			t.Errorf("one more: %v", err)
		}
		if n := len(w.store.All()[0].Body); n > rowstore.MaxBody {
			t.Errorf("%d bytes do not fit a row", n)
		}
		i.wants(t, "one of them", bearer(home, alice, id(7)), "token")
		i.revoke(t, revocation.Request{TokenID: id(7)}) // is there already
		time.Sleep(tokenLife)
		i.revoke(t, revocation.Request{ObjectID: alice})
		i.wants(t, "after the others' end", bearer(home, alice, "t"), "subject")
		if got := i.status(t).Revocations; len(got) != 1 {
			t.Errorf("%d entries are due", len(got))
		}
	})
}

// A write that failed and took effect all the same is found, not doubled.
func TestALostAnswerIsReadBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		i := w.instance(t)
		for _, request := range []revocation.Request{{TokenID: "t1"}, {TokenID: "t2"}} {
			failed := false
			w.store.OnApply(func([]rowstore.Mutation) (bool, error) {
				if failed {
					return true, nil
				}
				failed = true
				return true, rowstore.ErrUnavailable
			})
			i.revoke(t, request)
		}
		if got := i.status(t); got.Version != 2 || len(got.Revocations) != 2 {
			t.Errorf("%+v", got)
		}
		w.store.OnApply(func([]rowstore.Mutation) (bool, error) { return false, rowstore.ErrChanged })
		if _, err := i.Revoke(t.Context(), operator(home), revocation.Request{TokenID: "t3"}); !errors.Is(err, rowstore.ErrUnavailable) {
			t.Errorf("others always first: %v", err)
		}
	})
}

// Concurrent revocations of two instances on one table: none is lost.
func TestNoConcurrentRevocationIsLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		instances := []*instance{w.instance(t), w.instance(t)}
		const each = 20
		var group sync.WaitGroup
		for n, i := range instances {
			for k := range each {
				group.Go(func() {
					id := fmt.Sprint("t", n, "-", k)
					if _, err := i.Revoke(context.Background(), operator(home), revocation.Request{TokenID: id}); err != nil {
						t.Error(err)
					}
					if r, err := i.Check(context.Background(), bearer(home, alice, id)); err != nil || !r.Token {
						t.Errorf("%s does not take effect at once: %v", id, err)
					}
				})
			}
		}
		group.Wait()
		if got := w.instance(t).status(t); len(got.Revocations) != 2*each || got.Version != 2*each {
			t.Errorf("version %d, %d entries", got.Version, len(got.Revocations))
		}
	})
}

func TestOptionsAreRequired(t *testing.T) {
	if _, err := revocation.New(revocation.Options{Store: memstore.New()}); err == nil {
		t.Error("taken")
	}
}
