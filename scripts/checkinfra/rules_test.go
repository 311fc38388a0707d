package checkinfra_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"secureapi/scripts/checkinfra"
)

const infra = "../../infra"

// A rule says what is wrong with a profile. Every one is held to all profiles by
// the test of its subject, and to made-up mistakes by TestEveryRuleCanFail.
type rule func(profile string, s checkinfra.Snapshot) []string

// problems collects what is wrong.
type problems []string

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// hold applies rules to every profile.
func hold(t *testing.T, rules ...rule) {
	t.Helper()
	for _, profile := range checkinfra.Profiles() {
		s := load(t, profile)
		for _, r := range rules {
			for _, problem := range r(profile, s) {
				t.Errorf("%s: %s", profile, problem)
			}
		}
	}
}

func load(t *testing.T, profile string) checkinfra.Snapshot {
	t.Helper()
	s, err := checkinfra.Load(infra, profile)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Resources) < 50 {
		t.Fatalf("%d resources in %s: not the whole deployment", len(s.Resources), profile)
	}
	return s
}

// of returns the resources of one type.
func of(s checkinfra.Snapshot, kind string) []checkinfra.Resource {
	return slices.DeleteFunc(slices.Clone(s.Resources), func(r checkinfra.Resource) bool { return r.Type != kind })
}

// last is the part of a name or id after the last slash.
func last(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// list is a property that is a list of objects.
func list(r checkinfra.Resource, path string) []map[string]any {
	values, _ := r.At(path).([]any)
	var all []map[string]any
	for _, v := range values {
		if m, ok := v.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

func private(profile string) bool { return profile != "dev" }

func TestSnapshotsAreCurrent(t *testing.T) {
	if _, err := exec.LookPath("bicep"); err != nil {
		t.Skip("NOT RUN: the Bicep CLI is not on PATH, so nothing holds the snapshots to the templates")
	}
	for _, name := range slices.Concat(checkinfra.Profiles(), checkinfra.Options()) {
		if out, err := checkinfra.Compare(t.Context(), infra, name); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
