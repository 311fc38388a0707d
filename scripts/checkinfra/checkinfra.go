// Package checkinfra holds the gate of infra/: what each profile deploys, as the
// Bicep CLI expands it offline, and the tests over it.
//
// The committed snapshots are what is reviewed; a test holds them equal to the
// templates. Nothing here talks to Azure: what only a deployment can show, such
// as a region's capacity, is outside this gate.
package checkinfra

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// made-up ids: a snapshot must not depend on who takes it.
const (
	subscription  = "00000000-0000-4000-8000-0000000000aa"
	tenant        = "00000000-0000-4000-8000-000000000001"
	location      = "swedencentral"
	resourceGroup = "rg-vault-test"
)

// Profiles are the names of the .bicepparam files of main.bicep.
func Profiles() []string { return []string{"dev", "prod", "regulated"} }

// Options are the entry points that nothing deploys by itself.
func Options() []string { return []string{"options/defender", "options/eligible", "options/sentinel"} }

// Environment is what the profiles read from the environment, with fixed values.
func Environment() []string {
	return []string{
		"AZURE_ENV_NAME=test", "AZURE_LOCATION=" + location,
		"TENANT_IDS=" + tenant, "API_CLIENT_ID=00000000-0000-4000-8000-000000000002",
		"ALERT_EMAILS=security@example.com", "BUDGET_START=2026-12-01",
		"OPERATORS_GROUP_ID=00000000-0000-4000-8000-000000000011",
		"AUDITORS_GROUP_ID=00000000-0000-4000-8000-000000000012",
		"KEYRING_GROUP_ID=00000000-0000-4000-8000-000000000013",
	}
}

// Compare fails when the committed snapshot of a profile or option differs from
// what its template gives, and returns what the CLI says about it.
func Compare(ctx context.Context, infra, name string) (string, error) {
	return snapshot(ctx, infra, name, "validate")
}

// Rewrite makes the snapshot of a profile or option anew.
func Rewrite(ctx context.Context, infra, name string) error {
	out, err := snapshot(ctx, infra, name, "overwrite")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func snapshot(ctx context.Context, infra, name, mode string) (string, error) {
	args := []string{
		"snapshot", filepath.Join(infra, filepath.FromSlash(name)+".bicepparam"), "--mode", mode,
		"--subscription-id", subscription, "--tenant-id", tenant, "--location", location,
	}
	template := name + ".bicep"
	if !strings.Contains(name, "/") {
		template = "main.bicep"
	}
	text, err := os.ReadFile(filepath.Join(infra, filepath.FromSlash(template)))
	if err != nil {
		return "", err
	}
	// The CLI refuses a group where the template takes none.
	if !bytes.Contains(text, []byte("targetScope = 'subscription'")) {
		args = append(args, "--resource-group", resourceGroup)
	}
	cmd := exec.CommandContext(ctx, "bicep", args...)
	cmd.Env = append(os.Environ(), Environment()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("snapshot of %s (%s): %w", name, mode, err)
	}
	return string(out), nil
}

// Resource is one resource that a profile deploys.
type Resource struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	SKU        map[string]any `json:"sku"`
	Properties map[string]any `json:"properties"`
}

// Snapshot is a profile, expanded.
type Snapshot struct {
	Resources   []Resource     `json:"predictedResources"`
	Diagnostics []any          `json:"diagnostics"`
	Outputs     map[string]any `json:"outputs"`
}

// Load reads the committed snapshot of a profile or option.
func Load(infra, name string) (Snapshot, error) {
	data, err := os.ReadFile(filepath.Join(infra, filepath.FromSlash(name)+".snapshot.json"))
	if err != nil {
		return Snapshot{}, fmt.Errorf("reading a snapshot: %w", err)
	}
	var s Snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return Snapshot{}, fmt.Errorf("reading the snapshot of %s: %w", name, err)
	}
	return s, nil
}

// At follows a path of property names; nil where it leads nowhere.
func (r Resource) At(path string) any {
	var v any = r.Properties
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}
