package staging

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"secureapi/scripts/stage/funcjson"
)

// fixedSegment is a literal part of a route. It excludes everything that a
// path normaliser somewhere between client and handler could read as syntax.
var fixedSegment = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// CheckPolicy holds the functions to this project's own rules, which are
// stricter than the host's.
//
// A route is made of fixed segments and {id:guid}: with any string parameter
// the host, in forwarding mode, rebuilds the path from its decoded form, and
// `..%5c..%5c<Function>` in the parameter reaches a queue or timer function
// from outside. Authentication is the handler's alone: a function key is a
// shared secret without identity, and must not look like a protection.
func CheckPolicy(functions []funcjson.Function) error {
	var problems []error
	for _, f := range functions {
		trigger := f.Trigger()
		if trigger.Type != funcjson.HTTPTrigger {
			continue
		}
		if trigger.AuthLevel != "anonymous" {
			problems = append(problems, fmt.Errorf("%s: authLevel must be anonymous: tokens are validated by the handler", f.Name))
		}
		if len(trigger.Methods) == 0 {
			problems = append(problems, fmt.Errorf("%s: methods are missing: the host would accept any", f.Name))
		}
		for s := range strings.SplitSeq(trigger.Route, "/") {
			if s != "{id:guid}" && !fixedSegment.MatchString(s) {
				problems = append(problems, fmt.Errorf("%s: route segment %q: only fixed lower-case segments and {id:guid} are allowed", f.Name, s))
			}
		}
	}
	return errors.Join(problems...)
}
