package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// width is where text is broken.
const width = 96

// screen prints for people. Colours and a bar that moves are for a terminal
// only; elsewhere every line is printed once and stays.
type screen struct {
	out              io.Writer
	terminal, colour bool
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if file, ok := out.(*os.File); ok {
		about, err := file.Stat()
		s.terminal = err == nil && about.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	s.colour = s.terminal && os.Getenv("NO_COLOR") == "" // https://no-color.org
	return s
}

// The colours, as SGR parameters (ECMA-48 8.3.117).
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
)

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) heading(number, of int, title string) {
	if number > 0 {
		title = fmt.Sprintf("%d/%d  %s", number, of, title)
	}
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, title))
}

// words prints a paragraph.
func (s *screen) words(text string) {
	var line strings.Builder
	for word := range strings.FieldsSeq(text) {
		if line.Len() > 0 && utf8.RuneCountInString(line.String())+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(s.out, line.String())
			line.Reset()
		}
		if line.Len() > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(word)
	}
	fmt.Fprintln(s.out, line.String())
}

// checked states what was found true.
func (s *screen) checked(format string, values ...any) {
	fmt.Fprintf(s.out, "  %s %s\n", s.paint(green, "✓"), fmt.Sprintf(format, values...))
}

// table prints rows in columns, the first as the heading.
func (s *screen) table(rows ...[]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			widths = append(widths, make([]int, max(0, i+1-len(widths)))...)
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString("  " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		text := strings.TrimRight(line.String(), " ")
		if n == 0 {
			text = s.paint(faint, text)
		}
		fmt.Fprintln(s.out, text)
	}
}

// progress shows done of total. The last call, with done == total, ends the line.
func (s *screen) progress(what string, done, total int) {
	const cells = 40
	if total == 0 || !s.terminal && done < total {
		return
	}
	full := cells * done / total
	line := fmt.Sprintf("  %-10s %s%s %4d of %d", what,
		s.paint(green, strings.Repeat("█", full)), s.paint(faint, strings.Repeat("░", cells-full)), done, total)
	if s.terminal {
		line = "\r" + line
	}
	if done == total {
		line += "\n"
	}
	fmt.Fprint(s.out, line)
}

// refused paints a status of refusal.
func (s *screen) refused(text string) string { return s.paint(red, text) }

// clip shortens what is too long to be looked at.
func clip(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(slices.Concat(runes[:most-1], []rune{'…'}))
}
