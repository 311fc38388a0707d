package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const minimalHost = `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"}}}`

func loadText(t *testing.T, text string, env ...string) (config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "host.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(file, newEnvironment(env))
}

// This project's own host.json says what the handler counts on.
func TestThisProjectsHostJSON(t *testing.T) {
	c, err := loadConfig("../../../host.json", newEnvironment(nil))
	if err != nil {
		t.Fatal(err)
	}
	if !c.enables(Proxying) || !c.enables(Forwarding) || c.handler.executable != "handler" || c.routePrefix != "api" {
		t.Errorf("%+v", c)
	}
	if q := c.queues; q.base64 || q.visibilityTimeout < 30*time.Second || q.maxDequeueCount != 5 {
		t.Errorf("%+v", q)
	}
	text, err := os.ReadFile("../../../host.json")
	if err != nil {
		t.Fatal(err)
	}
	// Trace and Debug log bodies.
	for _, forbidden := range []string{"Trace", "Debug"} {
		if strings.Contains(string(text), forbidden) {
			t.Errorf("host.json mentions log level %s", forbidden)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := loadText(t, minimalHost)
	if err != nil {
		t.Fatal(err)
	}
	if c.functionTimeout != 30*time.Minute || c.routePrefix != "api" || !c.queues.base64 || c.queues.batchSize != 16 ||
		c.queues.maxDequeueCount != 5 || c.queues.visibilityTimeout != 0 || c.queues.maxPollingInterval != time.Minute || c.enables(Proxying) || c.enables(Forwarding) {
		t.Errorf("%+v", c)
	}
}

func TestOverrides(t *testing.T) {
	c, err := loadText(t, minimalHost,
		"AzureFunctionsJobHost__functionTimeout=00:00:01.5",
		"azurefunctionsjobhost__EXTENSIONS__queues__BatchSize=2",
		"AzureFunctionsJobHost__extensions__queues__newBatchThreshold=1",
		"AzureFunctionsJobHost__extensions__queues__messageEncoding=none",
		"AzureFunctionsJobHost__extensions__http__routePrefix=",
		"AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest=True",
		"AzureFunctionsJobHost__customHandler__description__arguments__0=%NAME%",
		"NAME=value")
	if err != nil {
		t.Fatal(err)
	}
	if c.functionTimeout != 1500*time.Millisecond || c.queues.batchSize != 2 || c.queues.newBatchThreshold != 1 || c.queues.base64 ||
		c.routePrefix != "" || !c.enables(Forwarding) || len(c.handler.arguments) != 1 || c.handler.arguments[0] != "value" {
		t.Errorf("%+v", c)
	}
}

func TestConfigRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ text, env, want string }{
		"version":           {strings.Replace(minimalHost, "2.0", "1.0", 1), "", "version"},
		"no handler":        {`{"version":"2.0"}`, "", "defaultExecutablePath"},
		"not JSON":          {"{", "", "decoding"},
		"duplicate":         {`{"version":"2.0","version":"2.0"}`, "", "duplicate"},
		"misspelt":          {strings.Replace(minimalHost, `"version"`, `"extensions":{"queues":{"maxDequeCount":3}},"version"`, 1), "", "maxdequecount is unknown"},
		"misspelt override": {minimalHost, "AzureFunctionsJobHost__extensions__queues__batch=2", "is unknown"},
		"bad number":        {minimalHost, "AzureFunctionsJobHost__extensions__queues__batchSize=33", "batchsize"},
		"bad span":          {minimalHost, "AzureFunctionsJobHost__functionTimeout=5s", "time span"},
		"bad flag":          {minimalHost, "AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest=yes", "true or false"},
		"bad encoding":      {minimalHost, "AzureFunctionsJobHost__extensions__queues__messageEncoding=utf8", "messageencoding"},
		"unset variable":    {minimalHost, "AzureFunctionsJobHost__customHandler__description__arguments__0=%NOBODY%", "%NOBODY% is not set"},
	} {
		var env []string
		if tt.env != "" {
			env = []string{tt.env}
		}
		if _, err := loadText(t, tt.text, env...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	queue := strings.Replace(queueFunction, "%s", "imports", 1)
	timer := strings.Replace(timerFunction, "%s", "0 * * * * *", 1)
	identity := []string{"IDENTITY_ENDPOINT=http://127.0.0.1:1/", "IDENTITY_HEADER=x"}
	connection := append([]string{"DataStorage__queueServiceUri=https://devdata.queue.core.windows.net", "DataStorage__credential=managedidentity"}, identity...)
	host := strings.Replace(minimalHost, `"description"`, `"enableProxyingHttpRequest":true,"description"`, 1)
	for name, tt := range map[string]struct {
		function string
		host     string
		mode     Mode
		env      []string
		state    string
		want     string
	}{
		"mode not enabled":       {function: anyMethod("x"), host: host, mode: Forwarding, want: "does not enable the forwarding mode"},
		"unknown mode":           {function: anyMethod("x"), host: host, mode: "payload", want: "does not enable the payload mode"},
		"constraint":             {function: anyMethod("{id:alpha}"), host: host, want: "not supported"},
		"half a parameter":       {function: anyMethod("a{id}"), host: host, want: "not supported"},
		"timer without state":    {function: timer, host: host, want: "StateDir"},
		"bad schedule":           {function: strings.Replace(timer, "0 * * * * *", "* * *", 1), host: host, state: "x", want: "six fields"},
		"no connection":          {function: queue, host: host, env: identity, want: "DataStorage__queueServiceUri is not set"},
		"connection string":      {function: queue, host: host, env: append(connection, "DataStorage=UseDevelopmentStorage=true"), want: "identity-based"},
		"clear text":             {function: queue, host: host, env: append(connection, "DataStorage__queueServiceUri=http://devdata"), want: "https"},
		"no identity":            {function: queue, host: host, env: connection[:2], want: "IDENTITY_ENDPOINT"},
		"another credential":     {function: queue, host: host, env: append(connection, "DataStorage__credential=key"), want: "managedidentity"},
		"no functions is no app": {function: "{", host: host, want: "decoding"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "F"), 0o750); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"host.json": tt.host, "F/function.json": tt.function} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := New(Options{Dir: dir, Mode: tt.mode, Env: append([]string{}, tt.env...), StateDir: tt.state})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:05:00": 5 * time.Minute, "1.00:00:00": 24 * time.Hour, "00:00:00.25": 250 * time.Millisecond, "00:00:00.0000001": 100 * time.Nanosecond, "10:00": 10 * time.Hour,
	} {
		if got, err := parseSpan(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "5m", "00:60:00", "00:00:60", "-1", "00:00:00.", "a:b:c"} {
		if got, err := parseSpan(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestLineLogger(t *testing.T) {
	var log logBuffer
	w := &lineLogger{log: newLogger(&log), level: information, category: "C"}
	for _, part := range []string{"one\ntw", "o\r\n", strings.Repeat("x", maxLine+1), "\nlast"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	var got []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "C: ")
		got = append(got, line)
	}
	want := []string{"one", "two", strings.Repeat("x", maxLine), "x", "last"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%d lines: %.200q", len(got), got)
	}
}
