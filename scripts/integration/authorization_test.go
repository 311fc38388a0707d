package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"secureapi/handler/authn"
	"secureapi/scripts/devstack/host"
)

// refuseBytes sends Authorization headers that Go's client would not send, to the
// host and to the handler's own port. What is not HTTP never becomes a request
// there: it is in no count.
func (a *app) refuseBytes(t *testing.T, mode host.Mode, answers map[string]string, counted map[string]int) {
	t.Helper()
	good := a.token(t, "writer")
	const refused = http.StatusUnauthorized
	repeated := authn.ReasonAuthorizationRepeated
	for name, c := range map[string]struct {
		lines  string
		status int
		reason string
	}{
		"as usual":                   {"Authorization: Bearer " + good, http.StatusCreated, ""},
		"in lower case":              {"authorization: bearer " + good, http.StatusCreated, ""},
		"white space around":         {"Authorization: \t Bearer " + good + " \t", http.StatusCreated, ""},
		"NUL in it":                  {"Authorization: Bearer " + good + "\x00", http.StatusBadRequest, ""},
		"NUL in the middle":          {"Authorization: Bearer\x00 " + good, http.StatusBadRequest, ""},
		"a carriage return alone":    {"Authorization: Bearer \r" + good, http.StatusBadRequest, ""},
		"a control character":        {"Authorization: Bearer " + good + "\x7f", http.StatusBadRequest, ""},
		"a space before the colon":   {"Authorization : Bearer " + good, http.StatusBadRequest, ""},
		"no colon":                   {"Authorization Bearer " + good, http.StatusBadRequest, ""},
		"a name of other letters":    {"\u0410uthorization: Bearer " + good, http.StatusBadRequest, ""},
		"an underscore name":         {"HTTP_AUTHORIZATION: Bearer " + good, refused, authn.ReasonAuthorizationMissing},
		"empty":                      {"Authorization:", refused, authn.ReasonSchemeNotBearer},
		"the scheme alone":           {"Authorization: Bearer ", refused, authn.ReasonSchemeNotBearer},
		"bytes of no character set":  {"Authorization: Bearer \xff\xfe.\x80.\xc0", refused, authn.ReasonBase64Malformed},
		"a byte order mark":          {"Authorization: Bearer \xef\xbb\xbf" + good, refused, authn.ReasonBase64Malformed},
		"a byte order mark in front": {"Authorization: \xef\xbb\xbfBearer " + good, refused, authn.ReasonSchemeNotBearer},
		"a space of no ASCII":        {"Authorization: Bearer\u00a0" + good, refused, authn.ReasonSchemeNotBearer},
		"16 KiB of dots":             {"Authorization: Bearer " + strings.Repeat(".", 16<<10), refused, authn.ReasonAuthorizationTooLong},
		"41 KiB of dots":             {"Authorization: Bearer " + strings.Repeat(".", 41<<10), http.StatusRequestHeaderFieldsTooLarge, ""},
		"two megabytes of dots":      {"Authorization: Bearer " + strings.Repeat(".", 2<<20), http.StatusRequestHeaderFieldsTooLarge, ""},
		"a good one, then another":   {"Authorization: Bearer " + good + "\r\nAuthorization: Bearer x.y.z", refused, repeated},
		"another, then a good one":   {"Authorization: Basic QTpC\r\nauthorization: Bearer " + good, refused, repeated},
		"the same twice":             {"Authorization: Bearer " + good + "\r\nAUTHORIZATION: Bearer " + good, refused, repeated},
	} {
		for _, direct := range []bool{false, true} {
			reason := c.reason
			if reason == repeated && !direct && mode == host.Forwarding {
				// The host has made one value of the two.
				reason = map[bool]string{true: authn.ReasonSchemeNotBearer, false: authn.ReasonNotThreeParts}[strings.Contains(c.lines, "Basic")]
			}
			got := a.sendLines(t, direct, c.lines)
			switch {
			case got.status != c.status:
				t.Errorf("Authorization %s (direct %v): status %d, want %d: %s", name, direct, got.status, c.status, got.body)
			case got.status == refused:
				counted[reason]++
				noteRefusal(name, got, answers)
			}
		}
	}
}

// sendLines tokenizes with header lines as they are.
func (a *app) sendLines(t *testing.T, direct bool, lines string) answer {
	t.Helper()
	addr := a.Host.Addr()
	if direct {
		addr = a.Host.HandlerAddr()
	}
	d := net.Dialer{Timeout: time.Minute}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	// Who has read enough answers while bytes are still to come.
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = fmt.Fprintf(conn, "POST /api/v1/tokens HTTP/1.1\r\nHost: api.example.com\r\n%s\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\n\r\n%s", lines, len(emailBody), emailBody)
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	// Who refuses in the middle of a header ends the connection with bytes unread.
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	must(t, conn.Close())
	<-sent
	return answer{response.StatusCode, response.Header, string(body)}
}
