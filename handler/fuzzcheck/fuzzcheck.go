// Package fuzzcheck has what the fuzz targets of several packages hold their
// parsers to, beyond not panicking. It is for tests only.
package fuzzcheck

import (
	"math"
	"runtime"
	"strings"
)

// perByte and atLeast bound what a parser may allocate. A parser that multiplies
// its input lets a small request take much memory before it is refused.
const (
	perByte = 64
	atLeast = 64 << 10
)

// Allocates runs f and reports how much it allocated, and whether that is in
// proportion to an input of n bytes. Other goroutines' allocations count too, so
// that a first excess is measured again.
func Allocates(n int, f func()) (allocated uint64, bounded bool) {
	allocated = math.MaxUint64
	limit := perByte*uint64(n) + atLeast //nolint:gosec // G115: a length
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if allocated = min(allocated, after.TotalAlloc-before.TotalAlloc); allocated <= limit {
			return allocated, true
		}
	}
	return allocated, false
}

// mark begins every text that Quoted plants.
const mark = "q7Zx9K"

// Marked gives the input with each run of letters and digits that is long enough
// to be somebody's data replaced by one that no program text holds, and of the
// same length, so that its shape stays.
func Marked(input string) string {
	var b strings.Builder
	run := 0
	flush := func(end int) {
		text := input[end-run : end]
		if run >= len(mark) {
			text = strings.Repeat(mark, run/len(mark)+1)[:run]
		}
		b.WriteString(text)
		run = 0
	}
	for i := range len(input) {
		c := input[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			run++
			continue
		}
		flush(i)
		b.WriteByte(c)
	}
	flush(len(input))
	return b.String()
}

// Quotes reports whether a refusal of a marked input holds something of it.
func Quotes(refusal string) bool { return strings.Contains(refusal, mark) }
