// Package scripts tests start.sh, the one program here that is not Go, with
// recording shims in place of the local stack and of Core Tools.
package scripts

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	// The stack writes the settings, then waits for its end and records it.
	stackShim = `#!/bin/sh
echo "stack $*" >>record
trap 'echo "stack ended" >>record; exit 0' TERM
mkdir -p .local && printf "TENANT_IDS='a b'\n" >.local/handler.env
while :; do sleep 0.05; done
`
	brokenStack = "#!/bin/sh\nexit 3\n"
	funcShim    = `#!/bin/sh
echo "func $* TENANT_IDS=$TENANT_IDS AzureWebJobsStorage=$AzureWebJobsStorage" >>record
exit 7
`
	waitingFunc = `#!/bin/sh
trap 'echo "func ended" >>record; exit 0' TERM
echo "func waits" >>record
kill -INT "$PPID"
while :; do sleep 0.05; done
`
)

func TestStart(t *testing.T) {
	tests := []struct {
		name, stack, core string
		wantCode          int
		wantRecord        []string
		wantStderr        string
	}{
		{
			"runs and ends both", stackShim, funcShim, 7,
			[]string{"stack -no-host -dir .local", "func start --script-root dist --port 8099 TENANT_IDS=a b AzureWebJobsStorage=UseDevelopmentStorage=true", "stack ended"},
			"",
		},
		{"interrupt ends both", stackShim, waitingFunc, 130, []string{"stack -no-host -dir .local", "func waits", "func ended", "stack ended"}, ""},
		{"no Core Tools", stackShim, "", 1, nil, "`func`, version 4) is not on PATH"},
		{"services fail", brokenStack, funcShim, 1, nil, "ended before they were ready"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			source, err := os.ReadFile("start.sh")
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "scripts", "start.sh"), string(source))
			write(t, filepath.Join(dir, "bin", "devstack"), tt.stack)
			if tt.core != "" {
				write(t, filepath.Join(dir, "path", "func"), tt.core)
			}
			code, stderr := start(t, dir)
			record, err := os.ReadFile(filepath.Join(dir, "record"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if code != tt.wantCode || !strings.Contains(stderr, tt.wantStderr) {
				t.Errorf("exit %d, stderr %q; want %d, %q", code, stderr, tt.wantCode, tt.wantStderr)
			}
			lines := strings.FieldsFunc(string(record), func(r rune) bool { return r == '\n' })
			if strings.Join(lines, "|") != strings.Join(tt.wantRecord, "|") {
				t.Errorf("record = %q, want %q", lines, tt.wantRecord)
			}
		})
	}
}

func start(t *testing.T, dir string) (code int, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "scripts/start.sh")
	cmd.Dir = dir
	// Nothing but the shims and the system's own programs: no `func` of this machine.
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "path") + ":/usr/bin:/bin", "PORT=8099"}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var out strings.Builder
	cmd.Stderr = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}
