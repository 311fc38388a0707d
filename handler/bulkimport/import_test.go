package bulkimport_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/operation"
	"secureapi/handler/tokenvault"
)

func TestFilesGoInAndTokensComeOut(t *testing.T) {
	w := newWorld(t)
	a, b := w.process(t), w.process(t)
	const second = "customer,card,email\r\n" +
		"cust-1,5555 5555 5555 4444,\r\n" + // no e-mail: optional
		"cust-2,4111111111111112,nobody\r\n" + // both wrong
		"not a subject!,4111111111111111,a@example.com\r\n" +
		",4111111111111111,a@example.com\r\n"
	id := a.commit(t, rowsFrom(1, 2500), second)
	w.drain(t, b)
	st := b.status(t, id)
	if st.State != operation.Completed || st.Parts != 2 || st.Progress.Total != 2504 || st.Progress.Imported != 2501 ||
		st.Progress.Rejected != 3 || st.Progress.Failed != 0 || st.Progress.Chunks != 3 {
		t.Fatalf("status %+v", st)
	}
	lines := a.result(t, id)
	if len(lines) != 2504 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, i := range []int{0, 1999, 2000, 2499} {
		if want := fmt.Sprintf("4111111111111111 c%d@example.com", i+1); a.reveal(t, lines[i][2], lines[i][3]) != want {
			t.Errorf("line %d does not open to %q", i, want)
		}
		if lines[i][0] != "1" || lines[i][1] != fmt.Sprint(i+1) || lines[i][4] != "" {
			t.Errorf("line %d: %q", i, lines[i])
		}
	}
	if got := a.reveal(t, lines[2500][2]); got != "5555555555554444" || lines[2500][3] != "" {
		t.Errorf("optional: %q, %q", got, lines[2500])
	}
	for i, want := range []string{"card:pan_checksum;email:email_syntax", "customer:subject_invalid", "customer:subject_invalid"} {
		if got := strings.Join(lines[2501+i], ","); got != fmt.Sprintf("2,%d,,,%s", i+2, want) {
			t.Errorf("rejected line: %s", got)
		}
	}
	if n := w.stored(); n != 2*2500+1 {
		t.Errorf("%d token rows", n)
	}
}

func TestTwoRunsOfAChunkAtOnceStoreItOnce(t *testing.T) {
	w := newWorld(t)
	first := w.process(t)
	// The second part has the first one's subjects again, with other values.
	id := first.commit(t, rowsFrom(1, 300), rowsFrom(1, 300))
	m, _ := w.queue.Take()
	if err := first.RunMessage(t.Context(), m.Text, 1); err != nil {
		t.Fatal(err)
	}
	messages := w.queue.All()
	if len(messages) != 2 {
		t.Fatalf("%d chunks rung for", len(messages))
	}
	var wg sync.WaitGroup
	for range 3 {
		p := w.process(t)
		for _, m := range messages {
			wg.Go(func() {
				if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	w.drain(t, first)
	if st := first.status(t, id); st.State != operation.Completed || st.Progress.Imported != 600 {
		t.Fatalf("status %+v", st)
	}
	if n := w.stored(); n != 1200 {
		t.Errorf("%d token rows", n)
	}
	seen := map[string]bool{}
	for i, line := range first.result(t, id) {
		if seen[line[2]] || seen[line[3]] {
			t.Errorf("line %d has a token of another", i)
		}
		seen[line[2]], seen[line[3]] = true, true
	}
}

func TestRowsWithoutASubjectGetOneEach(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	st, err := p.Create(t.Context(), writer(), columns(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.PutPart(t.Context(), writer(), st.ID, 1, []byte("card,email\n4111111111111111,a@example.com\n4111111111111111,b@example.com\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Commit(t.Context(), writer(), st.ID, 1); err != nil {
		t.Fatal(err)
	}
	w.drain(t, p)
	heads := 0
	for _, row := range w.records.All() {
		if strings.HasPrefix(row.Key, "s|") {
			heads++
		}
	}
	if lines := p.result(t, st.ID); heads != 2 || p.reveal(t, lines[1][2], lines[1][3]) != "4111111111111111 b@example.com" {
		t.Errorf("%d subjects, %v", heads, lines)
	}
}

func TestUploadsAndCommitsMayBeRepeated(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	again := func() string {
		st, err := p.Create(t.Context(), writer(), columns(), "customer", "key-1")
		if err != nil {
			t.Fatal(err)
		}
		return st.ID
	}
	id := again()
	if again() != id {
		t.Fatal("the same Idempotency-Key made another import")
	}
	if _, err := p.Create(t.Context(), writer(), columns()[:1], "customer", "key-1"); !errors.Is(err, operation.ErrOtherRequest) {
		t.Errorf("another request: %v", err)
	}
	put := func(number int, body string) (bulkimport.Uploaded, error) {
		return p.PutPart(t.Context(), writer(), id, number, []byte(body))
	}
	if up, err := put(2, rowsFrom(1, 3)); err != nil || up.Repeated || up.Rows != 3 || up.Chunks != 1 {
		t.Fatalf("%+v, %v", up, err)
	}
	if up, err := put(2, rowsFrom(1, 3)); err != nil || !up.Repeated || up.Rows != 3 {
		t.Errorf("repeat: %+v, %v", up, err)
	}
	if _, err := put(2, rowsFrom(2, 3)); !errors.Is(err, bulkimport.ErrPartExists) {
		t.Errorf("other content: %v", err)
	}
	for _, n := range []int{1, 2, 3} {
		if _, err := p.Commit(t.Context(), writer(), id, n); !errors.Is(err, bulkimport.ErrPartsMissing) {
			t.Errorf("commit of %d: %v", n, err)
		}
	}
	if _, err := put(1, rowsFrom(9, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if st, err := p.Commit(t.Context(), writer(), id, 2); err != nil || st.State != operation.Running {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	if _, err := put(3, rowsFrom(1, 1)); !errors.Is(err, operation.ErrState) {
		t.Errorf("a part after the commit: %v", err)
	}
	w.drain(t, p)
	if _, err := p.Commit(t.Context(), writer(), id, 2); err != nil {
		t.Errorf("commit of a completed import: %v", err)
	}
	if _, err := p.Commit(t.Context(), writer(), id, 1); !errors.Is(err, operation.ErrState) {
		t.Errorf("another commit: %v", err)
	}
	if n := w.stored(); n != 8 {
		t.Errorf("%d token rows", n)
	}
}

func TestUploadsAtOnceAllCount(t *testing.T) {
	w := newWorld(t)
	id := w.process(t).create(t)
	const parts = 6
	var wg sync.WaitGroup
	for n := range 2 * parts { // each part twice
		p := w.process(t)
		wg.Go(func() {
			_, err := p.PutPart(t.Context(), writer(), id, n/2+1, []byte(rowsFrom(n/2, 2)))
			if err != nil && !errors.Is(err, tokenvault.ErrBusy) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p := w.process(t)
	for n := range parts { // those who met ErrBusy try again
		if _, err := p.PutPart(t.Context(), writer(), id, n+1, []byte(rowsFrom(n, 2))); err != nil {
			t.Fatal(err)
		}
	}
	if st := p.status(t, id); st.Parts != parts || st.Progress.Total != 2*parts || st.Progress.Chunks != parts {
		t.Errorf("status %+v", st)
	}
}

func TestOnlyTheCreatorAndOperatorsMay(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 1))
	calls := map[string]func(authz.Principal) error{
		"get":    func(who authz.Principal) error { _, err := p.Get(t.Context(), who, id); return err },
		"pause":  func(who authz.Principal) error { _, err := p.Pause(t.Context(), who, id); return err },
		"resume": func(who authz.Principal) error { _, err := p.Resume(t.Context(), who, id); return err },
		"commit": func(who authz.Principal) error { _, err := p.Commit(t.Context(), who, id, 1); return err },
		"result": func(who authz.Principal) error { _, err := p.Result(t.Context(), who, id, 1); return err },
		"put": func(who authz.Principal) error {
			_, err := p.PutPart(t.Context(), who, id, 1, []byte(rowsFrom(1, 1)))
			return err
		},
	}
	other := writer()
	other.ObjectID = "another"
	stranger := writer()
	stranger.TenantID = "5a1b0a5e-0f41-4f0e-8f8e-3a2b6f1f9d11"
	for _, name := range []string{"get", "pause", "resume", "commit", "put"} {
		if err := calls[name](writer()); err != nil {
			t.Errorf("%s by its creator: %v", name, err)
		}
	}
	for name, call := range calls {
		if err := call(other); !errors.Is(err, operation.ErrNotFound) {
			t.Errorf("%s by another writer: %v", name, err)
		}
		if err := call(stranger); !errors.Is(err, operation.ErrNotFound) {
			t.Errorf("%s by another tenant: %v", name, err)
		}
		if err := call(user("writer", authz.Reader)); !isDenial(err) {
			t.Errorf("%s without the role: %v", name, err)
		}
		err := call(operator())
		if may := name == "get" || name == "pause" || name == "resume"; may && err != nil || !may && !isDenial(err) {
			t.Errorf("%s by an operator: %v", name, err)
		}
	}
}

func isDenial(err error) bool {
	_, ok := errors.AsType[*authz.Denial](err)
	return ok
}

func TestPauseResumeCancel(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.commit(t, rowsFrom(1, 2), rowsFrom(3, 2))
	must := func(st bulkimport.Status, err error) bulkimport.Status {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	must(p.Pause(t.Context(), writer(), id))
	w.drain(t, p)
	if w.stored() != 0 {
		t.Error("a paused import went on")
	}
	must(p.Resume(t.Context(), operator(), id))
	m, _ := w.queue.Take()
	if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
		t.Fatal(err)
	}
	m, _ = w.queue.Take() // the first of two chunks
	if err := p.RunMessage(t.Context(), m.Text, 1); err != nil {
		t.Fatal(err)
	}
	if st := must(p.Cancel(t.Context(), writer(), id)); st.State != operation.Cancelled || st.Progress.Imported != 2 {
		t.Errorf("cancelled: %+v", st)
	}
	w.drain(t, p)
	if lines := p.result(t, id); len(lines) != 2 || w.stored() != 4 {
		t.Errorf("%d lines, %d rows", len(lines), w.stored())
	}
	for name, call := range map[string]func() (bulkimport.Status, error){
		"pause":  func() (bulkimport.Status, error) { return p.Pause(t.Context(), writer(), id) },
		"resume": func() (bulkimport.Status, error) { return p.Resume(t.Context(), writer(), id) },
		"commit": func() (bulkimport.Status, error) { return p.Commit(t.Context(), writer(), id, 2) },
	} {
		if _, err := call(); !errors.Is(err, operation.ErrState) {
			t.Errorf("%s of a cancelled import: %v", name, err)
		}
	}
	if _, err := p.Cancel(t.Context(), writer(), id); err != nil {
		t.Errorf("cancel again: %v", err)
	}
}

func TestBadFilesAreRefusedWithTheirRow(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	id := p.create(t)
	for name, c := range map[string]struct{ body, want string }{
		"empty":          {"", ": must begin with a header row"},
		"header only":    {"card,email,customer\n", "/rows: must hold at least one row behind the header"},
		"column missing": {"card,customer\n1,2\n", "/header: must hold the columns of the import, each once, and no other"},
		"column more":    {"card,email,customer,zq-canary\n1,2,3,4\n", "/header: must hold the columns of the import, each once, and no other"},
		"column twice":   {"card,card,customer\n1,2,3\n", "/header: must hold the columns of the import, each once, and no other"},
		"cells":          {"card,email,customer\n1,2,3\nzq-canary\n", "/rows/2: has another number of cells than the header"},
		"quote":          {"card,email,customer\n1,2,\"zq-canary\n", "/rows/1: has a quote that is not closed or stands alone"},
		"encoding":       {"card,email,customer\n1,2,\xff\n", ": must be UTF-8"},
		"cell":           {"card,email,customer\n1,2," + strings.Repeat("x", 16<<10+1) + "\n", "/rows/1: has a cell of more than 16384 bytes"},
		"rows":           {"card,email,customer\n" + strings.Repeat("1,2,3\n", bulkimport.MaxPartRows+1), "/rows: must hold at most 100000 rows"},
	} {
		_, err := p.PutPart(t.Context(), writer(), id, 1, []byte(c.body))
		if invalid, ok := errors.AsType[*tokenvault.InvalidError](err); !ok || invalid.Error() != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.PutPart(t.Context(), writer(), id, 1, []byte("\xef\xbb\xbf"+rowsFrom(1, 1))); err != nil {
		t.Errorf("byte order mark: %v", err)
	}
	if len(w.blobs.All()) != 1 {
		t.Errorf("%d blobs", len(w.blobs.All()))
	}
}

func TestBadColumnsAreRefused(t *testing.T) {
	p := newWorld(t).process(t)
	email := bulkimport.Column{Name: "email", Class: "email"}
	for want, columns := range map[string][]bulkimport.Column{
		"/columns: must hold 1 to 20 columns":                          {},
		"/columns/0/name: must be 1 to 64 of A-Z a-z 0-9 . _ -":        {{Name: "é", Class: "email"}},
		"/columns/1/name: is used already or reserved":                 {email, email},
		"/columns/0/name: is used already or reserved":                 {{Name: "error", Class: "email"}},
		"/columns/0/class: is not a known data class":                  {{Name: "a", Class: "iban"}},
		"/columns/0/format: this class has no format-preserving token": {{Name: "a", Class: "email", Format: "format-preserving"}},
		"/columns/0/format: must be opaque or format-preserving":       {{Name: "a", Class: "email", Format: "x"}},
		"/subjectColumn: is used already or reserved":                  {{Name: "customer", Class: "email"}},
	} {
		_, err := p.Create(t.Context(), writer(), columns, "customer", "")
		if invalid, ok := errors.AsType[*tokenvault.InvalidError](err); !ok || invalid.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestSevenDaysLaterNothingIsLeftToRead(t *testing.T) {
	w := newWorld(t)
	p := w.process(t)
	completed, abandoned := p.commit(t, rowsFrom(1, 2)), p.create(t, rowsFrom(1, 2))
	w.drain(t, p)
	before := w.stored()
	w.later(bulkimport.Life - time.Second)
	if err := p.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(p.result(t, completed)) != 2 {
		t.Fatal("destroyed too early")
	}
	w.later(2 * time.Second)
	for range 2 {
		if err := p.Repair(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Result(t.Context(), writer(), completed, 1); !errors.Is(err, bulkimport.ErrExpired) {
		t.Errorf("result: %v", err)
	}
	if st := p.status(t, abandoned); st.State != operation.Cancelled {
		t.Errorf("abandoned: %+v", st)
	}
	if len(w.blobs.All()) != 0 || w.stored() != before {
		t.Errorf("%d blobs, %d rows of %d", len(w.blobs.All()), w.stored(), before)
	}
	for _, row := range w.operations.All() {
		if row.Partition == "due" {
			t.Errorf("due: %s", row.Key)
		}
	}
}
