package azure

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"secureapi/handler/clock"
	"secureapi/handler/telemetry"
)

// Kind is the kind of service that an SDK client talks to.
type Kind string

// The kinds, as telemetry names them.
const (
	Tables   Kind = "Azure table"
	Queues   Kind = "Azure queue"
	Blobs    Kind = "Azure blob"
	KeyVault Kind = "Azure key vault"
)

// responseLimit is the largest response of the kind: a page of rows, a chunk,
// or a small document.
func (k Kind) responseLimit() int64 {
	switch k {
	case Tables:
		return 64 << 20
	case Blobs:
		return 16 << 20
	default:
		return 1 << 20
	}
}

// Call is one finished call of an SDK client, retries included. It names the
// operation and never a row, a blob or a query: those are keyed hashes and
// ids, which belong in no telemetry all the same.
type Call struct {
	Kind Kind
	// Host is the service's host name.
	Host string
	// Operation is the method and the constant part of the path.
	Operation string
	Start     time.Time
	Duration  time.Duration
	// Tries is how often the request was sent: what the service counts.
	Tries int
	// Status is the last status, 0 when no answer came.
	Status int
}

// Failed reports whether the service failed, as opposed to answering that a
// condition does not hold.
func (c Call) Failed() bool {
	switch c.Status {
	case http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed:
		return false
	default:
		return c.Status == 0 || c.Status >= http.StatusBadRequest
	}
}

// Observer is told of each call when it is over. It runs on the caller's
// goroutine and must not block.
type Observer func(ctx context.Context, call Call)

// Record is the Observer that tells a Recorder.
func Record(r telemetry.Recorder) Observer {
	return func(ctx context.Context, c Call) {
		r.Dependency(ctx, telemetry.Dependency{
			Service: string(c.Kind), Target: c.Host, Name: c.Operation, Status: c.Status, Tries: c.Tries,
			Failed: c.Failed(), Started: c.Start, Duration: c.Duration,
		})
	}
}

// callPolicy times a call over all its tries.
type callPolicy struct {
	kind    Kind
	observe Observer
	now     clock.Clock
}

// tries counts how often one call was sent. It travels in the request.
type tries struct{ n *int }

func (p callPolicy) Do(req *policy.Request) (*http.Response, error) {
	count := 0
	req.SetOperationValue(tries{&count})
	start := p.now()
	resp, err := req.Next()
	raw := req.Raw()
	call := Call{
		Kind: p.kind, Host: raw.URL.Hostname(), Operation: operation(raw.Method, raw.URL.Path),
		Start: start, Duration: p.now().Sub(start), Tries: count,
	}
	if err == nil {
		call.Status = resp.StatusCode
	}
	p.observe(raw.Context(), call)
	return resp, err
}

type tryPolicy struct{}

func (tryPolicy) Do(req *policy.Request) (*http.Response, error) {
	var t tries
	if req.OperationValue(&t) {
		*t.n++
	}
	return req.Next()
}

// operation keeps of a path what is the same for every row, message and blob:
// "/records(PartitionKey='…',RowKey='…')" becomes "records".
func operation(method, path string) string {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "/"), "(")
	first, rest, _ := strings.Cut(path, "/")
	if first != "keys" {
		return strings.TrimRight(method+" "+first, " ")
	}
	// Key Vault: keys/<name>[/<version>[/<operation>]].
	name, rest, _ := strings.Cut(rest, "/")
	_, verb, _ := strings.Cut(rest, "/")
	return strings.TrimRight(method+" keys/"+name+" "+verb, " ")
}
