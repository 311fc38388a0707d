package tables

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/rowstore"
)

// answer builds a transaction answer as the service sends it.
func answer(parts ...string) []byte {
	var b strings.Builder
	b.WriteString("--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n")
	for _, part := range parts {
		b.WriteString("--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n")
		b.WriteString(part)
	}
	b.WriteString("--changesetresponse_1--\r\n--batchresponse_1--\r\n")
	return []byte(b.String())
}

func done(tag string) string {
	header := "X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nDataServiceVersion: 1.0;\r\n"
	if tag != "" {
		header += "ETag: " + tag + "\r\n"
	}
	return "HTTP/1.1 204 No Content\r\n" + header + "\r\n\r\n"
}

func failed(status int, document string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nDataServiceVersion: 3.0;\r\nContent-Type: application/json\r\n\r\n%s\r\n",
		status, http.StatusText(status), document)
}

func document(code, message string) string {
	return fmt.Sprintf(`{"odata.error":{"code":%q,"message":{"lang":"en-US","value":%q}}}`, code, message)
}

// three is a transaction of an insert, a replace and a delete.
var three = []rowstore.Mutation{{Action: rowstore.Insert}, {Action: rowstore.Replace}, {Action: rowstore.Delete}}

func TestReadAnswer(t *testing.T) {
	tag := `W/"datetime'2026-01-02T03%3A04%3A05.6789012Z'"`
	got, err := readAnswer(answer(done(tag), done(`W/"2"`), done("")), three)
	if diff := cmp.Diff([]string{tag, `W/"2"`, ""}, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
}

func TestReadAnswerOfFailure(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte
		want   error
		index  int
	}{
		"exists": {
			answer(failed(409, document("EntityAlreadyExists", "2:The specified entity already exists.\nRequestId:1"))),
			rowstore.ErrExists, 2,
		},
		"changed": {
			answer(failed(412, document("UpdateConditionNotSatisfied", "0:The update condition is not satisfied."))),
			rowstore.ErrChanged, 0,
		},
		"not found": {
			answer(failed(404, document("ResourceNotFound", "1:The specified resource does not exist."))),
			rowstore.ErrNotFound, 1,
		},
		"position missing": {
			answer(failed(412, document("UpdateConditionNotSatisfied", "The update condition is not satisfied."))),
			rowstore.ErrChanged, -1,
		},
		"position out of range": {
			answer(failed(412, document("UpdateConditionNotSatisfied", "3:The update condition is not satisfied."))),
			rowstore.ErrChanged, -1,
		},
		"table missing":    {answer(failed(404, document("TableNotFound", "0:The table does not exist."))), rowstore.ErrUnavailable, -1},
		"table going":      {answer(failed(409, document("TableBeingDeleted", "0:Going."))), rowstore.ErrUnavailable, -1},
		"too large":        {answer(failed(400, document("EntityTooLarge", "1:Too large."))), rowstore.ErrInvalid, -1},
		"throttled":        {answer(failed(503, document("ServerBusy", "0:Busy."))), rowstore.ErrUnavailable, -1},
		"no document":      {answer(failed(412, "")), rowstore.ErrUnavailable, -1},
		"another document": {answer(failed(412, "[1]")), rowstore.ErrUnavailable, -1},
		"odd status":       {answer("HTTP/1.1 abc\r\n\r\n"), rowstore.ErrUnavailable, -1},
		"one answer less":  {answer(done("1"), done("2")), rowstore.ErrUnavailable, -1},
		"one answer more":  {answer(done("1"), done("2"), done(""), done("")), rowstore.ErrUnavailable, -1},
		"a tag is missing": {answer(done("1"), done(""), done("")), rowstore.ErrUnavailable, -1},
		"cut off":          {answer(done("1"), done("2"))[:250], rowstore.ErrUnavailable, -1},
		"empty":            {nil, rowstore.ErrUnavailable, -1},
	} {
		versions, err := readAnswer(c.answer, three)
		if !errors.Is(err, c.want) || rowstore.FailedIndex(err) != c.index || versions != nil {
			t.Errorf("%s: %v at %d, want %v at %d", name, err, rowstore.FailedIndex(err), c.want, c.index)
		}
	}
}

func TestErrorsRepeatNothing(t *testing.T) {
	for _, secret := range []string{"tenant|row-key", "4111111111111111"} {
		_, err := readAnswer(answer(failed(400, document(secret, "0:"+secret+" is too large."))), three)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v repeats the answer", err)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add(answer(done("1"), done("2"), done("")))
	f.Add(answer(failed(409, document("EntityAlreadyExists", "1:exists"))))
	f.Add([]byte("HTTP/1.1 "))
	f.Add([]byte("HTTP/1.1 204\nETag: 1\nHTTP/1.1 204\n\n"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		versions, err := readAnswer(payload, three)
		if err == nil && (len(versions) != 3 || versions[0] == "" || versions[1] == "" || versions[2] != "") {
			t.Fatalf("versions %q without error", versions)
		}
		if index := rowstore.FailedIndex(err); index >= len(three) {
			t.Fatalf("position %d of %d", index, len(three))
		}
	})
}
