// Package ingest is the local stand-in for Application Insights' ingestion
// endpoint: v2/track (anonymous) and v2.1/track (with a verified Entra token).
//
// It takes gzip'd JSON lines, answers as the service does, keeps the newest
// items for tests to look at, and appends all of them to a file for people.
//
// Trust boundary: telemetry comes from the app and is only ever looked at. The
// limits on size and number are there so that a client gone wild fills neither
// the memory nor, through one request, the disk.
package ingest

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"secureapi/scripts/devstack/fault"
)

// Resource is the audience of the tokens that v2.1/track takes.
const Resource = "https://monitor.azure.com"

const (
	maxBody = 4 << 20
	// maxText bounds one request after decompression.
	maxText = 64 << 20
	maxLine = 1 << 20
	// defaultKeep is how many items stay in memory.
	defaultKeep = 10_000
)

// Options configure a Server.
type Options struct {
	// Authorize decides over the bearer token of v2.1/track. Required.
	Authorize func(token string) error
	// File receives every item, one JSON text a line. "": none.
	File string
	// Keep is how many items Items returns at most. 0: 10,000.
	Keep int
}

// Item is one piece of telemetry as it came.
type Item struct {
	Name string          `json:"name"`
	Raw  json.RawMessage `json:"-"`
	// Authenticated: it came through v2.1/track.
	Authenticated bool `json:"-"`
}

// Server is the endpoint. It is an http.Handler.
type Server struct {
	authorize func(token string) error
	keep      int
	mux       *http.ServeMux

	// Faults makes the endpoint misbehave.
	Faults fault.Switch

	mu    sync.Mutex
	file  *os.File
	items []Item
	total int
}

// New opens the file and makes the endpoint. Close it when the server has stopped.
func New(o Options) (*Server, error) {
	if o.Authorize == nil {
		return nil, errors.New("making the telemetry endpoint: Authorize is required")
	}
	s := &Server{authorize: o.Authorize, keep: o.Keep}
	if s.keep <= 0 {
		s.keep = defaultKeep
	}
	if o.File != "" {
		file, err := os.OpenFile(o.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // #nosec G304 -- the stack's own folder
		if err != nil {
			return nil, fmt.Errorf("opening the telemetry file: %w", err)
		}
		s.file = file
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("POST /v2/track", func(w http.ResponseWriter, r *http.Request) { s.track(w, r, false) })
	s.mux.HandleFunc("POST /v2.1/track", func(w http.ResponseWriter, r *http.Request) {
		token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !isBearer || s.authorize(token) != nil {
			w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="https://login.microsoftonline.com", resource="`+Resource+`"`)
			reply(w, http.StatusUnauthorized, 0, 0, problem{StatusCode: http.StatusUnauthorized, Message: "Unauthorized"})
			return
		}
		s.track(w, r, true)
	})
	s.mux.Handle("/local/fault", &s.Faults)
	s.mux.HandleFunc("GET /local/items", s.serveItems)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Close closes the file.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// Items returns the newest items, oldest first.
func (s *Server) Items() []Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.items)
}

// Total is how many items were ever accepted.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

func (s *Server) track(w http.ResponseWriter, r *http.Request, authenticated bool) {
	if status := s.Faults.Apply(r, "track"); status != 0 {
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		reply(w, status, 0, 0, problem{StatusCode: status, Message: "Injected fault"})
		return
	}
	lines, err := readLines(http.MaxBytesReader(w, r.Body, maxBody), r.Header.Get("Content-Encoding") == "gzip")
	if err != nil {
		reply(w, http.StatusBadRequest, 0, 0, problem{StatusCode: http.StatusBadRequest, Message: "Invalid payload"})
		return
	}
	var items []Item
	var refused []problem
	for i, line := range lines {
		var item Item
		if err := json.Unmarshal(line, &item); err != nil || item.Name == "" {
			refused = append(refused, problem{Index: i, StatusCode: http.StatusBadRequest, Message: "Invalid item"})
			continue
		}
		item.Raw, item.Authenticated = line, authenticated
		items = append(items, item)
	}
	if err := s.add(items); err != nil {
		reply(w, http.StatusInternalServerError, len(lines), 0, problem{StatusCode: http.StatusInternalServerError, Message: "Not stored"})
		return
	}
	status := http.StatusOK
	switch {
	case len(refused) > 0 && len(items) > 0:
		status = http.StatusPartialContent
	case len(refused) > 0:
		status = http.StatusBadRequest
	}
	reply(w, status, len(lines), len(items), refused...)
}

func (s *Server) add(items []Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		for _, item := range items {
			if _, err := s.file.Write(append(slices.Clone(item.Raw), '\n')); err != nil {
				return fmt.Errorf("writing telemetry: %w", err)
			}
		}
	}
	s.items = append(s.items, items...)
	if over := len(s.items) - s.keep; over > 0 {
		s.items = slices.Clone(s.items[over:])
	}
	s.total += len(items)
	return nil
}

// readLines splits the body, which may also be one JSON array, into items.
func readLines(body io.Reader, zipped bool) ([]json.RawMessage, error) {
	if zipped {
		reader, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("decompressing: %w", err)
		}
		body = reader
	}
	limited := &io.LimitedReader{R: body, N: maxText + 1}
	scanner := bufio.NewScanner(limited)
	scanner.Buffer(nil, maxLine)
	var lines []json.RawMessage
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		switch {
		case line == "":
		case line[0] == '[':
			var array []json.RawMessage
			if err := json.Unmarshal([]byte(line), &array); err != nil {
				return nil, fmt.Errorf("decoding an array: %w", err)
			}
			lines = append(lines, array...)
		default:
			lines = append(lines, json.RawMessage(line))
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	if limited.N <= 0 {
		return nil, errors.New("reading: too large")
	}
	return lines, nil
}

func (s *Server) serveItems(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	for _, item := range s.Items() {
		if _, err := w.Write(append(slices.Clone(item.Raw), '\n')); err != nil {
			return
		}
	}
}

// problem is why an item was not accepted.
type problem struct {
	Index      int    `json:"index"`
	StatusCode int    `json:"statusCode"`
	Message    string `json:"message"`
}

func reply(w http.ResponseWriter, status, received, accepted int, problems ...problem) {
	if problems == nil {
		problems = []problem{}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	body := map[string]any{"itemsReceived": received, "itemsAccepted": accepted, "errors": problems, "appId": nil}
	_ = json.NewEncoder(w).Encode(body) //nolint:errcheck // the client is gone, if anything
}
