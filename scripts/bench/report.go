package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"
)

// verdict is what a row says about its aim.
type verdict string

const (
	met    verdict = "met"
	notMet verdict = "not met"
	// figure is a measurement without an aim of its own.
	figure verdict = "-"
)

func judge(ok bool) verdict {
	if ok {
		return met
	}
	return notMet
}

type row struct {
	what, aim, measured string
	verdict             verdict
}

// section is one part's table.
type section struct {
	title string
	rows  []row
}

func (s *section) add(what, aim, measured string, v verdict) {
	s.rows = append(s.rows, row{what, aim, measured, v})
}

// tell adds a figure that has no aim.
func (s *section) tell(what, measured string) { s.add(what, "-", measured, figure) }

type report struct {
	sections []*section
	// requests are what the parts counted, for programs to read.
	requests requests
}

// requests is what warm calls ask of other services, a call. docs/cost.md is
// computed from it.
type requests struct {
	Date       string             `json:"date"`
	Go         string             `json:"go"`
	Callers    int                `json:"callers"`
	Data       map[string]float64 `json:"data"`
	Audit      map[string]float64 `json:"audit"`
	KeyVault   int64              `json:"keyVault"`
	Operations int64              `json:"operations"`
}

// keep writes the counts beside the report, when a file is named.
func (r *report) keep(file string, now time.Time) error {
	if file == "" {
		return nil
	}
	if len(r.requests.Data) == 0 {
		return errors.New("keeping the counts: nothing was counted")
	}
	r.requests.Date, r.requests.Go = now.UTC().Format(time.DateOnly), runtime.Version()
	text, err := json.MarshalIndent(r.requests, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the counts: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil { // #nosec G306 -- a part of the documentation
		return fmt.Errorf("keeping the counts: %w", err)
	}
	return nil
}

func (r *report) section(title string) *section {
	s := &section{title: title}
	r.sections = append(r.sections, s)
	return s
}

func (r *report) write(out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%s %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	for _, s := range r.sections {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "\n%s\taim\tmeasured\t\n", s.title)
		for _, row := range s.rows {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", row.what, row.aim, row.measured, row.verdict)
		}
		if err := table.Flush(); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}
