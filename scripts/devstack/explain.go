package main

import (
	"fmt"
	"io"
	"strings"

	"secureapi/scripts/devstack/stack"
)

// explain prints what to call. curl is told where the issuer's name leads and
// which authority to trust, so that it verifies like every other client.
func explain(out io.Writer, s *stack.Stack, dir string) {
	info := s.Info()
	var text strings.Builder
	fmt.Fprintf(&text, "\nReady. Ctrl-C ends everything. Logs: %s/logs/, addresses: %s/stack.json\n", dir, dir)
	fmt.Fprintf(&text, `
A token, of a writer, reader, revealer, approver, privacy-officer, auditor or operator:
  TOKEN=$(curl -s --cacert %s/roots.pem --connect-to ::%s \
    -d '{"persona": "writer"}' %s | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
`, dir, info.Hosts["login.microsoftonline.com"], info.TokenURL)
	if url := s.URL(); url != "" {
		fmt.Fprintf(&text, `
A call:
  curl -i -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{"class": "email", "value": "ada@example.com"}' %s/api/v1/tokens
`, url)
		fmt.Fprintf(&text, `
Or as a person. Choose a persona in the browser (-device: in another one); a step-up that a call needs is asked for:
  set -a; . %s/vaultctl.env; set +a
  go run ./scripts/vaultctl login
  go run ./scripts/vaultctl call POST /api/v1/tokens -data '{"class": "pan", "value": "4111111111111111"}'
`, dir)
	}
	_, _ = io.WriteString(out, text.String()) //nolint:errcheck // a terminal
}
