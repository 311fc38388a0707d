package ingest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secureapi/scripts/devstack/fault"
	"secureapi/scripts/devstack/ingest"
)

func start(t *testing.T, keep int) (*ingest.Server, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "telemetry.ndjson")
	s, err := ingest.New(ingest.Options{File: file, Keep: keep, Authorize: func(token string) error {
		if token != "good" {
			return errors.New("refused")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, file
}

func post(t *testing.T, s http.Handler, path, token, body string, zip bool) (status, accepted int) {
	t.Helper()
	var data bytes.Buffer
	data.WriteString(body)
	if zip {
		data.Reset()
		w := gzip.NewWriter(&data)
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, &data)
	if zip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, req)
	var answer struct {
		ItemsAccepted int `json:"itemsAccepted"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v", recorder.Body, err)
	}
	return recorder.Code, answer.ItemsAccepted
}

const item = `{"name":"Request","time":"2026-01-01T00:00:00Z"}`

func TestTrack(t *testing.T) {
	for _, tt := range []struct {
		name, path, token, body string
		zip                     bool
		status, accepted        int
	}{
		{"two lines, zipped", "/v2/track", "", item + "\n" + item, true, 200, 2},
		{"an array", "/v2/track", "", "[" + item + "," + item + "]", false, 200, 2},
		{"with a token", "/v2.1/track", "good", item, true, 200, 1},
		{"with a wrong token", "/v2.1/track", "bad", item, true, 401, 0},
		{"without a token", "/v2.1/track", "", item, true, 401, 0},
		{"one of two broken", "/v2/track", "", item + "\n{", false, 206, 1},
		{"all broken", "/v2/track", "", "{", false, 400, 0},
		{"too large a line", "/v2/track", "", strings.Repeat("x", 2<<20), true, 400, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, file := start(t, 0)
			status, accepted := post(t, s, tt.path, tt.token, tt.body, tt.zip)
			if status != tt.status || accepted != tt.accepted {
				t.Errorf("status %d with %d accepted, want %d with %d", status, accepted, tt.status, tt.accepted)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if lines := strings.Count(string(text), "\n"); lines != tt.accepted || len(s.Items()) != tt.accepted {
				t.Errorf("%d lines in the file, %d items, want %d", lines, len(s.Items()), tt.accepted)
			}
		})
	}
}

func TestKeepsTheNewest(t *testing.T) {
	s, _ := start(t, 2)
	for _, name := range []string{"a", "b", "c"} {
		post(t, s, "/v2/track", "", `{"name":"`+name+`"}`, false)
	}
	items := s.Items()
	if len(items) != 2 || items[0].Name != "b" || items[1].Name != "c" || s.Total() != 3 {
		t.Errorf("%+v of %d", items, s.Total())
	}
}

func TestFault(t *testing.T) {
	s, _ := start(t, 0)
	s.Faults.Set(fault.Fault{Status: http.StatusTooManyRequests, Times: 1})
	if status, _ := post(t, s, "/v2/track", "", item, false); status != http.StatusTooManyRequests {
		t.Errorf("status %d", status)
	}
	if status, _ := post(t, s, "/v2/track", "", item, false); status != http.StatusOK {
		t.Errorf("status %d after the fault", status)
	}
}
