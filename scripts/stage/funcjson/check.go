package funcjson

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Check reports everything in the functions that the host would refuse or,
// worse, ignore: names, unknown types, misplaced fields, and two functions
// that answer the same method and route.
func Check(functions []Function) error {
	var problems []error
	for _, f := range functions {
		for _, err := range f.check() {
			problems = append(problems, fmt.Errorf("%s: %w", f.Name, err))
		}
	}
	problems = append(problems, uniqueNames(functions)...)
	problems = append(problems, uniqueRoutes(functions)...)
	return errors.Join(problems...)
}

func (f Function) check() []error {
	var problems []error
	if !functionName.MatchString(f.Name) {
		problems = append(problems, errors.New("the name must match ^[a-z][a-z0-9_-]{0,127}$"))
	}
	triggers := 0
	names := map[string]bool{}
	for _, b := range f.Bindings {
		if b.IsTrigger() {
			triggers++
		}
		if names[b.Name] {
			problems = append(problems, fmt.Errorf("binding %q occurs twice", b.Name))
		}
		names[b.Name] = true
		for _, err := range b.check() {
			problems = append(problems, fmt.Errorf("binding %q: %w", b.Name, err))
		}
	}
	if triggers != 1 {
		problems = append(problems, fmt.Errorf("%d triggers, want exactly 1", triggers))
	}
	// The host forwards a request to the handler only for a function with
	// exactly these two bindings; anything else gets the JSON payload instead.
	if f.Trigger().Type == HTTPTrigger && (len(f.Bindings) != 2 || !slices.ContainsFunc(f.Bindings, func(b Binding) bool { return b.Type == HTTPOutput })) {
		problems = append(problems, errors.New("an HTTP function needs exactly one httpTrigger and one http output, or the host does not forward the request"))
	}
	return problems
}

// direction and the fields a binding type may carry, and those it must.
type shape struct {
	direction string
	allowed   []string
	required  []string
}

func shapeOf(bindingType string) (shape, bool) {
	switch bindingType {
	case HTTPTrigger:
		return shape{"in", []string{"authLevel", "methods", "route"}, []string{"authLevel"}}, true
	case HTTPOutput:
		return shape{"out", nil, nil}, true
	case QueueTrigger:
		return shape{"in", []string{"queueName", "connection"}, []string{"queueName", "connection"}}, true
	case TimerTrigger:
		return shape{"in", []string{"schedule", "runOnStartup", "useMonitor"}, []string{"schedule"}}, true
	default:
		return shape{}, false
	}
}

func (b Binding) check() []error {
	s, known := shapeOf(b.Type)
	if !known {
		return []error{fmt.Errorf("unknown type %q", b.Type)}
	}
	var problems []error
	if !bindingName.MatchString(b.Name) {
		problems = append(problems, errors.New("the name must be letters and digits, or $return"))
	}
	if b.Direction != s.direction {
		problems = append(problems, fmt.Errorf("direction is %q, want %q", b.Direction, s.direction))
	}
	given := b.given()
	for _, field := range given {
		if !slices.Contains(s.allowed, field) {
			problems = append(problems, fmt.Errorf("%s does not belong to type %s", field, b.Type))
		}
	}
	for _, field := range s.required {
		if !slices.Contains(given, field) {
			problems = append(problems, fmt.Errorf("%s is missing", field))
		}
	}
	return append(problems, b.checkValues()...)
}

// given lists the fields that carry a value.
func (b Binding) given() []string {
	fields := []struct {
		name string
		set  bool
	}{
		{"authLevel", b.AuthLevel != ""},
		{"methods", len(b.Methods) > 0},
		{"route", b.Route != ""},
		{"queueName", b.QueueName != ""},
		{"connection", b.Connection != ""},
		{"schedule", b.Schedule != ""},
		{"runOnStartup", b.RunOnStartup},
		{"useMonitor", b.UseMonitor != nil},
	}
	var given []string
	for _, f := range fields {
		if f.set {
			given = append(given, f.name)
		}
	}
	return given
}

func (b Binding) checkValues() []error {
	var problems []error
	if b.AuthLevel != "" && !slices.Contains([]string{"anonymous", "function", "admin"}, b.AuthLevel) {
		problems = append(problems, fmt.Errorf("unknown authLevel %q", b.AuthLevel))
	}
	for _, m := range b.Methods {
		if m == "" || m != strings.ToLower(m) {
			problems = append(problems, fmt.Errorf("method %q must be in lower case", m))
		}
	}
	if strings.HasPrefix(b.Route, "/") || strings.HasSuffix(b.Route, "/") {
		problems = append(problems, errors.New("a route has no slash at either end"))
	}
	if b.QueueName != "" && !queueName.MatchString(b.QueueName) {
		problems = append(problems, fmt.Errorf("%q is not a queue name", b.QueueName))
	}
	return problems
}

func uniqueNames(functions []Function) []error {
	seen := map[string]string{}
	var problems []error
	for _, f := range functions {
		key := strings.ToLower(f.Name)
		if other, ok := seen[key]; ok {
			problems = append(problems, fmt.Errorf("%s and %s differ only in case", other, f.Name))
		}
		seen[key] = f.Name
	}
	return problems
}

// uniqueRoutes compares routes as the host matches them: without regard to
// case and to the names of parameters.
func uniqueRoutes(functions []Function) []error {
	seen := map[string]string{}
	var problems []error
	for _, f := range functions {
		trigger := f.Trigger()
		if trigger.Type != HTTPTrigger {
			continue
		}
		for _, m := range trigger.Methods {
			key := m + " " + routeKey(f.Route())
			if other, ok := seen[key]; ok {
				problems = append(problems, fmt.Errorf("%s and %s both answer %s", other, f.Name, key))
			}
			seen[key] = f.Name
		}
	}
	return problems
}

func routeKey(route string) string {
	segments := strings.Split(strings.ToLower(route), "/")
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			_, constraint, _ := strings.Cut(strings.Trim(s, "{}"), ":")
			segments[i] = "{:" + constraint + "}"
		}
	}
	return strings.Join(segments, "/")
}
