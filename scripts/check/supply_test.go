package main

import (
	"strings"
	"testing"
)

func TestTheBillOfMaterialsIsTheBinarys(t *testing.T) {
	const bill = `{"bomFormat":"CycloneDX","components":[{"name":"std","version":"go1.26"},{"name":"a","version":"v1"},{"name":"b","version":"v2"}]}`
	for _, tt := range []struct {
		name, bill string
		linked     []string
		want       string
	}{
		{"the same", bill, []string{"a@v1", "b@v2"}, ""},
		{"one is hidden", bill, []string{"a@v1", "b@v2", "c@v3"}, "c@v3 is linked, but not in the bill of materials"},
		{"another version", bill, []string{"a@v1", "b@v3"}, "b@v3 is linked, but not in the bill of materials\nb@v2 is in the bill of materials, but not linked"},
		{"an empty bill", `{"bomFormat":"CycloneDX"}`, []string{"a@v1"}, "lists no module"},
		{"another format", `{"bomFormat":"SPDX"}`, nil, "is not CycloneDX JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := errorText(compareSBOM([]byte(tt.bill), tt.linked))
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("compareSBOM() = %q, want %q", got, tt.want)
			}
		})
	}
}

// A template is downloaded without its history: that is no pass.
func TestSecretsNeedAHistory(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GIT_CEILING_DIRECTORIES", "/")
	var out strings.Builder
	err := run(t.Context(), nil, []check{{"secrets", secrets}}, &out)
	if err != nil || !strings.Contains(out.String(), "NOT RUN secrets") {
		t.Errorf("run() = %v:\n%s", err, out.String())
	}
}
