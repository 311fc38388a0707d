package host

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"secureapi/scripts/stage/funcjson"
)

// route is the compiled template of one HTTP function.
type route struct {
	function funcjson.Function
	methods  []string // empty: any
	segments []segment
}

// kind orders segments by how specific they are, the order in which the host
// tries routes.
type kind int

const (
	literal kind = iota + 1
	constrained
	parameter
	catchAll
)

type segment struct {
	kind     kind
	text     string // of a literal
	matches  func(string) bool
	optional bool
}

// newRoute compiles the route of f below prefix.
func newRoute(prefix string, f funcjson.Function) (route, error) {
	template := strings.Trim(prefix+"/"+f.Route(), "/")
	r := route{function: f}
	for _, m := range f.Trigger().Methods {
		r.methods = append(r.methods, strings.ToUpper(m))
	}
	for text := range strings.SplitSeq(template, "/") {
		s, err := newSegment(text)
		if err != nil {
			return route{}, fmt.Errorf("%s: route %q: %w", f.Name, template, err)
		}
		r.segments = append(r.segments, s)
	}
	return r, nil
}

func newSegment(text string) (segment, error) {
	inner, isParameter := strings.CutPrefix(text, "{")
	if !isParameter {
		if strings.ContainsAny(text, "{}*?") || text == "" {
			return segment{}, fmt.Errorf("segment %q is not supported", text)
		}
		return segment{kind: literal, text: text}, nil
	}
	inner, closed := strings.CutSuffix(inner, "}")
	if !closed || strings.ContainsAny(inner, "{}") {
		return segment{}, fmt.Errorf("segment %q is not supported", text)
	}
	if strings.HasPrefix(inner, "*") {
		return segment{kind: catchAll}, nil
	}
	inner, optional := strings.CutSuffix(inner, "?")
	_, constraint, has := strings.Cut(inner, ":")
	if !has {
		return segment{kind: parameter, optional: optional, matches: func(string) bool { return true }}, nil
	}
	matches, ok := map[string]func(string) bool{"guid": isGUID, "int": isInt32}[constraint]
	if !ok {
		return segment{}, fmt.Errorf("constraint %q is not supported", constraint)
	}
	return segment{kind: constrained, optional: optional, matches: matches}, nil
}

func sortRoutes(routes []route) {
	slices.SortStableFunc(routes, func(a, b route) int {
		for i := range min(len(a.segments), len(b.segments)) {
			if c := cmp.Compare(a.segments[i].kind, b.segments[i].kind); c != 0 {
				return c
			}
		}
		return cmp.Compare(len(a.segments), len(b.segments))
	})
}

// match finds the function for a request by its decoded path. A method or
// constraint that does not fit falls through to a less specific route.
func match(routes []route, method, path string) (funcjson.Function, bool) {
	for _, r := range routes {
		if (len(r.methods) == 0 || slices.Contains(r.methods, method)) && r.matchPath(path) {
			return r.function, true
		}
	}
	return funcjson.Function{}, false
}

func (r route) matchPath(path string) bool {
	// One slash at the end is ignored; an empty segment matches nothing.
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	var parts []string
	if path != "" {
		parts = strings.Split(path, "/")
	}
	if slices.Contains(parts, "") {
		return false
	}
	for i, s := range r.segments {
		switch {
		case s.kind == catchAll:
			return true
		case i >= len(parts):
			return s.optional
		case s.kind == literal && !strings.EqualFold(parts[i], s.text):
			return false
		case s.kind != literal && !s.matches(parts[i]):
			return false
		}
	}
	return len(parts) <= len(r.segments)
}

// Every form that .NET's Guid.TryParse accepts, with its white space: the host
// lets all of them through, so the handler has to be the one that is strict.
var guidForms = regexp.MustCompile(`(?i)^(?:[0-9a-f]{32}` +
	`|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}` +
	`|\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}` +
	`|\([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\)` +
	`|\{0x[0-9a-f]{1,8},0x[0-9a-f]{1,4},0x[0-9a-f]{1,4},\{0x[0-9a-f]{1,2}(?:,0x[0-9a-f]{1,2}){7}\}\})$`)

func isGUID(s string) bool {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{0x") || strings.HasPrefix(s, "{ 0x") || strings.HasPrefix(s, "{0X") {
		s = strings.Join(strings.Fields(s), "")
	}
	return guidForms.MatchString(s)
}

func isInt32(s string) bool {
	_, err := strconv.ParseInt(s, 10, 32)
	return err == nil
}
