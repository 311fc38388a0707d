package host

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"time"
)

type level string

const (
	information level = "Information"
	warning     level = "Warning"
	failure     level = "Error"
)

// logger writes whole lines; several goroutines and the handler share it.
type logger struct {
	mu sync.Mutex
	w  io.Writer
}

func newLogger(w io.Writer) *logger { return &logger{w: w} }

func (l *logger) printf(lv level, category, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n    ")
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s [%s] %s: %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), lv, category, text)
}

// std adapts the logger for packages that want a *log.Logger.
func (l *logger) std(category string) *log.Logger {
	return log.New(lineWriter(func(line string) { l.printf(warning, category, "%s", line) }), "", 0)
}

type lineWriter func(line string)

func (f lineWriter) Write(p []byte) (int, error) {
	f(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// maxLine bounds a line of the handler's output; the rest follows as another.
const maxLine = 64 << 10

// lineLogger logs what is written to it line by line.
type lineLogger struct {
	log      *logger
	level    level
	category string
	rest     []byte
}

func (w *lineLogger) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found && len(line) < maxLine {
			return len(p), nil
		}
		if len(line) > maxLine {
			line, rest = w.rest[:maxLine], w.rest[maxLine:]
		}
		w.log.printf(w.level, w.category, "%s", bytes.TrimSuffix(line, []byte("\r")))
		w.rest = append([]byte(nil), rest...)
	}
}

// flush logs a last line without an end.
func (w *lineLogger) flush() {
	if len(w.rest) > 0 {
		w.log.printf(w.level, w.category, "%s", w.rest)
		w.rest = nil
	}
}
