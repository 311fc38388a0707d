package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"secureapi/handler/httpapi"
	"secureapi/handler/jobs"
)

func TestBadSettingsEndWithEveryProblemAndCode2(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"API_CLIENT_ID=x", "APPLICATIONINSIGHTS_CONNECTION_STRING=x"}, &stdout, &stderr); code != exitConfig {
		t.Errorf("exit code %d", code)
	}
	for _, setting := range []string{"TENANT_IDS", "API_CLIENT_ID", "KEY_VAULT_URL", "DATA_STORAGE_ACCOUNT", "APPLICATIONINSIGHTS_"} {
		if !strings.Contains(stderr.String(), setting) {
			t.Errorf("%s is not named in %q", setting, stderr.String())
		}
	}
}

// functions/ and the handler's routes are the same list.
func TestFunctionsAndRoutesAgree(t *testing.T) {
	files, err := filepath.Glob("../functions/*/function.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d functions, %v", len(files), err)
	}
	var declared, jobFunctions []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var f struct {
			Bindings []struct {
				Type, Route, Name string
				Methods           []string
			}
		}
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		name := filepath.Base(filepath.Dir(file))
		switch trigger := f.Bindings[0]; trigger.Type {
		case "httpTrigger":
			for _, method := range trigger.Methods {
				declared = append(declared, strings.ToUpper(method)+" /api/"+trigger.Route)
			}
		case "timerTrigger", "queueTrigger":
			jobFunctions = append(jobFunctions, name)
		default:
			t.Errorf("%s has trigger %s, which nothing serves", name, trigger.Type)
		}
	}
	served := httpapi.Routes()
	slices.Sort(declared)
	slices.Sort(served)
	if !slices.Equal(declared, served) {
		t.Errorf("functions declare\n%s\nthe handler serves\n%s", strings.Join(declared, "\n"), strings.Join(served, "\n"))
	}
	names := jobs.Names()
	slices.Sort(names)
	slices.Sort(jobFunctions)
	if !slices.Equal(jobFunctions, names) {
		t.Errorf("queue and timer functions %v, jobs %v", jobFunctions, names)
	}
}
