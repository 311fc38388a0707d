// Package crash kills the parts of the whole system and looks at what is left.
//
// The Functions host stand-in runs in a process of its own, so that it and the
// handler can be killed as a machine's end would: no drain, no goodbye. Storage
// and the other services stay, as they do in Azure.
package crash

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/go-json-experiment/json"

	"secureapi/scripts/devstack/azurite"
	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/host"
	"secureapi/scripts/devstack/provision"
	"secureapi/scripts/devstack/stack"
	"secureapi/scripts/stage/staging"
)

// patience bounds every wait; what is waited for takes seconds.
const patience = 3 * time.Minute

// system is the stack in this process and the Functions host, with the handler
// as its child, in another: this test's own binary, started once more.
type system struct {
	*stack.Stack
	dir, dist, master string

	host   *exec.Cmd
	api    string
	tokens map[string]string
}

func newSystem(t *testing.T) *system {
	t.Helper()
	root, err := azurite.FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	s := &system{dir: t.TempDir(), dist: filepath.Join(t.TempDir(), "dist"), master: rand.Text(), tokens: map[string]string{}}
	if err := staging.Stage(t.Context(), staging.Options{Root: root, Out: s.dist, Log: io.Discard}); err != nil {
		t.Fatal(err)
	}
	s.Stack, err = stack.Start(t.Context(), stack.Options{Dir: s.dir, InMemory: true, Bootstrap: provision.Keyring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.killHost(t)
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// hostConfig is the environment variable that makes this binary a host.
const hostConfig = "CRASH_TEST_HOST"

// hostOptions is what the variable holds, in JSON.
type hostOptions struct{ Dir, Dist, Master, Address string }

func TestMain(m *testing.M) {
	if text := os.Getenv(hostConfig); text != "" {
		fmt.Fprintln(os.Stderr, "host:", runHost(text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runHost is the host's process: it runs until it is killed.
func runHost(text string) error {
	var o hostOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	info, err := stack.Load(filepath.Join(o.Dir, "stack.json"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(info.RootsPEM))
	env := []string{
		"IMPORT_REPAIR_AFTER=1s",
		// One chunk after the other, so that there is a middle to kill in; and a
		// failed one soon again.
		"AzureFunctionsJobHost__extensions__queues__batchSize=1",
		"AzureFunctionsJobHost__extensions__queues__newBatchThreshold=0",
		"AzureFunctionsJobHost__extensions__queues__visibilityTimeout=00:00:01",
	}
	for name, value := range info.HandlerEnv {
		env = append(env, name+"="+value)
	}
	h, err := host.New(host.Options{
		Dir: o.Dist, Env: env, StateDir: filepath.Join(o.Dir, "timers"), Log: os.Stderr,
		HTTPClient: ca.Client(pool, info.Hosts), MasterKey: o.Master,
	})
	if err != nil {
		return err
	}
	go func() {
		<-h.Ready()
		if err := os.WriteFile(o.Address, []byte("http://"+h.Addr()), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "host:", err)
		}
	}()
	return h.Run(context.Background())
}

// startHost starts a host on the storage as it is.
func (s *system) startHost(t *testing.T) {
	t.Helper()
	address := filepath.Join(t.TempDir(), "address")
	config, err := json.Marshal(hostOptions{s.dir, s.dist, s.master, address})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(s.dir, "logs", "crash-host.log"))
	if err != nil {
		t.Fatal(err)
	}
	s.host = exec.CommandContext(context.WithoutCancel(t.Context()), self)
	s.host.Env = append(os.Environ(), hostConfig+"="+string(config))
	s.host.Stdout, s.host.Stderr = log, log
	err = s.host.Start()
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the host to start", func() bool {
		b, err := os.ReadFile(address)
		s.api = string(b)
		return err == nil && s.api != ""
	})
	s.until(t, "readiness", func() bool {
		status, _, err := s.do(t.Context(), http.MethodGet, "/api/v1/health/ready", "", nil, nil)
		return err == nil && status == http.StatusOK
	})
}

// killHost ends the host without a word. The handler, its child, goes with it.
func (s *system) killHost(t *testing.T) {
	t.Helper()
	if s.host == nil {
		return
	}
	children := s.children(t)
	if err := s.host.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = s.host.Wait() // it reports that it was killed
	s.host = nil
	for pid, name := range children {
		s.until(t, name+" to end", func() bool { return syscall.Kill(pid, 0) != nil })
	}
}

// children are the host's own processes, by their executable's name.
func (s *system) children(t *testing.T) map[int]string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// "pid (name) state ppid …"; the name may hold spaces.
		open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		fields := strings.Fields(string(stat[end+1:]))
		pid, err := strconv.Atoi(strings.TrimSpace(string(stat[:open])))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(s.host.Process.Pid) {
			found[pid] = string(stat[open+1 : end])
		}
	}
	return found
}

// killHandler ends the handler as the kernel's out-of-memory killer would, and
// waits until the host has started another.
func (s *system) killHandler(t *testing.T) {
	t.Helper()
	s.kill(t, s.handler(t))
}

// handler is the process of the handler that runs.
func (s *system) handler(t *testing.T) int {
	t.Helper()
	for pid, name := range s.children(t) {
		if name == "handler" {
			return pid
		}
	}
	return 0
}

func (s *system) kill(t *testing.T, handler int) {
	t.Helper()
	if handler == 0 {
		t.Fatal("no handler runs")
	}
	if err := syscall.Kill(handler, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until(t, "another handler", func() bool { pid := s.handler(t); return pid != 0 && pid != handler })
}

func (s *system) until(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if met() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// do makes one call of the API as a persona ("" for none).
func (s *system) do(
	ctx context.Context, method, path, persona string, body []byte, header map[string]string,
) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.api+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if persona != "" {
		r.Header.Set("Authorization", "Bearer "+s.tokens[persona])
	}
	return s.send(r)
}

func (s *system) send(r *http.Request) (int, []byte, error) {
	resp, err := s.HTTPClient().Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// signIn gets tokens for personas.
func (s *system) signIn(t *testing.T, personas ...string) {
	t.Helper()
	for _, persona := range personas {
		token, err := s.Token(t.Context(), persona)
		if err != nil {
			t.Fatal(err)
		}
		s.tokens[persona] = token
	}
}

// call is do that must succeed; into may be nil.
func (s *system) call(t *testing.T, method, path, persona string, request, into any) {
	t.Helper()
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			t.Fatal(err)
		}
	}
	status, answer, err := s.do(t.Context(), method, path, persona, body, nil)
	if err != nil || status >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer, into); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// tokenRows counts the token rows in table records.
func (s *system) tokenRows(t *testing.T) int {
	t.Helper()
	return len(s.records(t, "t"))
}

// record is what stands outside of a sealed row's envelope.
type record struct {
	Key    string `json:"RowKey"`
	ETag   string `json:"odata.etag"`
	Erased string // not empty on a tombstone
}

// records are the rows of table records of one kind: t for tokens, m for the
// members of subjects, s for the heads of subjects.
func (s *system) records(t *testing.T, kind string) (all []record) {
	t.Helper()
	table, err := aztables.NewClient(stack.Endpoint(stack.DataAccount, "table")+"/records", s.Credential(),
		&aztables.ClientOptions{ClientOptions: s.ClientOptions()})
	if err != nil {
		t.Fatal(err)
	}
	filter := "RowKey ge '" + kind + "|' and RowKey lt '" + kind + "~'"
	for pager := table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter}); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, entity := range page.Entities {
			var r record
			if err := json.Unmarshal(entity, &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
	}
	return all
}
