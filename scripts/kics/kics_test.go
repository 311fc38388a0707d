package kics_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secureapi/scripts/kics"
)

const infra = "../../infra"

// TestInfra is the gate: nothing above "info" without a written exception.
func TestInfra(t *testing.T) {
	snapshots, err := filepath.Glob(infra + "/*.snapshot.json")
	options, optionsErr := filepath.Glob(infra + "/options/*.snapshot.json")
	if snapshots = append(snapshots, options...); err != nil || optionsErr != nil || len(snapshots) < 3 {
		t.Fatal(err, optionsErr, snapshots)
	}
	findings, err := kics.Scan(t.Context(), snapshots...)
	if err != nil {
		t.Fatal(err)
	}
	exceptions, err := kics.Exceptions(infra + "/kics-exceptions.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := kics.Judge(findings, exceptions); err != nil {
		t.Error(err)
	}
	t.Logf("%d snapshots, %d findings, %d exceptions", len(snapshots), len(findings), len(exceptions))
}

// TestScanFinds is the gate's negative control: a profile made worse is found out.
func TestScanFinds(t *testing.T) {
	content, err := os.ReadFile(infra + "/prod.snapshot.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ good, bad, want string }{
		{`"supportsHttpsTrafficOnly": true`, `"supportsHttpsTrafficOnly": false`, "Storage Account Allows Unsecure Transfer"},
		{`"enablePurgeProtection": true`, `"enablePurgeProtection": false`, "Key Vault Not Recoverable"},
		{`"httpsOnly": true`, `"httpsOnly": false`, "Website Not Forcing HTTPS"},
	} {
		worse := strings.ReplaceAll(string(content), tt.good, tt.bad)
		if worse == string(content) {
			t.Fatalf("the snapshot has no %s", tt.good)
		}
		file := filepath.Join(t.TempDir(), "worse.snapshot.json")
		if err := os.WriteFile(file, []byte(worse), 0o600); err != nil {
			t.Fatal(err)
		}
		findings, err := kics.Scan(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, f := range findings {
			text.WriteString(f.String())
		}
		if !strings.Contains(text.String(), tt.want) {
			t.Errorf("%s is not found:\n%s", tt.bad, text.String())
		}
	}
}

func TestScanRefusesWhatItCannotRead(t *testing.T) {
	for _, content := range []string{"", "{}", `{"predictedResources": []}`, `{"predictedResources": 1}`} {
		file := filepath.Join(t.TempDir(), "x.snapshot.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := kics.Scan(t.Context(), file); err == nil {
			t.Errorf("%q was scanned", content)
		}
	}
}

func TestJudge(t *testing.T) {
	finding := kics.Finding{ID: "rule", Query: "Rule", Severity: "LOW", File: "dev.snapshot.json", Resource: "type name"}
	exception := kics.Exception{ID: "rule", File: "dev.snapshot.json", Resources: []string{"type name"}, Review: "2027-01-02"}
	other := exception
	other.File = "prod.snapshot.json"
	more := exception
	more.Resources = []string{"type name", "type other"}
	for name, tt := range map[string]struct {
		findings   []kics.Finding
		exceptions []kics.Exception
		want       string
	}{
		"excepted":        {[]kics.Finding{finding}, []kics.Exception{exception}, ""},
		"nothing":         {nil, nil, ""},
		"without":         {[]kics.Finding{finding}, nil, "without an exception"},
		"another profile": {[]kics.Finding{finding}, []kics.Exception{other}, "without an exception"},
		"stale":           {nil, []kics.Exception{exception}, "stale"},
		"stale in part":   {[]kics.Finding{finding}, []kics.Exception{more}, "nothing at type other"},
	} {
		err := kics.Judge(tt.findings, tt.exceptions)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestOverdue(t *testing.T) {
	e := []kics.Exception{{ID: "a", File: "b", Owner: "d", Review: "2027-01-02"}}
	day := time.Date(2027, 1, 2, 23, 0, 0, 0, time.UTC)
	if err := kics.Overdue(e, day); err != nil {
		t.Error(err)
	}
	if err := kics.Overdue(e, day.AddDate(0, 0, 1)); err == nil || !strings.Contains(err.Error(), "was to be reviewed") {
		t.Errorf("a day later: %v", err)
	}
}

// TestReviewsAreDone is for the scheduled run, which asks for it: the day must not
// decide whether a change passes.
func TestReviewsAreDone(t *testing.T) {
	if os.Getenv("KICS_REVIEWS") == "" {
		t.Skip("only where KICS_REVIEWS is set, as on workdays by the drift workflow")
	}
	exceptions, err := kics.Exceptions(infra + "/kics-exceptions.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := kics.Overdue(exceptions, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestExceptionsAreWhole(t *testing.T) {
	whole := `{"ID":"a","File":"b","Resources":["c"],"Reason":"a sentence of thirty characters","Owner":"d","Review":"2027-01-01"}`
	for name, tt := range map[string]struct {
		text string
		ok   bool
	}{
		"whole":         {"[" + whole + "]", true},
		"no reason":     {"[" + strings.Replace(whole, "a sentence of thirty characters", "we need it", 1) + "]", false},
		"no owner":      {"[" + strings.Replace(whole, `"d"`, `""`, 1) + "]", false},
		"no resource":   {"[" + strings.Replace(whole, `["c"]`, `[]`, 1) + "]", false},
		"no day":        {"[" + strings.Replace(whole, "2027-01-01", "soon", 1) + "]", false},
		"unknown field": {"[" + strings.Replace(whole, `"Owner"`, `"Ovner"`, 1) + "]", false},
		"not JSON":      {whole[1:], false},
	} {
		file := filepath.Join(t.TempDir(), "exceptions.json")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := kics.Exceptions(file); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
