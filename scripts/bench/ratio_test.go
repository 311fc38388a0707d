package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   series
		want float64
	}{{nil, 0}, {series{4}, 4}, {series{9, 1, 2}, 2}, {series{8, 1, 4, 2}, 3}} {
		before := append(series(nil), c.in...)
		if got := c.in.median(); got != c.want {
			t.Errorf("median of %v: %v", before, got)
		}
		if !cmp.Equal(before, c.in) {
			t.Errorf("the order of %v was changed", before)
		}
	}
}

func TestRatiosAreRoundByRound(t *testing.T) {
	calls, base := series{2, 8, 30}, series{1, 2, 10}
	if got := calls.over(base); !cmp.Equal(got, series{2, 4, 3}) {
		t.Errorf("ratios %v", got)
	}
	if got := calls.over(series{0, 2}); !cmp.Equal(got, series{4}) {
		t.Errorf("with a round of nothing and a round missing: %v", got)
	}
	if got := base.plus(3, series{1, 0, 2}); !cmp.Equal(got, series{4, 2, 16}) {
		t.Errorf("sums %v", got)
	}
}

func TestNotesArePerCall(t *testing.T) {
	var s series
	s.note(2*time.Second, 1000)
	if !cmp.Equal(s, series{0.002}) || s.millis() != "2 ms (2 to 2)" || s.micros() != "2000.0 µs (2000.0 to 2000.0)" {
		t.Errorf("%v, %s, %s", s, s.millis(), s.micros())
	}
	if got := (series{1, 3, 2}).String(); got != "2.00 (1.00 to 3.00)" {
		t.Error(got)
	}
	if got := series(nil).String() + series(nil).micros() + series(nil).millis(); got != strings.Repeat("not measured", 3) {
		t.Error(got)
	}
}

func TestReportNamesAimAndVerdict(t *testing.T) {
	var r report
	s := r.section("part")
	s.add("one", "at most 2", "1", judge(true))
	s.add("two", "at most 2", "3", judge(false))
	s.tell("three", "7")
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(out.String(), "\n\n")
	var got []string
	for line := range strings.Lines(table) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"part aim measured", "one at most 2 1 met", "two at most 2 3 not met", "three - 7 -"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
