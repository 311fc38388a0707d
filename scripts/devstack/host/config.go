package host

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// config is what this stand-in uses of host.json.
type config struct {
	functionTimeout time.Duration
	routePrefix     string
	queues          queueConfig
	handler         handlerConfig
}

type queueConfig struct {
	maxPollingInterval time.Duration
	visibilityTimeout  time.Duration
	batchSize          int
	newBatchThreshold  int
	maxDequeueCount    int
	base64             bool
}

type handlerConfig struct {
	executable string
	workDir    string
	arguments  []string
	forwarding bool
	proxying   bool
}

func (c config) enables(m Mode) bool {
	switch m {
	case Proxying:
		return c.handler.proxying
	case Forwarding:
		return c.handler.forwarding
	default:
		return false
	}
}

// Sections whose every key this stand-in understands. The host ignores a
// misspelt key; here it is an error, because a limit that silently stays at its
// default is found in production.
var closedSections = map[string][]string{
	"extensions:http:":   {"routeprefix"},
	"extensions:queues:": {"maxpollinginterval", "visibilitytimeout", "batchsize", "newbatchthreshold", "maxdequeuecount", "messageencoding"},
	"customhandler:": {
		"description:defaultexecutablepath", "description:workingdirectory", "description:arguments",
		"enableforwardinghttprequest", "enableproxyinghttprequest",
	},
}

// loadConfig reads host.json, lays the environment's overrides over it and
// reports all problems at once.
func loadConfig(file string, env environment) (config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return config{}, err
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return config{}, fmt.Errorf("decoding: %w", err)
	}
	s := settings{values: map[string]string{}}
	flatten(s.values, "", tree)
	maps.Copy(s.values, env.overrides())
	s.refuseUnknown()
	if v := s.text("version", ""); v != "2.0" {
		s.fail("version", "must be 2.0")
	}
	// The encoding decides who may put messages in: never guess it.
	encoding := strings.ToLower(s.text("extensions:queues:messageencoding", "base64"))
	if encoding != "base64" && encoding != "none" {
		s.fail("extensions:queues:messageencoding", "must be none or base64")
	}
	batch := s.number("extensions:queues:batchsize", 16, 1, 32)
	c := config{
		functionTimeout: s.span("functiontimeout", 30*time.Minute),
		routePrefix:     strings.Trim(s.text("extensions:http:routeprefix", "api"), "/"),
		queues: queueConfig{
			maxPollingInterval: s.span("extensions:queues:maxpollinginterval", time.Minute),
			visibilityTimeout:  s.span("extensions:queues:visibilitytimeout", 0),
			batchSize:          batch,
			newBatchThreshold:  s.number("extensions:queues:newbatchthreshold", batch/2*runtime.NumCPU(), 0, 1<<20),
			maxDequeueCount:    s.number("extensions:queues:maxdequeuecount", 5, 1, 1<<20),
			base64:             encoding == "base64",
		},
		handler: handlerConfig{
			executable: s.text("customhandler:description:defaultexecutablepath", ""),
			workDir:    s.text("customhandler:description:workingdirectory", ""),
			forwarding: s.flag("customhandler:enableforwardinghttprequest"),
			proxying:   s.flag("customhandler:enableproxyinghttprequest"),
		},
	}
	if c.handler.executable == "" {
		s.fail("customHandler:description:defaultExecutablePath", "is missing")
	}
	for i := 0; ; i++ {
		arg, ok := s.values["customhandler:description:arguments:"+strconv.Itoa(i)]
		if !ok {
			break
		}
		if arg, err = env.expand(arg); err != nil {
			s.problems = append(s.problems, fmt.Errorf("arguments: %w", err))
		}
		c.handler.arguments = append(c.handler.arguments, arg)
	}
	return c, errors.Join(s.problems...)
}

// settings is host.json as the host sees it: names joined by colons, in any
// case, values as text.
type settings struct {
	values   map[string]string
	problems []error
}

func flatten(into map[string]string, name string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			flatten(into, join(name, key), member)
		}
	case []any:
		for i, element := range v {
			flatten(into, join(name, strconv.Itoa(i)), element)
		}
	case nil:
	default:
		into[strings.ToLower(name)] = fmt.Sprint(v)
	}
}

func join(name, key string) string {
	if name == "" {
		return key
	}
	return name + ":" + key
}

func (s *settings) fail(key, problem string) {
	s.problems = append(s.problems, fmt.Errorf("%s %s", key, problem))
}

func (s *settings) refuseUnknown() {
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		for prefix, known := range closedSections {
			key, ok := strings.CutPrefix(name, prefix)
			if ok && !slices.ContainsFunc(known, func(k string) bool { return key == k || strings.HasPrefix(key, k+":") }) {
				s.fail(name, "is unknown")
			}
		}
	}
}

func (s *settings) text(key, missing string) string {
	if v, ok := s.values[key]; ok {
		return v
	}
	return missing
}

func (s *settings) flag(key string) bool {
	v, err := strconv.ParseBool(strings.ToLower(s.text(key, "false")))
	if err != nil {
		s.fail(key, "must be true or false")
	}
	return v
}

func (s *settings) number(key string, missing, low, high int) int {
	v, ok := s.values[key]
	if !ok {
		return missing
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		s.fail(key, fmt.Sprintf("must be a number from %d to %d", low, high))
	}
	return n
}

func (s *settings) span(key string, missing time.Duration) time.Duration {
	v, ok := s.values[key]
	if !ok {
		return missing
	}
	d, err := parseSpan(v)
	if err != nil {
		s.fail(key, "must be a time span, [d.]hh:mm:ss[.fff]")
	}
	return d
}

var spanForm = regexp.MustCompile(`^(?:(\d{1,4})\.)?(\d{1,2}):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,7}))?)?$`)

// parseSpan reads a .NET time span.
func parseSpan(text string) (time.Duration, error) {
	m := spanForm.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a time span", text)
	}
	var total time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * unit
	}
	if fraction := m[5]; fraction != "" {
		n, err := strconv.Atoi((fraction + "0000000")[:7])
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * 100 * time.Nanosecond
	}
	return total, nil
}
