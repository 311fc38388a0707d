package credential

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	msal "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
)

// FuzzAuthorityCode: of an authority's error, which quotes requests, a code goes
// on and nothing else.
func FuzzAuthorityCode(f *testing.F) {
	f.Add(400, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`)
	f.Add(400, `{"error":"interaction_required"}`)
	f.Add(400, `{"error":"AADSTS1"}`)
	f.Add(503, `<html>secret</html>`)
	f.Add(0, "")
	shape := regexp.MustCompile(`^(AADSTS[0-9]{4,8}|[a-z_]{1,40}|status_-?[0-9]+)$`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		request := &http.Request{URL: &url.URL{}}
		response := &http.Response{StatusCode: status, Request: request, Body: io.NopCloser(strings.NewReader(body))}
		code := authorityCode(msal.CallErr{Req: request, Resp: response, Err: errors.New(body)})
		if !shape.MatchString(code) {
			t.Errorf("%d %q gives %q", status, body, code)
		}
		if authorityCode(errors.New(body)) != "" {
			t.Error("a code of no authority")
		}
	})
}
