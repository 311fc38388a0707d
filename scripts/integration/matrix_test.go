package integration

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"secureapi/scripts/devstack/host"
)

var update = flag.Bool("update", false, "write docs/status-matrix.md anew")

const matrixFile = "../../docs/status-matrix.md"

const matrixHead = `# Who answers what

What callers can send beside the routes as they are written, what is answered, and by whom. Written and compared by
` + "`TestStatusMatrix`" + ` (` + "`go test ./scripts/integration -run TestStatusMatrix -update`" + `), which sends each row byte for byte
over sockets of its own, with a second request behind it on the same connection: to the built handler's port, and through the host
stand-in in both modes. Every row was met as measured; no cell is assumed.

- **handler**: a route or guard of ours. The answer carries an ` + "`X-Request-Id`" + ` that stands in the handler's log.
- **server**: Go's HTTP server in the handler's process, before any of our code. No line in the log.
- **host**: the host stand-in. The handler has not seen the request.
- **closed**: the connection was ended without an answer.

The stand-in reads messages with Go's parser, where the real host has Kestrel's behind Azure's front end, which may read some rows otherwise (bare LF,
folded lines, a length beside chunked). What this shows for them is that the handler's own reading never yields a second request, and
that it executes no more requests than the host says it has made.
`

// A proxy that meets a broken body while the handler refuses the request, which
// it does without the body, answers with whichever it sees first.
const earlyRefusal, brokenBody = "411 handler", "500 host"

// broken: the body breaks off in the middle for whoever reads it.
func (s shape) broken() bool {
	return strings.HasPrefix(s.name, "chunk of ") || strings.HasPrefix(s.name, "chunk size ")
}

// column is where a shape is sent to.
type column struct {
	name string
	app  *app
	addr string
	// at is who answers without a line in the handler's log.
	at string
}

// TestStatusMatrix sends every shape everywhere. Whatever is answered, the
// handler refuses a shape that is not a rightful spelling, nothing is
// redirected, no header of CORS is set, the second request behind it is not
// executed on the handler's port, and through the host the handler executes no
// more than the host has asked for.
func TestStatusMatrix(t *testing.T) {
	cells := map[string][]string{}
	for _, mode := range []host.Mode{host.Proxying, host.Forwarding} {
		t.Run(string(mode), func(t *testing.T) {
			a := startApp(t, mode)
			a.fill(t, column{string(mode), a, a.Host.Addr(), "host"}, cells)
			a.eventually(t, "as many calls of the host's as requests of the handler's", func() bool {
				got := a.apiRequests(t)
				return got > len(shapes())/4 && got <= a.executed(t)
			})
			if mode == host.Proxying {
				before := a.seconds(t)
				a.fill(t, column{"handler's port", a, a.Host.HandlerAddr(), "server"}, cells)
				if got := a.seconds(t); got != before {
					t.Errorf("%d second requests were executed", got-before)
				}
				a.checkSecondsAreSeen(t)
			}
			a.do(t, request{method: "GET", target: "/api/v1/health/ready"}).want(t, http.StatusOK)
			if n := a.Host.Restarts(); n != 0 {
				t.Errorf("the handler was restarted %d times", n)
			}
		})
	}
	rendered := render(cells)
	if *update && !t.Failed() {
		must(t, os.WriteFile(matrixFile, []byte(rendered), 0o600))
	}
	written, err := os.ReadFile(matrixFile)
	must(t, err)
	want, got := strings.Split(string(written), "\n"), strings.Split(rendered, "\n")
	for i := range max(len(want), len(got)) {
		if at(want, i) != at(got, i) {
			t.Errorf("docs/status-matrix.md:%d: %s\nmeasured: %s", i+1, at(want, i), at(got, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// fill sends all shapes to one address and adds a cell to each row.
func (a *app) fill(t *testing.T, c column, cells map[string][]string) {
	t.Helper()
	fill := a.placeholders(t)
	var ids []string
	for _, s := range shapes() {
		answers := send(t, s.name, c.addr, fill(s.bytes))
		cell := "closed"
		if len(answers) > 0 {
			first := answers[0]
			who := c.at
			if id := first.header.Get("X-Request-Id"); id != "" {
				who = "handler"
				ids = append(ids, id)
			}
			cell = fmt.Sprintf("%d %s", first.status, who)
			if c.name == string(host.Proxying) && s.broken() && (cell == earlyRefusal || cell == brokenBody) {
				cell = earlyRefusal + " or " + brokenBody
			}
			s.check(t, c, first)
		}
		if c.at == "server" && len(answers) > 1 {
			t.Errorf("%s: %s: %d answers", c.name, s.name, len(answers))
		}
		cells[s.name] = append(cells[s.name], cell)
	}
	a.eventually(t, "every request id in the log", func() bool {
		known := a.handled(t)
		return !slices.ContainsFunc(ids, func(id string) bool { _, ok := known[id]; return !ok })
	})
}

// check holds what no answer may be, whatever its status.
func (s shape) check(t *testing.T, c column, got answer) {
	t.Helper()
	switch {
	case got.status >= 300 && got.status < 400, got.status == http.StatusSwitchingProtocols:
		t.Errorf("%s: %s: status %d", c.name, s.name, got.status)
	case !s.fine && got.status < 400 && got.header.Get("X-Request-Id") != "":
		t.Errorf("%s: %s: accepted with %d: %s", c.name, s.name, got.status, got.body)
	case got.header.Get("X-Request-Id") != "" && got.header.Get("X-Content-Type-Options") != "nosniff":
		t.Errorf("%s: %s: without the security headers", c.name, s.name)
	}
	for name := range got.header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: %s: %s is set", c.name, s.name, name)
		}
	}
}

// placeholders gives what fills in tokens and ids, and adds the second request.
func (a *app) placeholders(t *testing.T) func(string) string {
	t.Helper()
	id := a.newImport(t)
	pairs := []string{"{id}", id, "{ID}", strings.ToUpper(id), "{hex}", strings.ReplaceAll(id, "-", "")}
	for _, who := range []string{"writer", "reader", "operator", "auditor"} {
		pairs = append(pairs, "{"+who+"}", a.token(t, who))
	}
	replace := strings.NewReplacer(pairs...)
	behind := replace.Replace(second)
	return func(bytes string) string {
		return strings.ReplaceAll(replace.Replace(bytes), "{second}", fmt.Sprint(len(behind))) + behind
	}
}

// apiRequests counts what the handler executed for the host: all but the
// question whether it is up.
func (a *app) apiRequests(t *testing.T) (n int) {
	t.Helper()
	for _, route := range a.handled(t) {
		if route != "/" {
			n++
		}
	}
	return n
}

// seconds counts the executed second requests.
func (a *app) seconds(t *testing.T) (n int) {
	t.Helper()
	for _, route := range a.handled(t) {
		if route == marker {
			n++
		}
	}
	return n
}

// checkSecondsAreSeen: two requests that are rightfully behind each other are
// both executed, each with its own token, and the count sees it.
func (a *app) checkSecondsAreSeen(t *testing.T) {
	t.Helper()
	before, fill := a.seconds(t), a.placeholders(t)
	answers := send(t, "pipelined", a.Host.HandlerAddr(), fill("GET"+live+"\r\n"))
	if len(answers) != 2 || answers[0].status != http.StatusOK || answers[1].status != http.StatusOK {
		t.Errorf("pipelined: %+v", answers)
	}
	a.eventually(t, "the pipelined request in the log", func() bool { return a.seconds(t) == before+1 })
	// Nothing of the first request's caller is left for the second.
	answers = send(t, "pipelined", a.Host.HandlerAddr(), fill("GET /api/v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {operator}\r\n\r\n"+
		"GET /api/v1/keys HTTP/1.1\r\nHost: x\r\n\r\n"))
	if len(answers) != 3 || answers[0].status != http.StatusOK || answers[1].status != http.StatusUnauthorized {
		t.Errorf("pipelined without a token: %+v", answers)
	}
}

func render(cells map[string][]string) string {
	var b strings.Builder
	b.WriteString(matrixHead)
	section := ""
	for _, s := range shapes() {
		if s.section != section {
			section = s.section
			fmt.Fprintf(&b, "\n## %s\n\n| sent | handler's port | host, proxying | host, forwarding |\n| --- | --- | --- | --- |\n", section)
		}
		// In the order of sending: proxying, port, forwarding.
		row := append(slices.Clone(cells[s.name]), "-", "-", "-")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.name, row[1], row[0], row[2])
	}
	return b.String()
}
