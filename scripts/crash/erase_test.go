package crash

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// tokensOfASubject is more than one transaction of the sweep takes.
const tokensOfASubject = 150

type erasure struct {
	ID      string
	State   string
	Receipt *struct {
		InaccessibleAt  time.Time
		IrrecoverableAt time.Time
		AuditEntry      string
	}
}

// entry is what the test reads of an audit entry.
type entry struct {
	ID, Phase, Action, Operation, Reason string
}

// The handler is killed as soon as a subject's head is changed, in the middle of
// the request, and once more before the sweep; in the middle of the sweep the host
// is killed with it. Each time it is started again, and the timer alone brings the
// erasure to its end.
func TestKilledInTheMiddleOfAnErasureItIsCompletedOnce(t *testing.T) {
	t.Parallel() // it waits for minutes, and computes for seconds
	s := newSystem(t)
	s.everySecond(t, "SweepErasures")
	s.startHost(t)
	s.signIn(t, "writer", "revealer", "privacy-officer", "auditor")
	erased := s.tokenize(t, "anna", tokensOfASubject)
	kept := s.tokenize(t, "bela", 3)

	s.killInTheRequest(t, "anna")
	authorised := s.theOne(t, "authorised")
	if authorised.Reason != caseID || authorised.Operation == "" {
		t.Fatalf("%+v", authorised)
	}
	s.checkUnreadable(t, erased) // by a handler that has cached nothing
	if e := s.erasure(t, authorised.Operation); e.State != "running" || s.tombstones(t) > 0 {
		t.Fatalf("the erasure is %q before it can be hit, %d tombstones", e.State, s.tombstones(t))
	}
	s.killHandler(t)
	s.until(t, "the sweep to begin", func() bool { return s.tombstones(t) > 0 })
	s.killHost(t) // it does not start a handler that ended three times
	s.startHost(t)
	s.until(t, "the erasure to complete", func() bool { return s.erasure(t, authorised.Operation).State == "completed" })

	if rows := s.records(t, "m"); s.tombstones(t) != tokensOfASubject || len(rows) != len(kept) || s.tokenRows(t) != tokensOfASubject+len(kept) {
		t.Errorf("%d tombstones, %d members and %d token rows are left", s.tombstones(t), len(rows), s.tokenRows(t))
	}
	s.checkUnreadable(t, erased)
	s.checkValues(t, kept, addresses("bela", len(kept)))
	completed, now := s.theOne(t, "completed"), s.erasure(t, authorised.Operation)
	if completed.ID != authorised.ID || completed.Operation != authorised.Operation || s.theOne(t, "authorised") != authorised {
		t.Errorf("authorised %+v, completed %+v", authorised, completed)
	}
	if now.Receipt == nil || now.Receipt.AuditEntry != authorised.ID || now.Receipt.InaccessibleAt.IsZero() {
		t.Errorf("%+v", now)
	}
}

const caseID = "CASE-2026-000017"

// everySecond has a timer function fire each second instead of each minute.
func (s *system) everySecond(t *testing.T, function string) {
	t.Helper()
	path := filepath.Join(s.dist, function, "function.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	schedule := regexp.MustCompile(`"schedule": "[^"]+"`)
	if len(schedule.FindAll(text, -1)) != 1 {
		t.Fatalf("%s has not one schedule", function)
	}
	if err := os.WriteFile(path, schedule.ReplaceAll(text, []byte(`"schedule": "* * * * * *"`)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func addresses(subject string, n int) (all []string) {
	for i := range n {
		all = append(all, subject+"-"+strconv.Itoa(i)+"@example.com")
	}
	return all
}

func (s *system) tokenize(t *testing.T, subject string, n int) (tokens []string) {
	t.Helper()
	const most = 100 // of one call
	for some := range slices.Chunk(addresses(subject, n), most) {
		items := make([]map[string]string, 0, most)
		for _, value := range some {
			items = append(items, map[string]string{"class": "email", "value": value, "subject": subject})
		}
		var answer struct {
			Results []struct {
				Token string `json:"token"`
			} `json:"results"`
		}
		s.call(t, http.MethodPost, "/api/v1/tokens/batch", "writer", map[string]any{"items": items}, &answer)
		for _, r := range answer.Results {
			if r.Token == "" {
				t.Fatal("a value has no token")
			}
			tokens = append(tokens, r.Token)
		}
	}
	return tokens
}

// killInTheRequest asks to erase the subject, and kills the handler when it sees
// the subject's head changed, whether or not there was an answer.
func (s *system) killInTheRequest(t *testing.T, subject string) {
	t.Helper()
	before, handler := s.records(t, "s"), s.handler(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		body := []byte(`{"subject":"` + subject + `","reason":"` + caseID + `"}`)
		status, answer, err := s.do(ctx, http.MethodPost, "/api/v1/subjects/erase", "privacy-officer", body, nil)
		t.Logf("the request's answer: %d %s %v", status, answer, err)
	}()
	// The rest of the request takes as long as a few looks: none is waited for.
	for start := time.Now(); slices.Equal(s.records(t, "s"), before); {
		if time.Since(start) > patience {
			t.Fatal("waited in vain for the head to change")
		}
	}
	s.kill(t, handler)
	cancel() // the host may never answer a request that its handler has died of
	<-answered
}

func (s *system) tombstones(t *testing.T) (n int) {
	t.Helper()
	for _, r := range s.records(t, "t") {
		n += min(1, len(r.Erased))
	}
	return n
}

// erasure reads the operation; while the handler restarts there is no answer.
func (s *system) erasure(t *testing.T, id string) (e erasure) {
	t.Helper()
	s.until(t, "an answer", func() bool {
		status, answer, err := s.do(t.Context(), http.MethodGet, "/api/v1/operations/"+id, "privacy-officer", nil, nil)
		if err != nil || status != http.StatusOK {
			return false
		}
		if err := json.Unmarshal(answer, &e, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err)
		}
		return true
	})
	return e
}

// checkUnreadable: to who may read everything, each token is one that there
// never was.
func (s *system) checkUnreadable(t *testing.T, tokens []string) {
	t.Helper()
	const most = 20 // of one call
	for some := range slices.Chunk(tokens, most) {
		body, err := json.Marshal(map[string]any{"tokens": some, "purpose": "fraud-review", "reason": "CASE-1"})
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Results []struct {
				Status int    `json:"status"`
				Value  string `json:"value"`
			} `json:"results"`
		}
		s.until(t, "an answer", func() bool {
			status, text, err := s.do(t.Context(), http.MethodPost, "/api/v1/tokens/reveal", "revealer", body, nil)
			return err == nil && status < http.StatusBadRequest && json.Unmarshal(text, &answer) == nil
		})
		if len(answer.Results) != len(some) {
			t.Fatalf("%d answers to %d tokens", len(answer.Results), len(some))
		}
		for i, r := range answer.Results {
			if r.Status != http.StatusNotFound || r.Value != "" {
				t.Fatalf("token %d of an erased subject: %d, a value %t", i, r.Status, r.Value != "")
			}
		}
	}
}

// theOne is the one entry of that phase in the whole log that tells of an
// erasure.
func (s *system) theOne(t *testing.T, phase string) entry {
	t.Helper()
	var found []entry
	for cursor := "?limit=500"; cursor != ""; {
		var page struct {
			Events []entry
			Next   string
		}
		s.until(t, "an answer", func() bool {
			status, text, err := s.do(t.Context(), http.MethodGet, "/api/v1/audit/events"+cursor, "auditor", nil, nil)
			return err == nil && status == http.StatusOK && json.Unmarshal(text, &page, json.MatchCaseInsensitiveNames(true)) == nil
		})
		for _, e := range page.Events {
			if e.Action == "subjects.erase" && e.Phase == phase {
				found = append(found, e)
			}
		}
		if cursor = ""; page.Next != "" {
			cursor = "?limit=500&cursor=" + url.QueryEscape(page.Next)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d entries %q of the erasure: %+v", len(found), phase, found)
	}
	return found[0]
}
