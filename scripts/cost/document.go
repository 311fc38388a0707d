package cost

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"secureapi/scripts/checkinfra"
	"secureapi/scripts/stage/funcjson"
)

// sources are what the document is computed from.
type sources struct {
	prices   Prices
	requests Requests
	profiles map[string]checkinfra.Snapshot
	plans    checkinfra.Snapshot
	runs     int64
}

func readSources(root string) (sources, error) {
	var src sources
	var err error
	if src.prices, err = ReadPrices(filepath.Join(root, "infra", "prices.json")); err != nil {
		return src, err
	}
	if src.requests, err = ReadRequests(filepath.Join(root, "docs", "requests.json")); err != nil {
		return src, err
	}
	src.profiles = map[string]checkinfra.Snapshot{}
	for _, name := range checkinfra.Profiles() {
		if src.profiles[name], err = checkinfra.Load(filepath.Join(root, "infra"), name); err != nil {
			return src, err
		}
	}
	if src.plans, err = checkinfra.Load(filepath.Join(root, "infra"), "options/defender"); err != nil {
		return src, err
	}
	src.runs, err = runsPerDay(filepath.Join(root, "functions"))
	return src, err
}

// calls are the measured ones, and whether each stores a value.
var calls = []struct {
	name   string
	stores bool
}{{"tokenize", true}, {"tokenize with Idempotency-Key", true}, {"reveal", false}}

// Document is docs/cost.md.
func Document(root string) (string, error) {
	src, err := readSources(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# What it costs

Computed by `+"`make infra`"+` from the profiles' snapshots, [infra/prices.json](../infra/prices.json) and
[requests.json](requests.json); no figure here is typed. **List prices** of region %s in %s, written down by hand on %s,
without discounts, tax or free grants. Only those of private endpoints, DNS zones and execution time were read again in published pages; the
file names the page of each: look it up before you rely on it. A resource without a price line fails the test.

`, src.prices.Region, src.prices.Currency, src.prices.Date)
	if err := src.months(&b); err != nil {
		return "", err
	}
	if err := src.millions(&b); err != nil {
		return "", err
	}
	if err := src.options(&b); err != nil {
		return "", err
	}
	src.basis(&b)
	return b.String(), nil
}

func (src sources) months(b *strings.Builder) error {
	b.WriteString("## A month in which nobody calls\n\n")
	bills := map[string]Bill{}
	for _, name := range checkinfra.Profiles() {
		bill, err := Month(src.profiles[name], src.prices, src.runs)
		if err != nil {
			return fmt.Errorf("profile %s: %w", name, err)
		}
		bills[name] = bill
	}
	return src.table(b, checkinfra.Profiles(), bills)
}

func (src sources) millions(b *strings.Builder) error {
	fmt.Fprintf(b, `
## A million calls

Warm calls, as measured on %s with %d callers at once (%s): a tokenize asks the data account %s times and the audit account %s times,
with `+"`Idempotency-Key`"+` %s and %s times, a reveal %s and %s times; Key Vault was asked %d times in %d operations.
`+"`make bench BENCH=\"-only throughput -counts docs/requests.json\"`"+` measures it again. Logs cost more than
all else together: that is the price of diagnostics on every account, and the first place to save is their retention.
`, src.requests.Date, src.requests.Callers, src.requests.Go,
		count(src.requests.Data["tokenize"]), count(src.requests.Audit["tokenize"]),
		count(src.requests.Data["tokenize with Idempotency-Key"]), count(src.requests.Audit["tokenize with Idempotency-Key"]),
		count(src.requests.Data["reveal"]), count(src.requests.Audit["reveal"]), src.requests.KeyVault, src.requests.Operations)
	for _, c := range calls {
		bills := map[string]Bill{}
		for _, name := range checkinfra.Profiles() {
			bill, err := Million(src.profiles[name], src.prices, src.requests, c.name, c.stores)
			if err != nil {
				return err
			}
			bills[name] = bill
		}
		fmt.Fprintf(b, "\n### %s\n\n", c.name)
		if err := src.table(b, checkinfra.Profiles(), bills); err != nil {
			return err
		}
	}
	return nil
}

func (src sources) options(b *strings.Builder) error {
	b.WriteString("\n## Entry points that nothing runs by itself\n\n" +
		"A month of `infra/options/defender.bicep`, for the resources of one environment; the plans cover the whole subscription.\n\n")
	bill, err := Defender(src.profiles["prod"], src.plans)
	if err != nil {
		return err
	}
	if err := src.table(b, []string{"prod"}, map[string]Bill{"prod": bill}); err != nil {
		return err
	}
	sentinel := src.prices.Meters["sentinel"]
	_, err = fmt.Fprintf(b, "\nWith `infra/options/sentinel.bicep` a gigabyte of logs costs %s in place of %s. Eligible roles need Entra ID P2 for each member, "+
		"Conditional Access P1 for each person who signs in.\n", sentinel.Price, src.prices.Meters["logs"].Price)
	return err
}

// table writes bills side by side: a row for each position of any of them.
func (src sources) table(b *strings.Builder, columns []string, bills map[string]Bill) error {
	fmt.Fprintf(b, "| %s | %s |\n|---|%s\n", src.prices.Currency, strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	var rows []string
	for _, c := range columns {
		for _, l := range bills[c] {
			if !slices.Contains(rows, l.What) {
				rows = append(rows, l.What)
			}
		}
	}
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |", row)
		for _, c := range columns {
			cell := "-"
			for _, l := range bills[c] {
				if l.What == row {
					amount, err := l.amount(src.prices)
					if err != nil {
						return err
					}
					cell = Amount(amount)
				}
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	b.WriteString("| **together** |")
	for _, c := range columns {
		total, err := bills[c].Total(src.prices)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, " **%s** |", Amount(total))
	}
	b.WriteString("\n")
	return nil
}

// basis lists what was assumed and what a unit costs.
func (src sources) basis(b *strings.Builder) {
	b.WriteString("\n## What was assumed\n\n| assumption | value | why |\n|---|---:|---|\n")
	for _, name := range slices.Sorted(maps.Keys(src.prices.Assumptions)) {
		a := src.prices.Assumptions[name]
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, a.Value, a.Why)
	}
	b.WriteString("\n## Prices\n\n| meter | price | for a |\n|---|---:|---|\n")
	for _, name := range slices.Sorted(maps.Keys(src.prices.Meters)) {
		m := src.prices.Meters[name]
		fmt.Fprintf(b, "| [%s](%s) | %s | %s |\n", name, m.Source, m.Price, m.Unit)
	}
}

func count(f float64) string { return measured(f).FloatString(3) }

// runsPerDay is how often the timers run, all together.
func runsPerDay(dir string) (int64, error) {
	functions, err := funcjson.Load(dir)
	if err != nil {
		return 0, err
	}
	runs := int64(0)
	for _, f := range functions {
		if trigger := f.Trigger(); trigger.Type == funcjson.TimerTrigger {
			n, err := perDay(trigger.Schedule)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", f.Name, err)
			}
			runs += n
		}
	}
	return runs, nil
}

// perDay counts the runs of a schedule of six fields. Days are not looked at:
// what runs on some of them is priced as if it ran on all.
func perDay(schedule string) (int64, error) {
	fields := strings.Fields(schedule)
	if len(fields) != 6 {
		return 0, fmt.Errorf("schedule %q has not six fields", schedule)
	}
	runs := int64(1)
	for i, limit := range []int64{60, 60, 24} {
		n, err := values(fields[i], limit)
		if err != nil {
			return 0, fmt.Errorf("schedule %q: %w", schedule, err)
		}
		runs *= n
	}
	return runs, nil
}

// values counts what a field matches of 0 to limit-1: "*", "*/n", or a list of numbers.
func values(field string, limit int64) (int64, error) {
	if field == "*" {
		return limit, nil
	}
	if step, ok := strings.CutPrefix(field, "*/"); ok {
		n, err := strconv.ParseInt(step, 10, 64)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("step %q", field)
		}
		return (limit + n - 1) / n, nil
	}
	list := strings.Split(field, ",")
	for _, text := range list {
		if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < 0 || n >= limit {
			return 0, fmt.Errorf("no price for field %q", field)
		}
	}
	return int64(len(list)), nil
}
