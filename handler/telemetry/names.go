package telemetry

// Names of events. Alerts and the workbook use exactly these, and a test has each
// one sent and received (TestEveryDeclaredNameIsSent).
const (
	// EventStarted: the process serves.
	EventStarted = "handler.started"
	// EventStopping: the last request has ended, and what waits is written.
	EventStopping = "handler.stopping"
	// EventAlarm: something that storage or a caller must not be able to do
	// was seen; the log line of the same trace says what. Package audit sends it
	// with every alarm entry.
	EventAlarm = "security.alarm"
	// EventKeyringRefused: a keyring row was forged or rolled back.
	EventKeyringRefused = "keyring.refused"
	// EventAuditBroken: a stream of the audit log does not verify.
	EventAuditBroken = "audit.broken"
	// EventPoisonMessage: a queue message was given up, by the host or here.
	EventPoisonMessage = "queue.poison"
)

// Names of metrics.
const (
	// MetricTelemetryDropped counts items that were not sent.
	MetricTelemetryDropped = "telemetry.dropped"
	// MetricQueueMessages is the approximate length of a queue.
	MetricQueueMessages = "queue.messages"
	// MetricQueueAge is the age in seconds of the first visible message.
	MetricQueueAge = "queue.age"
	// MetricAuditUnsealed is the number of entries that no checkpoint covers.
	MetricAuditUnsealed = "audit.unsealed"
	// MetricRequestsUntold counts refused requests of unknown callers whose
	// event was left out, because too many came at once.
	MetricRequestsUntold = "requests.untold"
	// MetricCacheHits is the share of reads of data subjects' keys that the
	// process' cache answered in the last minute; not sent without reads.
	MetricCacheHits = "cache.hits"
)
