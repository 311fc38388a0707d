package host

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzPaths: whatever a client sends, the target for the handler is one line,
// begins with a slash and holds no dot segment that could still be folded.
func FuzzPaths(f *testing.F) {
	for _, s := range []string{"/api/a%252Fb", "/api/..%5c..%5cQueueFn", "/api/a%3Fb?c", "/%E9%00", "//", "/%", "/api/%2e%2e/%2e./x", `/a\..\..`} {
		f.Add(s, "A=1&a=2&b=&=c&x=%E9&s=a;b")
	}
	f.Fuzz(func(t *testing.T, raw, query string) {
		path, err := serverPath("/" + raw)
		if err != nil {
			return
		}
		target := forwardedTarget(path, query)
		pathPart, _, _ := strings.Cut(target, "?")
		if !strings.HasPrefix(target, "/") || strings.ContainsAny(target, " \r\n\t\\") || strings.Contains(pathPart+"/", "/../") || strings.Contains(pathPart+"/", "/./") {
			t.Errorf("%q?%q became %q", raw, query, target)
		}
		if again := removeDotSegments(proxiedPath("/" + raw)); again != proxiedPath("/"+raw) {
			t.Errorf("%q: proxied path is not stable: %q", raw, again)
		}
	})
}

// FuzzQueuePayload: every text gives a valid invocation.
func FuzzQueuePayload(f *testing.F) {
	for _, s := range []string{"", "x", `{"a":1,"A":2,"sys":"x","d":"2024-01-02T03:04:05Z"}`, `{"a":1e999,"b":[1],"c":{"d":null}}`, "\u2028\x00", "{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, message string) {
		if strings.ToValidUTF8(message, "") != message {
			return
		}
		payload := jsontext.Value(queuePayload("F", "msg", message, queueFacts{id: "i", popReceipt: "p"}, never()))
		if !payload.IsValid() {
			t.Errorf("%q gave %s", message, payload)
		}
		b := parseBody(t, seen{Body: string(payload)})
		if got := textTwice(t, b.Data["msg"]); got != message {
			t.Errorf("%q arrived as %q", message, got)
		}
	})
}
