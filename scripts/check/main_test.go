package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	pass := check{"pass", func(context.Context, io.Writer) error { return nil }}
	fail := check{"fail", func(context.Context, io.Writer) error { return errors.New("broken") }}
	skip := check{"skip", func(context.Context, io.Writer) error { return &notRunError{"no tool"} }}
	tests := []struct {
		name    string
		args    []string
		checks  []check
		wantErr string
		wantOut []string
	}{
		{"passes", nil, []check{pass}, "", []string{"ok pass", "1 checks passed, 0 failed [], 0 NOT RUN []"}},
		{"goes on after a failure", nil, []check{fail, pass}, "failed: fail", []string{"FAILED fail", "broken", "ok pass"}},
		{"is not green silently", nil, []check{skip}, "", []string{"NOT RUN skip: no tool", "0 checks passed", "1 NOT RUN [skip]"}},
		{"required but not run", []string{"-require", "pass,skip"}, []check{pass, skip}, "skip (required, but not run)", []string{"NOT RUN skip"}},
		{"chosen only", []string{"pass"}, []check{fail, pass}, "", []string{"1 checks passed"}},
		{"unknown name", []string{"pas"}, []check{pass}, `no check is named "pas"`, nil},
		{"unknown required", []string{"-require=pas"}, []check{pass}, `no check is named "pas"`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), tt.args, tt.checks, &out)
			if got := errorText(err); (err == nil) != (tt.wantErr == "") || !strings.Contains(got, tt.wantErr) {
				t.Errorf("error = %q, want %q", got, tt.wantErr)
			}
			for _, want := range tt.wantOut {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
		})
	}
}

// The vulnerability check must not pass without a database.
func TestVulnerabilitiesWithoutDatabase(t *testing.T) {
	t.Chdir("../..")
	t.Setenv("GOVULNDB", "https://localhost:1")
	var out strings.Builder
	err := run(t.Context(), nil, []check{{"vulnerabilities", vulnerabilities("./scripts/check")}}, &out)
	if err != nil || !strings.Contains(out.String(), "NOT RUN vulnerabilities: no vulnerability database") {
		t.Errorf("err = %v, output:\n%s", err, out.String())
	}
}

func TestBicepNeedsItsCLI(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("PATH", t.TempDir())
	for _, want := range []string{"no .bicep file", "not on PATH"} {
		var notRun *notRunError
		if err := bicep(t.Context(), io.Discard); !errors.As(err, &notRun) || !strings.Contains(notRun.why, want) {
			t.Errorf("bicep() = %v, want NOT RUN with %q", err, want)
		}
		if err := os.MkdirAll(filepath.Join("infra", "modules"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("infra", "modules", "a.bicep"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
