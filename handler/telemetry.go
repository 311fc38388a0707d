package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"secureapi/handler/azure"
	"secureapi/handler/azure/insights"
	"secureapi/handler/azure/queues"
	"secureapi/handler/clock"
	"secureapi/handler/config"
	"secureapi/handler/telemetry"
)

const (
	// roleName names the handler on the application map.
	roleName = "handler"
	// telemetryFlush is how long the last items may take to leave: they are
	// worth less than a process that ends when it is told to.
	telemetryFlush = 5 * time.Second
)

// connection reads where telemetry goes; nil where it goes to the log alone.
// The handler has one identity: another one for telemetry would be a second
// account to grant, watch and revoke.
func connection(c config.Config) (*insights.Connection, error) {
	if c.InsightsConnection == "" {
		if c.InsightsAuthentication != "" {
			return nil, errors.New("APPLICATIONINSIGHTS_AUTHENTICATION_STRING is of use with APPLICATIONINSIGHTS_CONNECTION_STRING only")
		}
		return nil, nil //nolint:nilnil // no connection is a setting, too
	}
	parsed, err := insights.ParseConnection(c.InsightsConnection, c.InsightsAuthentication)
	if err != nil {
		return nil, fmt.Errorf("APPLICATIONINSIGHTS_ settings: %w", err)
	}
	if parsed.ClientID != "" && parsed.ClientID != c.ClientID {
		return nil, errors.New("APPLICATIONINSIGHTS_AUTHENTICATION_STRING must name the identity of AZURE_CLIENT_ID")
	}
	return &parsed, nil
}

// endpoints are all services that the settings name, telemetry's included: the
// only hosts that may have a private address.
func endpoints(c config.Config) ([]string, error) {
	list := c.Endpoints()
	to, err := connection(c)
	if err == nil && to != nil {
		list = append(list, to.Endpoint())
	}
	return list, err
}

// recorder is the process' telemetry. It never blocks and never fails.
type recorder struct {
	telemetry.Recorder
	insights *insights.Client // nil where only the log is written
	logger   *slog.Logger
}

// newRecorder starts sending where there is somewhere to send to.
func newRecorder(c config.Config, t *azure.Transport, identity azcore.TokenCredential, logger *slog.Logger) (*recorder, error) {
	r := &recorder{Recorder: telemetry.Log{Logger: logger}, logger: logger}
	to, err := connection(c)
	if err != nil || to == nil {
		return r, err
	}
	r.insights, err = insights.New(insights.Options{
		Connection: *to, Role: roleName, Instance: c.Instance, Credential: identity,
		HTTP: t.Client(clientTimeout), Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	r.Recorder = telemetry.Tee{r.Recorder, r.insights}
	return r, nil
}

// close sends what is queued, or says how much was lost.
func (r *recorder) close(ctx context.Context) {
	if r.insights == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, telemetryFlush)
	defer cancel()
	if err := r.insights.Close(ctx); err != nil {
		r.logger.WarnContext(ctx, "telemetry not flushed", "error", err)
	}
}

// measureEvery is how often a process tells what only it knows.
const measureEvery = time.Minute

// measure sends the share of reads that the cache answered until ctx ends. It
// is no timer function: each process has a cache of its own.
func (a *app) measure(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if share, ok := a.cacheHits(); ok {
				a.recorder.Metric(ctx, telemetry.MetricCacheHits, share)
			}
		}
	}
}

// backlogs adapts the queues to what the jobs measure.
func backlogs(now clock.Clock, all ...*queues.Queue) (list []func(context.Context) (int, time.Duration, error)) {
	for _, q := range all {
		list = append(list, func(ctx context.Context) (int, time.Duration, error) {
			b, err := q.Backlog(ctx)
			if err != nil || b.Oldest.IsZero() {
				return b.Messages, 0, err
			}
			return b.Messages, max(0, now().Sub(b.Oldest)), nil
		})
	}
	return list
}
