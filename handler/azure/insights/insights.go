// Package insights sends telemetry to Application Insights with the
// ApplicationInsights-Go library, and keeps that library's faults to itself.
//
// The library blocks its caller when its loop stalls, panics when used after
// it is closed, holds a batch and a goroutine for each failed submission, and
// believes what the endpoint answers. So it is given two walls:
//
//	Recorder ─ bounded queue of items ─ library: builds, batches, compresses
//	         ─ bounded queue of payloads ─ one sender ─ endpoint
//
// The library's HTTP transport is the entrance of the second queue and always
// answers "accepted": it never sees the endpoint, never waits and never
// retries. It is given one batch at a time and the next only when the last has
// come out, so that what it holds is bounded too. Both queues drop and count
// when full; a request never waits.
//
// Trust boundary: the endpoint is outside. Items arrive here redacted
// (package telemetry), and its answer decides about retries and nothing else.
package insights

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/microsoft/ApplicationInsights-Go/appinsights"
	"github.com/microsoft/ApplicationInsights-Go/appinsights/contracts"

	"secureapi/handler/telemetry"
)

const (
	// queueSize is how many items wait for the library: some seconds of a
	// busy process, about a kilobyte each.
	queueSize = 4096
	// batchSize and batchInterval are when the library is told to make a
	// payload; its own limits are out of reach.
	batchSize     = 512
	batchInterval = 5 * time.Second
	never         = 1 << 30
	// batchTimeout is how long the library may take to make one.
	batchTimeout = 10 * time.Second
	// reportInterval spaces the metric of dropped items.
	reportInterval = time.Minute
)

// Options are the parts of a Client. All but Credential are required.
type Options struct {
	Connection Connection
	// Role and Instance name this process in the portal.
	Role, Instance string
	// Credential is required where the connection says AAD.
	Credential azcore.TokenCredential
	// HTTP sends the payloads; its timeout bounds one attempt.
	HTTP *http.Client
	// Logger is told, at most once a minute, that telemetry is being lost.
	Logger *slog.Logger
}

// Client is a telemetry.Recorder. It is safe for concurrent use.
type Client struct {
	options Options
	library appinsights.TelemetryClient
	sender  *sender
	items   chan appinsights.Telemetry
	dropped atomic.Uint64
	// hurried says that there is no time left to send what is queued.
	hurried atomic.Bool
	// closing is closed to end the pump, pumped when it has ended.
	closing, pumped chan struct{}
	once            sync.Once
}

var _ telemetry.Recorder = (*Client)(nil)

// New starts sending. Close ends it.
func New(o Options) (*Client, error) {
	if o.HTTP == nil || o.Logger == nil {
		return nil, errors.New("insights: an option is missing")
	}
	if o.Connection.AAD && o.Credential == nil {
		return nil, errors.New("insights: the connection needs a credential")
	}
	if !o.Connection.AAD {
		o.Credential = nil
	}
	c := &Client{
		options: o,
		items:   make(chan appinsights.Telemetry, queueSize),
		closing: make(chan struct{}), pumped: make(chan struct{}),
	}
	c.sender = newSender(o, &c.dropped)
	configuration := appinsights.NewTelemetryConfiguration(o.Connection.InstrumentationKey)
	configuration.EndpointUrl = o.Connection.TrackURL
	configuration.MaxBatchSize, configuration.MaxBatchInterval = never, never*time.Second
	configuration.Client = &http.Client{Transport: c.sender}
	c.library = appinsights.NewTelemetryClientFromConfig(configuration)
	tags := c.library.Context().Tags
	tags.Cloud().SetRole(o.Role)
	tags.Cloud().SetRoleInstance(o.Instance)
	// The library fills in the machine's name, which says nothing here.
	tags.Device().SetId("")
	go c.pump()
	return c, nil
}

// Dropped is how many items were not sent.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// Request implements telemetry.Recorder.
func (c *Client) Request(ctx context.Context, r telemetry.Request) {
	r = r.Redacted()
	item := appinsights.NewRequestTelemetry(r.Method, r.Route, r.Duration, strconv.Itoa(r.Status))
	item.MarkTime(r.Started, r.Started.Add(r.Duration))
	item.Id, item.Success = telemetry.SpanID(ctx), !r.Failed()
	set(item.Properties, "requestId", r.ID)
	set(item.Properties, "reason", r.Reason)
	set(item.Properties, "tenant", r.Tenant)
	set(item.Properties, "caller", r.Caller)
	if r.Client.IsValid() {
		// The service masks this tag unless the resource says otherwise.
		item.Tags.Location().SetIp(r.Client.String())
	}
	item.Tags.Operation().SetName(item.Name)
	correlate(item.Tags, telemetry.TraceID(ctx), telemetry.ParentID(ctx))
	c.offer(item)
}

// Dependency implements telemetry.Recorder.
func (c *Client) Dependency(ctx context.Context, d telemetry.Dependency) {
	d = d.Redacted()
	item := appinsights.NewRemoteDependencyTelemetry(d.Name, d.Service, d.Target, !d.Failed)
	item.MarkTime(d.Started, d.Started.Add(d.Duration))
	item.ResultCode = strconv.Itoa(d.Status)
	item.Measurements["tries"] = float64(d.Tries)
	correlate(item.Tags, telemetry.TraceID(ctx), telemetry.SpanID(ctx))
	c.offer(item)
}

// Exception implements telemetry.Recorder. No stack goes along: it stands in
// the log line of the same trace.
func (c *Client) Exception(ctx context.Context, e telemetry.Exception) {
	e = e.Redacted()
	item := appinsights.NewExceptionTelemetry(e.Name)
	item.Frames = nil
	set(item.Properties, "type", e.Type)
	correlate(item.Tags, telemetry.TraceID(ctx), telemetry.SpanID(ctx))
	c.offer(item)
}

// Event implements telemetry.Recorder.
func (c *Client) Event(ctx context.Context, name string) {
	item := appinsights.NewEventTelemetry(telemetry.RedactName(name))
	correlate(item.Tags, telemetry.TraceID(ctx), telemetry.SpanID(ctx))
	c.offer(item)
}

// Metric implements telemetry.Recorder.
func (c *Client) Metric(_ context.Context, name string, value float64) {
	if telemetry.ValidMetric(value) {
		c.offer(appinsights.NewMetricTelemetry(telemetry.RedactName(name), value))
	}
}

// correlate puts an item into its trace.
func correlate(tags contracts.ContextTags, operation, parent string) {
	if operation == "" {
		return
	}
	tags.Operation().SetId(operation)
	if parent != "" {
		tags.Operation().SetParentId(parent)
	}
}

func set(properties map[string]string, name, value string) {
	if value != "" {
		properties[name] = value
	}
}

// offer queues an item, or drops and counts it. After Close nothing is taken.
func (c *Client) offer(item appinsights.Telemetry) {
	select {
	case <-c.closing:
		c.dropped.Add(1)
		return
	default:
	}
	select {
	case c.items <- item:
	default:
		c.dropped.Add(1)
	}
}

// pump is the one goroutine that speaks to the library, so that nothing is
// tracked after its channel is closed.
func (c *Client) pump() {
	defer close(c.pumped)
	batches, reports := time.NewTicker(batchInterval), time.NewTicker(reportInterval)
	defer batches.Stop()
	defer reports.Stop()
	reported := uint64(0)
	held := 0 // items in the library
	for {
		select {
		case item := <-c.items:
			held = c.hand(item, held)
		case <-batches.C:
			held = c.flush(held)
		case <-reports.C:
			reported, held = c.report(reported, held)
		case <-c.closing:
			for {
				select {
				case item := <-c.items:
					held = c.hand(item, held)
				default:
					// The last word, so that a process that ends soon tells its losses too.
					if !c.hurried.Load() {
						_, held = c.report(reported, held)
					}
					c.flush(held)
					return
				}
			}
		}
	}
}

// hand gives the library one more item, and gives back how many it holds.
func (c *Client) hand(item appinsights.Telemetry, held int) int {
	c.track(item)
	held++
	if held < batchSize {
		return held
	}
	return c.flush(held)
}

// flush makes the library turn what it holds into one payload and waits until
// that has come out. It gives back 0.
func (c *Client) flush(held int) int {
	if held == 0 {
		return 0
	}
	if c.hurried.Load() {
		c.dropped.Add(uint64(held)) // #nosec G115 -- at most batchSize
		return 0
	}
	c.sender.expect()
	c.library.Channel().Flush()
	timer := time.NewTimer(batchTimeout)
	defer timer.Stop()
	select {
	case <-c.sender.arrived:
	case <-timer.C:
		c.dropped.Add(uint64(held)) // #nosec G115 -- at most batchSize
	}
	return 0
}

// report tells of items lost since the last report, and gives the new total.
func (c *Client) report(reported uint64, held int) (total uint64, holds int) {
	total = c.Dropped()
	if total == reported {
		return total, held
	}
	c.options.Logger.Warn("telemetry is being lost", "items", total-reported)
	return total, c.hand(appinsights.NewMetricTelemetry(telemetry.MetricTelemetryDropped, float64(total-reported)), held)
}

// track contains a panic of the library while it builds an envelope.
func (c *Client) track(item appinsights.Telemetry) {
	defer func() {
		if recover() != nil {
			c.dropped.Add(1)
		}
	}()
	c.library.Track(item)
}

// Close sends what is queued until ctx ends, and stops. It may be called more
// than once. The error says how many items were lost in all. (One goroutine of
// the library stays behind: its throttle does not answer when it is stopped.)
func (c *Client) Close(ctx context.Context) error {
	c.once.Do(func() {
		close(c.closing)
		defer c.sender.stop()
		defer context.AfterFunc(ctx, func() { c.hurried.Store(true) })()
		<-c.pumped
		c.library.Channel().Stop() // what it still holds has been counted
		c.sender.drain(ctx)
	})
	if dropped := c.Dropped(); dropped > 0 {
		return fmt.Errorf("%d telemetry items were lost", dropped)
	}
	return nil
}
