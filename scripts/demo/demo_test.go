package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secureapi/scripts/devstack/ca"
	"secureapi/scripts/devstack/stack"
)

// TestTheStoryIsTrue plays the whole demo on a stack of its own. Every scene
// checks itself; this test sees that none is left out, and that without a
// terminal nothing is printed for one.
func TestTheStoryIsTrue(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-dir", t.TempDir()}, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range new(demo).scenes() {
		if !strings.Contains(out.String(), "/9  "+s.title) {
			t.Errorf("the scene %q is not played", s.title)
		}
	}
	if strings.ContainsAny(out.String(), "\x1b\r") {
		t.Error("escape sequences without a terminal")
	}
}

// TestStacksThatCannotBeUsed: a description that is not one, a stack without
// the API, and one whose process is gone.
func TestStacksThatCannotBeUsed(t *testing.T) {
	for name, text := range map[string]string{"no description": "{", "no API": "{}"} {
		path := filepath.Join(t.TempDir(), "stack.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := findStack(t.Context(), path, newScreen(&bytes.Buffer{})); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	authority, err := ca.New("localhost")
	if err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if alive(t.Context(), stack.Info{API: gone.URL, RootsPEM: authority.RootsPEM()}) {
		t.Error("a stack that is gone is alive")
	}
}

// TestAScreenForPeople: the bar moves on a terminal and is one line elsewhere.
func TestAScreenForPeople(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var out bytes.Buffer
		s := &screen{out: &out, terminal: terminal}
		for done := range 4 {
			s.progress("done", done, 3)
		}
		if moves := strings.Count(out.String(), "\r"); moves != map[bool]int{true: 4}[terminal] {
			t.Errorf("terminal %t: %q", terminal, out.String())
		}
		if strings.Count(out.String(), "\n") != 1 || !strings.HasSuffix(out.String(), "3 of 3\n") {
			t.Errorf("terminal %t: %q", terminal, out.String())
		}
	}
	if got := (&screen{colour: true}).paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
}

// TestWhatIsNotAsToldFails: a scene whose words are not true ends the demo.
func TestWhatIsNotAsToldFails(t *testing.T) {
	authority, err := ca.New("localhost")
	if err != nil {
		t.Fatal(err)
	}
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"x","results":[{"status":200,"value":"in clear"}]}`))
	}))
	defer open.Close()
	info := stack.Info{API: open.URL, TokenURL: open.URL, RootsPEM: authority.RootsPEM()}
	d, err := newDemo(info, newScreen(&bytes.Buffer{}))
	if err != nil {
		t.Fatal(err)
	}
	d.patience = time.Millisecond // for entries that never come
	for _, s := range d.scenes() {
		if err := s.run(t.Context()); err == nil {
			t.Errorf("%q is content with an API that grants everything", s.title)
		}
	}
	if err := d.play(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "scene 1, ") {
		t.Errorf("the demo ends with %v", err)
	}
}
