package insights

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/go-json-experiment/json"
)

const (
	// payloads is how many batches wait for the endpoint.
	payloads = 8
	// maxPayload bounds one compressed batch.
	maxPayload = 1 << 20
	// attempts is how often a batch is sent, with growing pauses.
	attempts   = 4
	firstPause = 2 * time.Second
	maxPause   = time.Minute
	// attemptTimeout bounds one attempt, its token included.
	attemptTimeout = 15 * time.Second
	maxAnswer      = 64 << 10

	monitorScope = "https://monitor.azure.com/.default"
)

// accepted is the answer that the library gets for every payload.
const accepted = `{"itemsReceived":0,"itemsAccepted":0,"errors":[]}`

var errPayload = errors.New("telemetry payload cannot be used")

// sender takes the library's payloads and sends them one at a time.
type sender struct {
	options Options
	dropped *atomic.Uint64
	queue   chan []byte
	// arrived holds a mark when a payload has come out of the library.
	arrived chan struct{}
	// ending is closed when no more payloads come; done when all are gone.
	ending, done chan struct{}
	// ctx ends the sender at once; it is its own life, no caller's.
	cancel context.CancelFunc
	once   sync.Once
}

func newSender(o Options, dropped *atomic.Uint64) *sender {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sender{
		options: o, dropped: dropped, queue: make(chan []byte, payloads), arrived: make(chan struct{}, 1),
		ending: make(chan struct{}), done: make(chan struct{}), cancel: cancel,
	}
	go s.run(ctx)
	return s
}

// RoundTrip is the library's transport: it queues the payload and answers at
// once. It fails never, because the library would keep a failed batch.
func (s *sender) RoundTrip(r *http.Request) (*http.Response, error) {
	payload, err := io.ReadAll(io.LimitReader(r.Body, maxPayload+1))
	err = errors.Join(err, r.Body.Close())
	if err == nil {
		s.offer(payload)
	}
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(accepted)), Request: r,
	}, nil
}

// expect forgets a mark that nobody waited for.
func (s *sender) expect() {
	select {
	case <-s.arrived:
	default:
	}
}

func (s *sender) offer(payload []byte) {
	if len(payload) > maxPayload {
		s.drop(payload)
		return
	}
	select {
	case s.queue <- payload:
	default:
		s.drop(payload)
	}
}

func (s *sender) run(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case payload := <-s.queue:
			s.deliver(ctx, payload)
		case <-s.ending:
			for {
				select {
				case payload := <-s.queue:
					s.deliver(ctx, payload)
				default:
					return
				}
			}
		}
	}
}

// drain waits until everything queued is sent or given up, or ctx ends.
func (s *sender) drain(ctx context.Context) {
	s.once.Do(func() { close(s.ending) })
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

// stop ends the sender at once. What is still queued counts as dropped.
func (s *sender) stop() {
	s.cancel()
	s.once.Do(func() { close(s.ending) })
	<-s.done
}

// deliver tries until the endpoint takes or refuses the payload.
func (s *sender) deliver(ctx context.Context, payload []byte) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		result, err := s.attempt(ctx, payload)
		if err == nil && !result.again {
			s.dropped.Add(result.refused)
			return
		}
		if attempt == attempts || ctx.Err() != nil {
			s.drop(payload)
			return
		}
		timer := time.NewTimer(min(max(pause, result.after), maxPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause *= 4
	}
}

// verdict is what the endpoint said of a payload.
type verdict struct {
	// again: the endpoint could not take it now.
	again bool
	// after is the least pause that it asked for.
	after time.Duration
	// refused is how many items it took not and never will.
	refused uint64
}

func (s *sender) attempt(ctx context.Context, payload []byte) (v verdict, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.Connection.TrackURL, bytes.NewReader(payload))
	if err != nil {
		return v, fmt.Errorf("making a telemetry request: %w", errPayload)
	}
	request.Header.Set("Content-Type", "application/x-json-stream")
	request.Header.Set("Content-Encoding", "gzip")
	if s.options.Credential != nil {
		token, err := bearer(ctx, s.options.Credential)
		if err != nil {
			return v, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.options.HTTP.Do(request)
	if err != nil {
		return v, fmt.Errorf("sending telemetry: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	return judge(response, payload)
}

func bearer(ctx context.Context, credential azcore.TokenCredential) (string, error) {
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{monitorScope}})
	if err != nil {
		return "", fmt.Errorf("telemetry token: %w", err)
	}
	return token.Token, nil
}

// judge follows the protocol of the ingestion endpoint: 206 tells how many
// items were taken; 401 and 403 may pass (roles take minutes to apply); 439 is
// a quota of the day.
func judge(response *http.Response, payload []byte) (verdict, error) {
	switch code := response.StatusCode; {
	case code == http.StatusPartialContent:
		var answer struct {
			Received uint64 `json:"itemsReceived"`
			Accepted uint64 `json:"itemsAccepted"`
		}
		refused := countItems(payload)
		if json.UnmarshalRead(io.LimitReader(response.Body, maxAnswer), &answer) == nil {
			refused = min(answer.Received-min(answer.Accepted, answer.Received), refused)
		}
		return verdict{refused: refused}, nil
	case code >= http.StatusOK && code < http.StatusMultipleChoices:
		return verdict{}, nil
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusRequestTimeout,
		code == http.StatusTooManyRequests, code >= http.StatusInternalServerError:
		return verdict{again: true, after: retryAfter(response.Header.Get("Retry-After"))}, nil
	default:
		return verdict{refused: countItems(payload)}, nil
	}
}

// retryAfter reads a number of seconds; a date is not worth a clock here.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseUint(header, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func (s *sender) drop(payload []byte) { s.dropped.Add(countItems(payload)) }

// countItems counts the lines of a compressed payload, 1 at least.
func countItems(payload []byte) uint64 {
	reader, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return 1
	}
	const most = batchSize * maxItem
	text, err := io.ReadAll(io.LimitReader(reader, most))
	if err != nil {
		return 1
	}
	return uint64(max(1, bytes.Count(text, []byte("\n")))) // #nosec G115 -- a count
}

// maxItem is the size of a large item.
const maxItem = 4 << 10
