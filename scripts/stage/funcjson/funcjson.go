// Package funcjson reads and checks the function.json files of a Functions app.
//
// The Functions host finds a function only in a direct sub-folder of the script
// root and silently ignores what it cannot use: a misspelt field, a bad name or
// a nested folder removes a trigger without an error. Here each of these is an
// error, for the program that stages a package and for the local stand-in of
// the host alike.
//
// Trust boundary: the files are part of the source tree and are trusted as
// such; the strictness guards against mistakes, not against an attacker.
package funcjson

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
)

// FileName is the only file the host looks for in a function's folder.
const FileName = "function.json"

// Types of binding that this project uses.
const (
	HTTPTrigger  = "httpTrigger"
	HTTPOutput   = "http"
	QueueTrigger = "queueTrigger"
	TimerTrigger = "timerTrigger"
)

// Function is one function of the app.
type Function struct {
	Name     string
	Bindings []Binding
}

// Binding holds the fields of every binding type in use. A field that does not
// belong to the binding's type is refused by Check.
type Binding struct {
	Type      string `json:"type"`
	Direction string `json:"direction"`
	Name      string `json:"name"`

	AuthLevel string   `json:"authLevel,omitzero"`
	Methods   []string `json:"methods,omitzero"`
	Route     string   `json:"route,omitzero"`

	QueueName  string `json:"queueName,omitzero"`
	Connection string `json:"connection,omitzero"`

	Schedule     string `json:"schedule,omitzero"`
	RunOnStartup bool   `json:"runOnStartup,omitzero"`
	UseMonitor   *bool  `json:"useMonitor,omitzero"`
}

// Trigger returns the one binding that starts the function.
func (f Function) Trigger() Binding {
	for _, b := range f.Bindings {
		if b.IsTrigger() {
			return b
		}
	}
	return Binding{}
}

// Route returns the route template of an HTTP function: its name by default.
func (f Function) Route() string {
	if r := f.Trigger().Route; r != "" {
		return r
	}
	return f.Name
}

// IsTrigger reports whether the binding starts its function.
func (b Binding) IsTrigger() bool { return strings.HasSuffix(b.Type, "Trigger") }

// Names as the host accepts them: see the documentation of function.json.
var (
	functionName = regexp.MustCompile(`(?i)^[a-z][a-z0-9_-]{0,127}$`)
	bindingName  = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9]{0,127}|\$return)$`)
	queueName    = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
)

// Load reads every function below root and reports all problems at once.
// Folders without a function.json are not functions; a function.json deeper
// than the host looks is an error rather than a silent omission.
func Load(root string) ([]Function, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("reading the script root: %w", err)
	}
	var functions []Function
	var problems []error
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(root, e.Name())
		problems = append(problems, refuseNested(dir)...)
		f, err := read(dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			problems = append(problems, err)
		default:
			functions = append(functions, f)
		}
	}
	problems = append(problems, Check(functions))
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return functions, nil
}

func read(dir string) (Function, error) {
	name := filepath.Base(dir)
	text, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		return Function{}, fmt.Errorf("%s: reading %s: %w", name, FileName, err)
	}
	var file struct {
		Bindings []Binding `json:"bindings"`
	}
	if err := json.Unmarshal(text, &file, json.RejectUnknownMembers(true)); err != nil {
		return Function{}, fmt.Errorf("%s: decoding %s: %w", name, FileName, err)
	}
	return Function{Name: name, Bindings: file.Bindings}, nil
}

// refuseNested finds a function.json where the host would never see it.
func refuseNested(dir string) []error {
	hidden, err := filepath.Glob(filepath.Join(dir, "*", FileName))
	if err != nil {
		return []error{fmt.Errorf("%s: looking for nested functions: %w", filepath.Base(dir), err)}
	}
	problems := make([]error, 0, len(hidden))
	for _, h := range hidden {
		problems = append(problems, fmt.Errorf("%s: the host ignores a %s in a nested folder", filepath.Base(filepath.Dir(h)), FileName))
	}
	return problems
}
