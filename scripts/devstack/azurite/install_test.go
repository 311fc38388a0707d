package azurite

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheLockfileIsAllThatIsInstalled: every package comes with its hash, and
// Node is one of them and not something that an install script fetches.
func TestTheLockfileIsAllThatIsInstalled(t *testing.T) {
	root, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "scripts", "devstack")
	text, err := os.ReadFile(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Integrity string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	for name, p := range lock.Packages {
		if name != "" && !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s is locked without its hash", name)
		}
	}
	if _, ok := lock.Packages["node_modules/node"]; ok {
		t.Error("Node comes by an install script")
	}
	if err := Install(t.Context(), dir, t.Output()); err != nil {
		t.Fatal(err)
	}
	path, err := node(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(dir, lockedNode(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, locked := lock.Packages[filepath.ToSlash(filepath.Dir(filepath.Dir(relative)))]; !locked {
		t.Skip("the lockfile has no Node for this platform, whose own is used")
	}
	if path != lockedNode(dir) {
		t.Errorf("Node is %s, not the locked one", path)
	}
	if out, err := exec.CommandContext(t.Context(), path, "--version").Output(); err != nil || !strings.HasPrefix(string(out), "v22.") {
		t.Errorf("the locked Node says %q, %v", out, err)
	}
}
