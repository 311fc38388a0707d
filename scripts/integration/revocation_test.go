package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"secureapi/handler/authn"
	"secureapi/handler/revocation"
	"secureapi/scripts/devstack/entra"
	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/stack"
)

// An operator takes a token and then a subject's tokens back. The instance that
// he asks refuses them at once; a second one, which nobody tells, within the
// bound; and both alarm when storage loses the list.
func TestARevocationTakesEffectOnEveryInstance(t *testing.T) {
	a := startApp(t, host.Proxying)
	second := a.startSecond(t)
	stolen, uti := a.mint(t, "writer")
	other, _ := a.mint(t, "writer")
	for range 2 { // the second time from the cache
		a.tokenizeWith(t, a.Host.HandlerAddr(), stolen, http.StatusCreated)
		a.tokenizeWith(t, second, stolen, http.StatusCreated)
	}

	a.call(t, "operator", http.MethodPost, "/api/v1/revocations", map[string]any{"tokenId": uti}).want(t, http.StatusOK)
	revoked := time.Now()
	r := a.tokenizeWith(t, a.Host.HandlerAddr(), stolen, http.StatusUnauthorized)
	if got := r.header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
		t.Errorf("challenge %q", got)
	}
	a.refusedSoon(t, second, stolen)
	if took := time.Since(revoked); took > revocation.Within {
		t.Errorf("the second instance took %s", took)
	}
	a.tokenizeWith(t, a.Host.HandlerAddr(), other, http.StatusCreated)
	a.tokenizeWith(t, second, other, http.StatusCreated)

	writer := persona(t, entra.HomeTenant, "Vault.Writer")
	a.call(t, "operator", http.MethodPost, "/api/v1/revocations", map[string]any{"objectId": writer.OID}).want(t, http.StatusOK)
	r = a.tokenizeWith(t, a.Host.HandlerAddr(), other, http.StatusUnauthorized)
	if got := challengedClaims(t, r); !strings.HasPrefix(got, `{"access_token":{"nbf":{"essential":true,"value":"`) {
		t.Errorf("claims challenge %s", got)
	}
	a.refusedSoon(t, second, other)
	fresh := ""
	a.eventually(t, "a second to begin that nothing was revoked in", func() bool {
		fresh, _ = a.mint(t, "writer")
		return a.at(t, a.Host.HandlerAddr(), fresh).status == http.StatusCreated
	})
	a.tokenizeWith(t, second, fresh, http.StatusCreated)
	for reason, want := range map[string]int{authn.ReasonTokenRevoked: 2, authn.ReasonSubjectRevoked: 2} {
		if got := a.denied(t, reason); got < want {
			t.Errorf("%d denied entries with %s", got, reason)
		}
	}

	a.deleteRevocations(t)
	a.eventually(t, "an alarm of each instance", func() bool {
		alarms := 0
		for _, e := range a.events(t, nil) {
			if e.Phase == "alarm" && e.ReasonCode == "revocations_forged" {
				alarms++
			}
		}
		return alarms == 2
	})
	a.tokenizeWith(t, second, stolen, http.StatusUnauthorized)
}

// mint signs a token of a persona whose client understands claims challenges,
// and gives its id.
func (a *app) mint(t *testing.T, who string) (token, uti string) {
	t.Helper()
	p, ok := a.Entra.Persona(who)
	if !ok {
		t.Fatalf("no persona %s", who)
	}
	claims := a.Entra.PersonaClaims(p, entra.Grant{Capable: true})
	token, err := a.Entra.Sign(p.Tenant, claims)
	must(t, err)
	uti, ok = claims["uti"].(string)
	if !ok {
		t.Fatal("a token without an id")
	}
	return token, uti
}

// at tokenizes at one handler's own port.
func (a *app) at(t *testing.T, address, token string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/api/v1/tokens",
		strings.NewReader(`{"class":"email","value":"revocation@example.com"}`))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := a.HTTPClient().Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	return answer{status: resp.StatusCode, header: resp.Header}
}

func (a *app) tokenizeWith(t *testing.T, address, token string, status int) answer {
	t.Helper()
	return a.at(t, address, token).want(t, status)
}

func (a *app) refusedSoon(t *testing.T, address, token string) {
	t.Helper()
	a.eventually(t, "the other instance to refuse the token", func() bool {
		return a.at(t, address, token).status == http.StatusUnauthorized
	})
}

// denied counts the refusals with a reason.
func (a *app) denied(t *testing.T, reason string) (n int) {
	t.Helper()
	for _, e := range a.events(t, nil) {
		if e.Phase == "denied" && e.ReasonCode == reason {
			n++
		}
	}
	return n
}

// challengedClaims are the claims that a 401 asks for.
func challengedClaims(t *testing.T, r answer) string {
	t.Helper()
	_, quoted, ok := strings.Cut(r.header.Get("WWW-Authenticate"), `error="insufficient_claims", claims="`)
	if !ok {
		t.Fatalf("challenge %q", r.header.Get("WWW-Authenticate"))
	}
	claims, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(quoted, `"`))
	must(t, err)
	return string(claims)
}

// startSecond runs the built handler a second time on the same stack, and gives
// its address.
func (a *app) startSecond(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	ctx, end := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv(packageEnv), "handler"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Env = []string{"FUNCTIONS_CUSTOMHANDLER_PORT=" + port}
	for name, value := range a.HandlerEnv() {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	must(t, cmd.Start())
	t.Cleanup(func() {
		end()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the second instance:\n%s", &output)
		}
	})
	a.eventually(t, "the second instance", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/v1/health/ready", http.NoBody)
		must(t, err)
		resp, err := a.HTTPClient().Do(req)
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return address
}

// deleteRevocations takes the home tenant's list out of storage.
func (a *app) deleteRevocations(t *testing.T) {
	t.Helper()
	table, err := aztables.NewClient(stack.Endpoint(a.DataAccount(), "table")+"/"+revocation.Table, a.Credential(),
		&aztables.ClientOptions{ClientOptions: a.ClientOptions()})
	must(t, err)
	_, err = table.DeleteEntity(t.Context(), entra.HomeTenant, "list", nil)
	must(t, err)
}
