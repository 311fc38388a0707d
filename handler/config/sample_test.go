package config_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"secureapi/handler/config"
)

// Whoever copies the sample finds every setting in it, but those that the
// platform sets and those of the other kinds of credential.
func TestTheSampleNamesEverySetting(t *testing.T) {
	elsewhere := []string{
		"FUNCTIONS_CUSTOMHANDLER_PORT", "WEBSITE_INSTANCE_ID",
		"AZURE_TENANT_ID", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE",
	}
	content, err := os.ReadFile("../../local.settings.sample.json")
	if err != nil {
		t.Fatal(err)
	}
	var sample struct{ Values map[string]string }
	if err := json.Unmarshal(content, &sample); err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[config.Config]().Fields() {
		name := field.Tag.Get("env")
		if _, there := sample.Values[name]; there == slices.Contains(elsewhere, name) {
			t.Errorf("%s: in the sample %t", name, there)
		}
	}
}
