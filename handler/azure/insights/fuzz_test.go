package insights

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"secureapi/handler/fuzzcheck"
)

// FuzzAnswer: whatever the ingestion endpoint answers, no more items are counted
// as refused than were sent, and no pause is longer than a day's quota needs.
func FuzzAnswer(f *testing.F) {
	f.Add(206, `{"itemsReceived":3,"itemsAccepted":1,"errors":[]}`, "")
	f.Add(206, `{"itemsReceived":18446744073709551615,"itemsAccepted":0}`, "")
	f.Add(206, `{"itemsReceived":0,"itemsAccepted":3}`, "1")
	f.Add(206, `{"itemsReceived":-1}`, "")
	f.Add(429, "", "65535")
	f.Add(503, "x", "65536")
	f.Add(200, strings.Repeat("[", 4000), "Wed, 21 Oct 2026 07:28:00 GMT")
	var payload bytes.Buffer
	w := gzip.NewWriter(&payload)
	if _, err := io.WriteString(w, "{}\n{}\n{}\n"); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body, retry string) {
		answer := func() (verdict, error) {
			return judge(&http.Response{
				StatusCode: status, Header: http.Header{"Retry-After": {retry}}, Body: io.NopCloser(strings.NewReader(body)),
			}, payload.Bytes())
		}
		v, err := answer()
		if err != nil || v.refused > 3 || v.after < 0 || v.after > 65535*time.Second || v.again && v.refused > 0 {
			t.Errorf("%d %q gives %+v, %v", status, body, v, err)
		}
		if n, ok := fuzzcheck.Allocates(min(len(body), maxAnswer)+payload.Len(), func() { _, _ = answer() }); !ok {
			t.Errorf("an answer of %d bytes took %d", len(body), n)
		}
	})
}
