package main

import (
	"fmt"
	"slices"
	"time"
)

// series are the measurements of one thing, one a round.
type series []float64

// median is the middle one, or the mean of the two in the middle; 0 of none.
func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// over divides round by round: what disturbed a round disturbed both.
func (s series) over(base series) series {
	ratios := make(series, 0, len(s))
	for i, divisor := range base {
		if i < len(s) && divisor > 0 {
			ratios = append(ratios, s[i]/divisor)
		}
	}
	return ratios
}

// plus adds round by round, other taken times times.
func (s series) plus(times float64, other series) series {
	sum := make(series, min(len(s), len(other)))
	for i := range sum {
		sum[i] = s[i] + times*other[i]
	}
	return sum
}

// String is the median with the smallest and the largest.
func (s series) String() string {
	if len(s) == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.median(), slices.Min(s), slices.Max(s))
}

// micros writes a series of seconds.
func (s series) micros() string {
	if len(s) == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.1f µs (%.1f to %.1f)", 1e6*s.median(), 1e6*slices.Min(s), 1e6*slices.Max(s))
}

// millis writes a series of seconds.
func (s series) millis() string {
	if len(s) == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%.0f ms (%.0f to %.0f)", 1e3*s.median(), 1e3*slices.Min(s), 1e3*slices.Max(s))
}

func (s *series) note(d time.Duration, calls int) {
	*s = append(*s, d.Seconds()/float64(calls))
}
