package checkinfra_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/checkinfra"
)

const root = "../.."

// TestGeneratedFilesAreCurrent: one list of settings, the struct that reads them,
// is in the templates, the sample and the documentation.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	files, err := checkinfra.Generated(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is not what `make infra` writes:\n%s", name, diff)
		}
	}
}

// TestEverySettingIsDocumented: the comments are found, and say when a setting is required.
func TestEverySettingIsDocumented(t *testing.T) {
	all, err := checkinfra.Documented(root)
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]string{}
	for _, s := range all {
		if len(s.Meaning) < 20 {
			t.Errorf("%s: %q says nothing", s.Name, s.Meaning)
		}
		required[s.Name] = s.Required
	}
	for name, want := range map[string]string{
		"TENANT_IDS": "always", "AUDIT_STORAGE_ACCOUNT": "always, and not the same", "AZURE_TENANT_ID": "by the other kinds", "LOG_LEVEL": "",
	} {
		if required[name] != want {
			t.Errorf("%s is required %q, want %q", name, required[name], want)
		}
	}
}

func TestTheModuleNeedsItsMarkers(t *testing.T) {
	if _, err := checkinfra.SettingsBicep(root, []byte("resource app 'x' = {}")); err == nil || !strings.Contains(err.Error(), "no generated part") {
		t.Errorf("a module without markers: %v", err)
	}
}
