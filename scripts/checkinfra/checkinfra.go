// Package checkinfra holds the gate of infra/: what each profile deploys, as the
// Bicep CLI expands it offline, and the tests over it.
//
// The committed snapshots are what is reviewed; a test holds them equal to the
// templates. Nothing here talks to Azure: what only a deployment can show, such
// as a region's capacity, is outside this gate.
package checkinfra

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// made-up ids: a snapshot must not depend on who takes it.
const (
	subscription = "00000000-0000-4000-8000-0000000000aa"
	tenant       = "00000000-0000-4000-8000-000000000001"
	location     = "swedencentral"
)

// Profiles are the names of the .bicepparam files in infra/.
func Profiles() []string { return []string{"dev", "prod", "regulated"} }

// Environment is what the profiles read from the environment, with fixed values.
func Environment() []string {
	return []string{
		"AZURE_ENV_NAME=test", "AZURE_LOCATION=" + location,
		"TENANT_IDS=" + tenant, "API_CLIENT_ID=00000000-0000-4000-8000-000000000002",
		"ALERT_EMAILS=security@example.com",
		"OPERATORS_GROUP_ID=00000000-0000-4000-8000-000000000011",
		"AUDITORS_GROUP_ID=00000000-0000-4000-8000-000000000012",
		"KEYRING_GROUP_ID=00000000-0000-4000-8000-000000000013",
	}
}

// Compare fails when a profile's committed snapshot differs from what its
// template gives, and returns what the CLI says about it.
func Compare(ctx context.Context, infra, profile string) (string, error) {
	cmd := exec.CommandContext(ctx, "bicep", "snapshot", filepath.Join(infra, profile+".bicepparam"), "--mode", "validate",
		"--subscription-id", subscription, "--tenant-id", tenant, "--location", location)
	cmd.Env = append(os.Environ(), Environment()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("comparing the snapshot of %s: %w", profile, err)
	}
	return string(out), nil
}

// Resource is one resource that a profile deploys.
type Resource struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	Properties map[string]any `json:"properties"`
}

// Snapshot is a profile, expanded.
type Snapshot struct {
	Resources   []Resource     `json:"predictedResources"`
	Diagnostics []any          `json:"diagnostics"`
	Outputs     map[string]any `json:"outputs"`
}

// Load reads a profile's committed snapshot.
func Load(infra, profile string) (Snapshot, error) {
	data, err := os.ReadFile(filepath.Join(infra, profile+".snapshot.json"))
	if err != nil {
		return Snapshot{}, fmt.Errorf("reading a snapshot: %w", err)
	}
	var s Snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return Snapshot{}, fmt.Errorf("reading the snapshot of %s: %w", profile, err)
	}
	return s, nil
}
