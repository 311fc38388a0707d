package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secureapi/scripts/stage/funcjson"
)

var errInvocation = errors.New("the invocation failed")

// invoke POSTs a queue message or a tick to /<Function> and judges the answer.
func (h *Host) invoke(ctx context.Context, f funcjson.Function, payload string) error {
	id := newInvocationID()
	return h.call(ctx, f, id, func(ctx context.Context) error {
		// The bare reader hides its length: invocations are always chunked.
		body := struct{ io.Reader }{strings.NewReader(payload)}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.proc.addr()+"/"+f.Name, body)
		if err != nil {
			return fmt.Errorf("making the invocation: %w", err)
		}
		req.Header.Set(headerHostVersion, Version)
		req.Header.Set(headerInvocationID, id)
		req.Header.Set("User-Agent", userAgent)
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
		answer, err := h.exchange(req)
		if err != nil {
			return err
		}
		logs, err := judge(answer)
		if errors.Is(err, errHangs) {
			// The host never completes such a call by itself.
			<-ctx.Done()
			return err
		}
		for _, line := range logs {
			h.log.printf(information, "Function."+f.Name+".User", "%s", line)
		}
		return err
	})
}

// errHangs marks an answer over which the host forgets to complete the call.
var errHangs = errors.New("an answer without a value: the host waits until functionTimeout")

// judge tells whether an answer completes the invocation: any 2xx with a JSON
// object of the documented form, and nothing else.
func judge(a *buffered) (logs []string, err error) {
	if a.status < 200 || a.status > 299 {
		return nil, fmt.Errorf("%w: status %d", errInvocation, a.status)
	}
	if len(a.body) == 0 {
		return nil, errHangs
	}
	mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || (mediaType != "application/json" && mediaType != "text/json") {
		return nil, fmt.Errorf("%w: the content type is not JSON", errInvocation)
	}
	value := jsontext.Value(a.body)
	if !value.IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil, fmt.Errorf("%w: the answer is not JSON", errInvocation)
	}
	if value.Kind() == 'n' {
		return nil, errHangs
	}
	var result struct {
		Outputs     map[string]jsontext.Value `json:"Outputs"`
		Logs        []*string                 `json:"Logs"`
		ReturnValue jsontext.Value            `json:"ReturnValue"`
	}
	if err := json.Unmarshal(value, &result, json.MatchCaseInsensitiveNames(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, fmt.Errorf("%w: the answer is not of the documented form", errInvocation)
	}
	for _, line := range result.Logs {
		if line != nil {
			logs = append(logs, *line)
		}
	}
	return logs, nil
}
