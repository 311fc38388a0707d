package host

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
)

// environment is the host's environment. Names are compared without case, as
// the host's configuration does.
type environment struct{ values map[string]string }

func newEnvironment(env []string) environment {
	e := environment{values: make(map[string]string, len(env))}
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			e.values[strings.ToLower(name)] = value
		}
	}
	return e
}

func (e environment) get(name string) string { return e.values[strings.ToLower(name)] }

// overridePrefix marks settings of host.json in the environment.
const overridePrefix = "azurefunctionsjobhost__"

// overrides returns the settings of host.json that the environment sets, under
// names as flatten makes them.
func (e environment) overrides() map[string]string {
	found := map[string]string{}
	for name, value := range e.values {
		if key, ok := strings.CutPrefix(name, overridePrefix); ok {
			found[strings.ReplaceAll(key, "__", ":")] = value
		}
	}
	return found
}

var reference = regexp.MustCompile(`%([^%\s]+)%`)

// expand replaces %NAME% in a binding or argument by the setting of that name.
func (e environment) expand(text string) (string, error) {
	var missing []string
	text = reference.ReplaceAllStringFunc(text, func(ref string) string {
		value, ok := e.values[strings.ToLower(strings.Trim(ref, "%"))]
		if !ok {
			missing = append(missing, ref)
		}
		return value
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("%s is not set", strings.Join(missing, ", "))
	}
	return text, nil
}

// randomKey makes a key of the strength of the host's own.
func randomKey() string {
	key := make([]byte, 40)
	rand.Read(key) // never fails: it ends the process instead
	return base64.URLEncoding.EncodeToString(key)
}
