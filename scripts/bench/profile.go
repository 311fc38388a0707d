package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"secureapi/handler/memvault"
)

// step claims the samples whose stack holds a function that begins like this.
type step struct {
	function, name string
	// whole takes what the function calls as well, whoever else would claim it.
	whole bool
}

const rest = "rest (runtime, scheduling)"

// steps in which a call's time is told. A sample belongs to the frame nearest to
// the leaf that a step claims; allocation belongs to whoever allocates.
func steps() []step {
	const (
		handler = "secureapi/handler/"
		seal    = "seals and keyed derivations (envelope)"
		domain  = "domain (tokenvault, operation, keyring)"
	)
	return []step{
		{handler + "tokenvault.(*planned).drawToken", "drawing the token, about 16 keyed hashes", true},
		{"runtime.gcBgMarkWorker", "garbage collection", false},
		{"runtime.bgsweep", "garbage collection", false},
		{"runtime.gcAssist", "garbage collection", false},
		{"crypto/rsa.VerifyPKCS1v15", "RSA verify of the access token", false},
		{handler + "authn.", "access token: cache, claims, revocations", false},
		{handler + "revocation.", "access token: cache, claims, revocations", false},
		{handler + "envelope.", seal, false},
		{handler + "rowseal.", "documents of sealed rows (rowseal)", false},
		{handler + "audit.", "audit entries, chain and commit (audit)", false},
		{handler + "memstore.", "memory store, not in the product", false},
		{handler + "rowstore.", "checks of rows (rowstore)", false},
		{handler + "telemetry.", "request log (telemetry)", false},
		{handler + "tokenvault.", domain, false},
		{handler + "operation.", domain, false},
		{handler + "keyring.", domain, false},
		{handler + "dataclass.", "value classes (dataclass)", false},
		{handler + "httpapi.", "decoding, encoding, middleware (httpapi)", false},
		{"github.com/labstack/echo/", "decoding, encoding, middleware (httpapi)", false},
		{"main.", "the caller, not in the product", false},
	}
}

// profileTokenize gives the shares of warm tokenize calls with a key by step.
func profileTokenize(ctx context.Context, o options, vault *memvault.Vault) (shares map[string]time.Duration, total time.Duration, err error) {
	m, err := newMemory(ctx, vault)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, m.log.Close(ctx)) }()
	c := &caller{api: m.api, send: direct(ctx, m.echo)}
	if err := m.warm(c); err != nil {
		return nil, 0, err
	}
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		return nil, 0, fmt.Errorf("profiling: %w", err)
	}
	for i := range o.profile {
		if _, err = c.tokenize(subjectName(i%subjectsKnown), true); err != nil {
			break
		}
	}
	pprof.StopCPUProfile()
	if err != nil {
		return nil, 0, err
	}
	if o.profileOut != "" {
		if err := os.WriteFile(o.profileOut, profile.Bytes(), 0o600); err != nil {
			return nil, 0, fmt.Errorf("keeping the profile: %w", err)
		}
	}
	stacks, err := traces(ctx, profile.Bytes())
	if err != nil {
		return nil, 0, err
	}
	return attribute(stacks)
}

// traces writes a profile as text: samples, each a duration and its stack from
// the leaf on, between lines of dashes.
func traces(ctx context.Context, profile []byte) (text []byte, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "cpu.pprof")
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		return nil, fmt.Errorf("writing the profile: %w", err)
	}
	text, err = exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", file).Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return text, nil
}

func attribute(traces []byte) (shares map[string]time.Duration, total time.Duration, err error) {
	shares = map[string]time.Duration{}
	list := steps()
	var value time.Duration
	var claimed step
	flush := func() {
		if value > 0 {
			shares[cmp.Or(claimed.name, rest)] += value
			total += value
		}
		value, claimed = 0, step{}
	}
	started := false
	lines := bufio.NewScanner(bytes.NewReader(traces))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(strings.TrimSpace(line), "-----") {
			flush()
			started = true
			continue
		}
		fields := strings.Fields(line)
		if !started || len(fields) == 0 {
			continue
		}
		if d, parseErr := time.ParseDuration(fields[0]); parseErr == nil && value == 0 {
			value, fields = d, fields[1:]
		}
		if len(fields) == 0 {
			continue
		}
		if s := claim(list, fields[0]); s.whole || claimed.name == "" {
			claimed = s
		}
	}
	flush()
	if err := lines.Err(); err != nil {
		return nil, 0, fmt.Errorf("reading the profile: %w", err)
	}
	if total == 0 {
		return nil, 0, errors.New("the profile has no samples: profile more calls")
	}
	return shares, total, nil
}

func claim(list []step, function string) step {
	for _, s := range list {
		if strings.HasPrefix(function, s.function) {
			return s
		}
	}
	return step{}
}

func reportShares(shares map[string]time.Duration, total time.Duration, s *section) {
	names := slices.SortedFunc(maps.Keys(shares), func(a, b string) int {
		return cmp.Or(cmp.Compare(shares[b], shares[a]), cmp.Compare(a, b))
	})
	for _, name := range names {
		s.tell(name, fmt.Sprintf("%.1f %%", 100*float64(shares[name])/float64(total)))
	}
}
