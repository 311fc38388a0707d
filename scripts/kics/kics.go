// Package kics scans infra/ with the rules of KICS (Keeping Infrastructure as
// Code Secure) and holds every finding above "info" to a written exception.
//
// It links the engine rather than KICS' command, which would bring scanners of a
// dozen other languages, a version check over the network and usage reports. The
// rules come from the pinned module in Go's module cache; nothing is fetched.
//
// What is scanned are the profiles' snapshots: every value that would be deployed.
// KICS reads Bicep too, but evaluates no condition or loop in it and drops what
// its grammar does not know, such as an object on one line: most properties of
// these files would go unseen, and unseen passes.
package kics

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/Checkmarx/kics/v2/pkg/engine"
	"github.com/Checkmarx/kics/v2/pkg/engine/source"
	"github.com/Checkmarx/kics/v2/pkg/model"
	"github.com/rs/zerolog"
)

const (
	platform = "azureResourceManager"
	// queryTimeout is in seconds; a rule takes milliseconds.
	queryTimeout = 60
	workers      = 2
)

// A Finding is one broken rule at one resource.
type Finding struct {
	ID, Query, Severity, File, Resource, Actual string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s %s (%s)\n\t%s: %s: %s", f.Severity, f.Query, f.ID, f.File, f.Resource, f.Actual)
}

// Scan returns what the rules find in the named snapshots above "info". A rule
// that could not be evaluated is an error: silence about it would look like a pass.
func Scan(ctx context.Context, files ...string) ([]Finding, error) {
	zerolog.SetGlobalLevel(zerolog.Disabled)
	assets, err := assets(ctx)
	if err != nil {
		return nil, err
	}
	rules := source.NewFilesystemSource([]string{filepath.Join(assets, "queries")}, []string{platform}, []string{""}, filepath.Join(assets, "libraries"), false)
	inspector, err := engine.NewInspector(ctx, rules, engine.DefaultVulnerabilityBuilder, uncounted{},
		&source.QueryInspectorParameters{}, map[string]bool{}, queryTimeout, false, false, workers, true)
	if err != nil {
		return nil, fmt.Errorf("loading the rules: %w", err)
	}
	loaded := len(inspector.QueryLoader.QueriesMetadata)
	if loaded < 40 {
		return nil, fmt.Errorf("%d rules only: the module's assets are incomplete", loaded)
	}
	var all model.FileMetadatas
	for _, f := range files {
		file, err := read(f)
		if err != nil {
			return nil, err
		}
		all = append(all, file)
	}
	// The engine reports its progress; the channel must never be full.
	found, err := inspector.Inspect(ctx, "scan", all, nil, []string{"AzureResourceManager"}, make(chan int64, loaded))
	if err != nil {
		return nil, fmt.Errorf("scanning: %w", err)
	}
	for rule, err := range inspector.GetFailedQueries() {
		return nil, fmt.Errorf("rule %s was not evaluated: %w", rule, err)
	}
	var findings []Finding
	for _, v := range found {
		if v.Severity != model.SeverityInfo && v.Severity != model.SeverityTrace {
			findings = append(findings, Finding{
				v.QueryID, v.QueryName, string(v.Severity), filepath.Base(v.FileName),
				v.ResourceType + " " + v.ResourceName, v.KeyActualValue,
			})
		}
	}
	return findings, nil
}

// assets is where the pinned module keeps its rules.
func assets(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/Checkmarx/kics/v2").Output()
	if err != nil {
		return "", fmt.Errorf("finding the rules: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "assets"), nil
}

// read makes an ARM template of a snapshot, whose resources it lists.
func read(file string) (model.FileMetadata, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return model.FileMetadata{}, err
	}
	var snapshot struct {
		Resources []any `json:"predictedResources"`
	}
	if err := json.Unmarshal(content, &snapshot); err != nil {
		return model.FileMetadata{}, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(snapshot.Resources) == 0 {
		return model.FileMetadata{}, fmt.Errorf("reading %s: no predicted resources", file)
	}
	document := model.Document{
		"$schema":        "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		"contentVersion": "1.0.0.0", "resources": snapshot.Resources,
	}
	lines := strings.Split(string(content), "\n")
	return model.FileMetadata{
		ID: file, FilePath: file, Kind: model.KindJSON, Document: document, LineInfoDocument: document,
		OriginalData: string(content), LinesOriginalData: &lines, ResolvedFiles: map[string]model.ResolvedFile{},
	}, nil
}

// uncounted takes the engine's statistics and keeps none.
type uncounted struct{}

func (uncounted) TrackQueryLoad(int)            {}
func (uncounted) TrackQueryExecuting(int)       {}
func (uncounted) TrackQueryExecution(int)       {}
func (uncounted) TrackScanPath()                {}
func (uncounted) TrackScanSecret()              {}
func (uncounted) FailedDetectLine()             {}
func (uncounted) FailedComputeSimilarityID()    {}
func (uncounted) FailedComputeOldSimilarityID() {}
func (uncounted) GetOutputLines() int           { return 1 }
