package httpapi

import (
	"bufio"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/envelope"
	"secureapi/handler/fuzzcheck"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
)

const fuzzTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"

func contextOf(method, target, body string) echo.Context {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return echo.New().NewContext(r, httptest.NewRecorder())
}

// refusalText is the answer that a client would get for a refusal.
func refusalText(t *testing.T, err error) string {
	t.Helper()
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		t.Fatalf("not a refusal: %v", err)
	}
	if s := refused.problem.Status; s < 400 || s > 499 || refused.problem.Code == "" {
		t.Errorf("answers %d %s", s, refused.problem.Code)
	}
	text, err := json.Marshal(refused.problem)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// FuzzBody: what one of the API's bodies accepts, the standard library's decoder
// reads as the same, and it is the same after another round. A refusal names no
// member but the API's own, quotes nothing and costs no more than the input.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"class":"pan","value":"4111111111111111","subject":"customer-17","format":"preserving"}`,
		`{"items":[{"class":"email","value":"anna@example.com","reference":"r1"},{"class":"text","value":"\u00e9"}]}`,
		`{"tokens":["tok_pan_0123456789abcdefghjkmnpqrs"],"purpose":"fraud-review","reason":"CASE-1"}`,
		`{"columns":[{"name":"card","class":"pan","optional":true}],"subjectColumn":"customer"}`, `{"parts":3}`,
		`{"value":"a","value":"b"}`, `{"Value":"a"}`, `{"value":1}`, `{"4111111111111111":{}}`, `{"items":[{"x":{"y":`, `{"value":"\ud800"}`, "{}{}", "\xef\xbb\xbf{}", "null", "",
		`{"items":` + strings.Repeat("[", 20000),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		checkBody[tokenizeItem](t, body)
		checkBody[batchRequest](t, body)
		checkBody[createImportRequest](t, body)
		checkBody[commitRequest](t, body)
		checkBody[revealRequest](t, body)
		checkBody[inspectRequest](t, body)
	})
}

func checkBody[T any](t *testing.T, body string) {
	t.Helper()
	got, err := decode[T](contextOf(http.MethodPost, "/", body))
	if err != nil {
		// Names of members may be data as values may: the pointer has only known ones.
		refused := refusalText(t, err)
		var p problem
		if err := json.Unmarshal([]byte(refused), &p); err != nil {
			t.Fatal(err)
		}
		for _, field := range p.Errors {
			if !knownPointer(field.Pointer) {
				t.Errorf("%T: %q is refused at %q", got, body, field.Pointer)
			}
		}
		marked := fuzzcheck.Marked(body)
		if _, err := decode[T](contextOf(http.MethodPost, "/", marked)); err != nil && fuzzcheck.Quotes(refusalText(t, err)) {
			t.Errorf("%T: the refusal of %q quotes it: %s", got, marked, refusalText(t, err))
		}
		c := contextOf(http.MethodPost, "/", body)
		if n, ok := fuzzcheck.Allocates(len(body), func() { _, _ = decode[T](c) }); !ok {
			t.Errorf("%T: refusing %d bytes took %d", got, len(body), n)
		}
		return
	}
	var second T
	dec := stdjson.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&second); err != nil {
		t.Errorf("%T: %q is accepted, but not by encoding/json: %v", got, body, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("%T: %q has something behind it", got, body)
	}
	if diff := cmp.Diff(got, second, cmpopts.EquateEmpty(), cmp.AllowUnexported(batchItem{})); diff != "" {
		t.Errorf("%T: %q is read in two ways:\n%s", got, body, diff)
	}
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	reread, err := decode[T](contextOf(http.MethodPost, "/", string(again)))
	if err != nil {
		t.Errorf("%T: %s is refused, which is %q written again: %v", got, again, body, err)
	}
	if diff := cmp.Diff(got, reread, cmpopts.EquateEmpty(), cmp.AllowUnexported(batchItem{})); diff != "" {
		t.Errorf("%T: %q is not the same after a round:\n%s", got, body, diff)
	}
}

// FuzzContentType: only JSON in UTF-8, and no header that a proxy could read as
// another type.
func FuzzContentType(f *testing.F) {
	for _, seed := range []string{"application/json", "Application/JSON; charset=UTF-8", "application/json; charset=utf-16", "text/plain", "application/json, text/csv", "application/json;q=1", "application/json;charset*0=utf-8", "application/json;C*00000=0", "application/j\u017fon", `application/json; charset="UTF-8"`, ""} {
		f.Add(seed)
	}
	accepted := regexp.MustCompile(`^[ \t]*(?i:application/json)[ \t]*(;[ \t]*(?i:charset)=((?i:utf-8)|"(?i:utf-8)")[ \t]*)?$`)
	f.Fuzz(func(t *testing.T, value string) {
		err := checkMediaType(http.Header{"Content-Type": {value}}, "application/json")
		if ascii := strings.IndexFunc(value, func(r rune) bool { return r > '~' }) < 0; (err == nil) != (ascii && accepted.MatchString(value)) {
			t.Errorf("%q: %v", value, err)
		}
		if err != nil {
			marked := http.Header{"Content-Type": {fuzzcheck.Marked(value)}}
			if err := checkMediaType(marked, "application/json"); err == nil || fuzzcheck.Quotes(refusalText(t, err)) {
				t.Errorf("%q: %v", marked, err)
			}
		}
	})
}

// FuzzPath: a path that is let through is written in the one way there is, so
// that no layer before or behind can read another path in it.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/api/v1/tokens", "/api/v1/tokens/", "//api", "/api/../ImportChunk", "/api/%2e%2e/ImportChunk", "/api/v1/tokens?a=/../b",
		"/api/v1/imports/2f6b0c8e-8a3b-4c58-9d55-0c8a6f1d2e3f/parts?number=1", "/ImportChunk%20", `/api\v1`, "/api/v1/tokens;x", "/é", "*", "http://x/y", "/a\x00b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if !canonicalPath(uri) {
			return
		}
		written, _, _ := strings.Cut(uri, "?")
		if path.Clean(written) != written || strings.Trim(written, "/-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			t.Errorf("%q was let through", uri)
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + written + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			t.Fatalf("%q is no request: %v", written, err)
		}
		if r.URL.Path != written || r.URL.EscapedPath() != written || r.URL.Host != "" {
			t.Errorf("%q is read as %q", written, r.URL.Path)
		}
	})
}

// FuzzIdempotencyKey: the key that is accepted is the header as it stands.
func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"a", "2f6b0c8e-8a3b-4c58-9d55-0c8a6f1d2e3f", strings.Repeat("x", 64), strings.Repeat("x", 65), "a b", "", "é", "a\r\nX: y", "~!"} {
		f.Add(seed)
	}
	shape := regexp.MustCompile(`^[\x21-\x7e]{1,64}$`)
	f.Fuzz(func(t *testing.T, value string) {
		key, err := idempotencyKey(http.Header{"Idempotency-Key": {value}})
		if (err == nil) != (shape.MatchString(value) && !strings.HasSuffix(value, "\n")) || err == nil && key != value || err != nil && key != "" {
			t.Errorf("%q gives %q, %v", value, key, err)
		}
		if err != nil && fuzzcheck.Quotes(refusalText(t, err)) {
			t.Error("the refusal quotes the key")
		}
		if _, err := idempotencyKey(http.Header{"Idempotency-Key": {value, value}}); err == nil {
			t.Error("two keys were accepted")
		}
	})
}

// fuzzServer has a keyring and nothing else.
func fuzzServer(f *testing.F) *server {
	f.Helper()
	vault, err := memvault.New()
	if err != nil {
		f.Fatal(err)
	}
	o := keyring.Options{Store: memstore.New(), Wrapper: vault, Signer: vault, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)}
	if _, err := keyring.Bootstrap(f.Context(), o); err != nil {
		f.Fatal(err)
	}
	ring, err := keyring.New(o)
	if err != nil {
		f.Fatal(err)
	}
	return &server{Options: Options{Keyring: ring, Clock: time.Now}}
}

// FuzzQuery: the two readers of query strings accept nothing twice, nothing
// unknown and nothing out of bounds, and their refusals name parameters of theirs.
func FuzzQuery(f *testing.F) {
	s := fuzzServer(f)
	for _, seed := range []string{"", "limit=100&action=tokens.reveal", "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00%2B01:00", "limit=0", "limit=501", "limit=1&limit=2", "cursor=AAAA", "x=1", "number=7", "number=007", "%zz", "a;b"} {
		f.Add(seed)
	}
	known := []string{"", "from", "to", "action", "limit", "cursor", "number"}
	f.Fuzz(func(t *testing.T, raw string) {
		refused := func(err error) {
			text := refusalText(t, err)
			refused, _ := errors.AsType[*refusal](err)
			for _, field := range refused.problem.Errors {
				if !slices.Contains(known, field.Parameter) {
					t.Errorf("%q is refused at %q", raw, field.Parameter)
				}
			}
			if fuzzcheck.Quotes(text) {
				t.Errorf("the refusal quotes the query: %s", text)
			}
		}
		for _, query := range []string{raw, fuzzcheck.Marked(raw)} {
			q, err := s.eventsQuery(t.Context(), fuzzTenant, query)
			switch {
			case err != nil:
				refused(err)
			case q.Limit < 1 || q.Limit > maxPage || q.Tenant != fuzzTenant || q.After != (audit.Cursor{}):
				t.Errorf("%q gives %+v", query, q)
			}
			c := contextOf(http.MethodGet, "/", "")
			c.Request().URL.RawQuery = query
			n, err := numberOf(c, "number", 50)
			switch {
			case err != nil:
				refused(err)
			case n < 0 || n > 50 || n == 0 && strings.Contains(query, "number="):
				t.Errorf("%q gives %d", query, n)
			}
		}
	})
}

// FuzzCursor: a cursor is what this server sealed for this tenant, in the one
// spelling that it has; what is in it comes back the same.
func FuzzCursor(f *testing.F) {
	s := fuzzServer(f)
	made, err := s.sealCursor(f.Context(), fuzzTenant, audit.Cursor{Stream: "s", Next: 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made, []byte(`{"stream":"s","next":7}`))
	f.Add(made+"\n", []byte(`{"stream":"s","next":7,"tenant":"x"}`))
	f.Add(made[:100], []byte(`{"stream":"s","stream":"t"}`))
	f.Add("", []byte(`null`))
	f.Add("AAAA", []byte(`{"next":18446744073709551616}`))
	keys, err := s.Keyring.ForWrite(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, plaintext []byte) {
		if got, err := s.openCursor(t.Context(), fuzzTenant, text); err == nil && text != made {
			t.Errorf("%q was never sealed, and gives %+v", text, got)
		} else if err != nil && (!errors.Is(err, errCursor) || got != audit.Cursor{}) {
			t.Errorf("%+v, %v", got, err)
		}
		sealed, err := envelope.Seal(keys.Cursor(), cursorContext(fuzzTenant), plaintext)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.openCursor(t.Context(), fuzzTenant, base64.RawURLEncoding.EncodeToString(sealed))
		if err != nil {
			return
		}
		again, err := s.sealCursor(t.Context(), fuzzTenant, got)
		if err != nil {
			t.Fatal(err)
		}
		if reread, err := s.openCursor(t.Context(), fuzzTenant, again); err != nil || reread != got {
			t.Errorf("%+v became %+v, %v", got, reread, err)
		}
		if _, err := s.openCursor(t.Context(), strings.Replace(fuzzTenant, "7", "8", 1), again); !errors.Is(err, errCursor) {
			t.Errorf("another tenant's cursor: %v", err)
		}
	})
}
