package main

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestOnlyACertifiedSnapshotCounts(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	good := fstest.MapFS{fipsModule + ".txt": file("v1.0.0-abc\n"), "certified.txt": file("v1.0.0-abc\n")}
	if got, err := certified(good); err != nil || got != "v1.0.0-abc" {
		t.Errorf("certified() = %q, %v", got, err)
	}
	var notRun *notRunError
	if _, err := certified(fstest.MapFS{}); !errors.As(err, &notRun) {
		t.Errorf("no snapshot: %v, want NOT RUN", err)
	}
	for name, folder := range map[string]fstest.MapFS{
		"another one is certified": {fipsModule + ".txt": file("v1.0.0-abc"), "certified.txt": file("v1.0.0-abcd")},
		"none is certified":        {fipsModule + ".txt": file("v1.0.0-abc")},
	} {
		if _, err := certified(folder); err == nil || errors.As(err, &notRun) {
			t.Errorf("%s: %v, want a failure", name, err)
		}
	}
}

func TestTheBinarySaysWhatItIsBuiltOn(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings map[string]string
		want     string
	}{
		{"as asked", map[string]string{"GOFIPS140": "v1.0.0-abc", "DefaultGODEBUG": "x=1,fips140=on"}, ""},
		{"Go's own", map[string]string{}, `built on module ""`},
		{"another snapshot", map[string]string{"GOFIPS140": "latest", "DefaultGODEBUG": "fips140=on"}, `built on module "latest"`},
		{"mode off", map[string]string{"GOFIPS140": "v1.0.0-abc", "DefaultGODEBUG": "fips140=off"}, "does not start in FIPS"},
	} {
		if got := errorText(builtOn(tt.settings, "v1.0.0-abc")); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
