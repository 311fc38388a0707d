package crash

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	parts       = 6
	rowsOfAPart = 300

	// pause keeps a caller from asking without end while nobody answers.
	pause = 100 * time.Millisecond
)

type operation struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Rows  struct{ Total, Imported, Rejected, Failed int }
	// Chunks that are done are never done again.
	Chunks struct{ Total, Done, Failed int }
}

// The handler is killed twice and the host once, all in the middle of an
// import; meanwhile a caller tokenizes single values. What was acknowledged is
// there afterwards, once.
func TestKilledInTheMiddleOfAnImportNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.startHost(t)
	s.signIn(t, "writer", "revealer")
	id := s.upload(t)

	singles := s.tokenizeUntilDown(t)
	s.call(t, http.MethodPost, "/api/v1/imports/"+id+"/commit", "writer", map[string]int{"parts": parts}, nil)
	for n := 1; n <= 2; n++ {
		s.untilDone(t, id, n)
		s.killHandler(t)
	}
	s.untilDone(t, id, 3)
	s.killHost(t)
	acknowledged := singles()

	s.startHost(t)
	var o operation
	s.until(t, "the import to complete", func() bool {
		// What the killed host had taken from the queue stays hidden for ten
		// minutes: it is the timer that rings again.
		s.runTimer(t, "RepairOperations")
		s.get(t, id, &o)
		return o.State == "completed"
	})
	if o.Rows.Imported != parts*rowsOfAPart || o.Rows.Rejected != 0 || o.Rows.Failed != 0 {
		t.Errorf("%+v", o)
	}
	s.checkResult(t, id)
	s.checkSingles(t, acknowledged)
	if got, want := s.tokenRows(t), 2*parts*rowsOfAPart+len(acknowledged); got != want {
		t.Errorf("%d token rows, want %d", got, want)
	}
}

func (s *system) upload(t *testing.T) (id string) {
	t.Helper()
	var o operation
	s.call(t, http.MethodPost, "/api/v1/imports", "writer", map[string]any{
		"columns": []map[string]string{
			{"name": "card", "class": "pan", "format": "format-preserving"}, {"name": "email", "class": "email"},
		},
		"subjectColumn": "customer",
	}, &o)
	for part := 1; part <= parts; part++ {
		var b strings.Builder
		b.WriteString("customer,card,email\n")
		for row := 1; row <= rowsOfAPart; row++ {
			fmt.Fprintf(&b, "c-%d-%d,4111111111111111,%s\n", part, row, address(part, row))
		}
		status, answer, err := s.do(t.Context(), http.MethodPut, fmt.Sprintf("/api/v1/imports/%s/parts?number=%d", o.ID, part),
			"writer", []byte(b.String()), map[string]string{"Content-Type": "text/csv"})
		if err != nil || status != http.StatusCreated {
			t.Fatalf("part %d: %d %s %v", part, status, answer, err)
		}
	}
	return o.ID
}

func address(part, row int) string { return fmt.Sprintf("p%d-r%d@example.com", part, row) }

// get reads the operation; while the handler restarts there is no answer.
func (s *system) get(t *testing.T, id string, o *operation) {
	t.Helper()
	status, answer, err := s.do(t.Context(), http.MethodGet, "/api/v1/operations/"+id, "writer", nil, nil)
	if err != nil || status != http.StatusOK {
		return
	}
	if err := json.Unmarshal(answer, o, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
}

func (s *system) untilDone(t *testing.T, id string, chunks int) {
	t.Helper()
	s.until(t, strconv.Itoa(chunks)+" chunks", func() bool {
		var o operation
		s.get(t, id, &o)
		if o.State == "completed" {
			t.Fatal("the import was completed before it could be hit")
		}
		return o.Chunks.Done >= chunks
	})
}

func (s *system) runTimer(t *testing.T, name string) {
	t.Helper()
	status, answer, err := s.do(t.Context(), http.MethodPost, "/admin/functions/"+name, "", []byte(`{}`),
		map[string]string{"X-Functions-Key": s.master})
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("%s: %d %s %v", name, status, answer, err)
	}
}

// tokenizeUntilDown tokenizes one value after the other under keys of their
// own, and gives the tokens by key number: "" where no answer came.
func (s *system) tokenizeUntilDown(t *testing.T) (stop func() []string) {
	t.Helper()
	var tokens []string
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	done.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			tokens = append(tokens, s.single(ctx, n))
			if tokens[n] == "" {
				time.Sleep(pause) // nobody is there to answer
			}
		}
	})
	return func() []string {
		cancel()
		done.Wait()
		return tokens
	}
}

func (s *system) single(ctx context.Context, n int) string {
	status, answer, err := s.do(ctx, http.MethodPost, "/api/v1/tokens", "writer",
		[]byte(`{"class":"email","value":"single-`+strconv.Itoa(n)+`@example.com"}`),
		map[string]string{"Idempotency-Key": "single-" + strconv.Itoa(n)})
	var created struct {
		Token string `json:"token"`
	}
	if err != nil || status != http.StatusCreated || json.Unmarshal(answer, &created, json.RejectUnknownMembers(false)) != nil {
		return ""
	}
	return created.Token
}

// checkSingles repeats every call: an acknowledged one gives its token again,
// the others now get one.
func (s *system) checkSingles(t *testing.T, acknowledged []string) {
	t.Helper()
	if len(acknowledged) < 10 {
		t.Fatalf("%d values were tokenized during the import", len(acknowledged))
	}
	for n, token := range acknowledged {
		again := s.single(t.Context(), n)
		if again == "" || token != "" && again != token {
			t.Errorf("value %d: acknowledged %t, the same token again %t", n, token != "", again == token)
		}
	}
}

// checkResult holds every token of the result against its value.
func (s *system) checkResult(t *testing.T, id string) {
	t.Helper()
	seen := map[string]bool{}
	for chunk := 1; chunk <= parts; chunk++ {
		status, body, err := s.do(t.Context(), http.MethodGet, fmt.Sprintf("/api/v1/imports/%s/result?chunk=%d", id, chunk), "writer", nil, nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("result %d: %d %s %v", chunk, status, body, err)
		}
		lines, err := csv.NewReader(strings.NewReader(string(body))).ReadAll()
		if err != nil || len(lines) != 1+rowsOfAPart {
			t.Fatalf("result %d: %d lines, %v", chunk, len(lines), err)
		}
		var tokens, want []string
		for i, line := range lines[1:] {
			if line[0] != strconv.Itoa(chunk) || line[1] != strconv.Itoa(i+1) || seen[line[2]] || seen[line[3]] {
				t.Fatalf("result %d: line %d is another's or repeats a token", chunk, i+1)
			}
			seen[line[2]], seen[line[3]] = true, true
			tokens, want = append(tokens, line[2], line[3]), append(want, "4111111111111111", address(chunk, i+1))
		}
		s.checkValues(t, tokens, want)
	}
}

func (s *system) checkValues(t *testing.T, tokens, want []string) {
	t.Helper()
	const most = 20 // of one call
	for first := 0; first < len(tokens); first += most {
		some := tokens[first:min(first+most, len(tokens))]
		var answer struct {
			Results []struct {
				Value string `json:"value"`
			} `json:"results"`
		}
		s.call(t, http.MethodPost, "/api/v1/tokens/reveal", "revealer",
			map[string]any{"tokens": some, "purpose": "fraud-review", "reason": "CASE-1"}, &answer)
		for i, r := range answer.Results {
			if r.Value != want[first+i] {
				t.Fatalf("token %d of a result opens to another value", first+i)
			}
		}
	}
}
