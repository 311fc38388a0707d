package cost

import (
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/scripts/checkinfra"
)

const root = "../.."

// TestTheDocumentIsCurrent: no figure of docs/cost.md is typed.
func TestTheDocumentIsCurrent(t *testing.T) {
	want, err := Document(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "cost.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/cost.md is not what `make infra` writes:\n%s", diff)
	}
}

// TestRequestsAreTheProductsOwn: the counts that were kept are those that the
// product's own test asserts of a warm call (handler/tokenvault
// TestTransactionsOfWarmCalls), and none of Key Vault.
func TestRequestsAreTheProductsOwn(t *testing.T) {
	r, err := ReadRequests(root + "/docs/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]float64{"tokenize": 1, "tokenize with Idempotency-Key": 2, "reveal": 1} {
		if got := r.Data[call]; got < want || got > want+0.01 {
			t.Errorf("%s: %.3f requests to the data account, want %.0f", call, got, want)
		}
		if r.Audit[call] <= 0 || r.Audit[call] >= 0.2 {
			t.Errorf("%s: %.3f requests to the audit account, want them shared", call, r.Audit[call])
		}
	}
	if r.KeyVault != 0 {
		t.Errorf("%d calls of Key Vault", r.KeyVault)
	}
}

// TestLogsAreTheLargestPart: the document says so in words.
func TestLogsAreTheLargestPart(t *testing.T) {
	src, err := readSources(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		bill, err := Million(src.profiles["prod"], src.prices, src.requests, c.name, c.stores)
		if err != nil {
			t.Fatal(err)
		}
		total, err := bill.Total(src.prices)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range bill {
			if l.What == "logs" {
				amount, err := l.amount(src.prices)
				if err != nil || times(amount, number(2)).Cmp(total) <= 0 {
					t.Errorf("%s: logs are %s of %s (%v)", c.name, Amount(amount), Amount(total), err)
				}
			}
		}
	}
}

// world is a deployment small enough to be added up by hand.
func world() (checkinfra.Snapshot, Prices) {
	s := checkinfra.Snapshot{Resources: []checkinfra.Resource{
		{Type: "Microsoft.Network/privateEndpoints", Name: "a"},
		{Type: "Microsoft.Network/privateEndpoints", Name: "b"},
		{Type: "Microsoft.KeyVault/vaults/keys", Name: "kek", Properties: map[string]any{
			"kty": "RSA-HSM", "rotationPolicy": map[string]any{"lifetimeActions": []any{}},
		}},
		{Type: "Microsoft.Insights/scheduledQueryRules", Name: "q", Properties: map[string]any{"evaluationFrequency": "PT5M"}},
		{Type: "Microsoft.Web/sites", Name: "app", Properties: map[string]any{"functionAppConfig": map[string]any{
			"scaleAndConcurrency": map[string]any{"instanceMemoryMB": 512.0, "alwaysReady": []any{map[string]any{"instanceCount": 3.0}}},
		}}},
		{Type: "Microsoft.OperationalInsights/workspaces", Name: "log", Properties: map[string]any{
			"sku": map[string]any{"name": "PerGB2018"}, "retentionInDays": 396.0,
		}},
		{Type: "Microsoft.Storage/storageAccounts", Name: "st", SKU: map[string]any{"name": "Standard_LRS"}},
	}}
	meter := func(price string) Meter { return Meter{price, "unit", "https://example.com"} }
	return s, Prices{
		Currency: "USD", Region: "eastus", Date: "2026-11-25",
		Meters: map[string]Meter{
			"private-endpoint": meter("0.01"), "hsm-key": meter("5"), "key-rotation": meter("1"), "log-alert": meter("1.50"),
			"always-ready": meter("0.000004"), "execution-time": meter("0.00002"), "executions": meter("0.0000004"),
			"table-request": meter("0.00000004"), "table-lrs": meter("0.05"), "key-operation": meter("0.00001"),
			"logs": meter("2"), "logs-retention": meter("0.1"), "private-endpoint-data": meter("0.01"),
		},
		Assumptions: map[string]Assumption{
			"hoursPerMonth": {"720", ""}, "secondsPerRun": {"1", ""}, "requestsPerTimerRun": {"5", ""}, "callsPerSecond": {"100", ""},
			"rowsPerCall": {"3", ""}, "rowsPerRequest": {"2", ""}, "bytesPerRow": {"1000", ""}, "bytesPerToken": {"2000", ""},
			"bytesPerAuditEntry": {"500", ""}, "auditEntriesPerCall": {"2", ""}, "bytesPerExchange": {"4000", ""},
		},
	}
}

func amounts(t *testing.T, b Bill, p Prices) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, l := range b {
		amount, err := l.amount(p)
		if err != nil {
			t.Fatal(err)
		}
		got[l.What] = Amount(amount)
	}
	total, err := b.Total(p)
	if err != nil {
		t.Fatal(err)
	}
	got["together"] = Amount(total)
	return got
}

func TestMonth(t *testing.T) {
	s, p := world()
	bill, err := Month(s, p, 2880) // two timers of every minute
	if err != nil {
		t.Fatal(err)
	}
	// 720 hours; 86,400 runs; 432,000 requests; logs 86,400*3 + 432,000*2 rows = 1.1232 GB; 365 days beyond the 31st = 12 months.
	want := map[string]string{
		"private endpoints":                         "14.40", // is 2 × 720 × 0.01
		"keys in hardware":                          "5.00",
		"key rotations":                             "0.10", // is a tenth of 1
		"log alerts":                                "1.50",
		"always ready instances":                    "15.55", // is 720 × 3600 × 3 × 0.5 × 0.000004 = 15.552
		"timers: time":                              "0.86",  // is 86,400 × 0.5 × 0.00002 = 0.864
		"timers: executions":                        "0.03",  // is 86,400 × 0.0000004 = 0.03456
		"timers: requests to tables":                "0.02",  // is 432,000 × 0.00000004 = 0.01728
		"checkpoints: a signature a minute at most": "0.43",  // is 43,200 × 0.00001 = 0.432
		"their logs":                                "2.25",  // is 1.1232 × 2 = 2.2464
		"kept longer than 31 days":                  "1.35",  // is 1.1232 × 12 × 0.1 = 1.34784
		"together":                                  "41.49", // is 14.4+5+0.1+1.5+15.552+0.864+0.03456+0.01728+0.432+2.2464+1.34784 = 41.49408
	}
	if diff := cmp.Diff(want, amounts(t, bill, p)); diff != "" {
		t.Error(diff)
	}
}

func TestMillion(t *testing.T) {
	s, p := world()
	r := Requests{Operations: 1, Data: map[string]float64{"tokenize": 1, "reveal": 1}, Audit: map[string]float64{"tokenize": 0.25, "reveal": 0.1}}
	bill, err := Million(s, p, r, "tokenize", true)
	if err != nil {
		t.Fatal(err)
	}
	// 1,250,000 requests; logs 3,000,000 + 2,500,000 rows = 5.5 GB; kept 2*500 + 2000 bytes = 3 GB.
	want := map[string]string{
		"executions":         "0.40",
		"time":               "0.10",  // is 10,000 s × 0.5 × 0.00002
		"requests to tables": "0.05",  // is 1,250,000 × 0.00000004
		"logs":               "11.00", // is 5.5 × 2
		"storage, for each month that it is kept": "0.15", // is 3 × 0.05
		"logs, kept longer than 31 days":          "6.60", // is 5.5 × 12 × 0.1
		"through private endpoints":               "0.05", // is 1,250,000 × 4000 = 5 GB × 0.01
		"together":                                "18.35",
	}
	if diff := cmp.Diff(want, amounts(t, bill, p)); diff != "" {
		t.Error(diff)
	}
	if bill, err = Million(s, p, r, "reveal", false); err != nil {
		t.Fatal(err)
	}
	if got := amounts(t, bill, p)["storage, for each month that it is kept"]; got != "0.05" { // 2*500 bytes = 1 GB
		t.Errorf("a reveal's storage costs %s", got)
	}
}

// TestWithoutPrice: whatever is not priced is an error, never nothing.
func TestWithoutPrice(t *testing.T) {
	for name, change := range map[string]func(*checkinfra.Snapshot, *Prices, *Requests){
		"a type":        func(s *checkinfra.Snapshot, _ *Prices, _ *Requests) { s.Resources[0].Type = "Microsoft.Cache/redis" },
		"a meter":       func(_ *checkinfra.Snapshot, p *Prices, _ *Requests) { delete(p.Meters, "private-endpoint") },
		"an assumption": func(_ *checkinfra.Snapshot, p *Prices, _ *Requests) { delete(p.Assumptions, "bytesPerRow") },
		"another period": func(s *checkinfra.Snapshot, _ *Prices, _ *Requests) {
			s.Resources[3].Properties["evaluationFrequency"] = "PT1M"
		},
		"another tier": func(s *checkinfra.Snapshot, _ *Prices, _ *Requests) {
			s.Resources[5].Properties["sku"] = map[string]any{"name": "CapacityReservation"}
		},
		"calls of a vault": func(_ *checkinfra.Snapshot, _ *Prices, r *Requests) { r.KeyVault = 1 },
		"an unknown call":  func(_ *checkinfra.Snapshot, _ *Prices, r *Requests) { delete(r.Data, "tokenize") },
		"no memory":        func(s *checkinfra.Snapshot, _ *Prices, _ *Requests) { s.Resources[4].Properties = nil },
	} {
		s, p := world()
		r := Requests{Data: map[string]float64{"tokenize": 1}, Audit: map[string]float64{"tokenize": 0.1}}
		change(&s, &p, &r)
		month, err := Month(s, p, 1440)
		million, err2 := Million(s, p, r, "tokenize", true)
		_, err3 := month.Total(p)
		_, err4 := million.Total(p)
		if err == nil && err2 == nil && err3 == nil && err4 == nil {
			t.Errorf("%s has no price, and nobody says so", name)
		}
	}
	plans := checkinfra.Snapshot{Resources: []checkinfra.Resource{{Type: "Microsoft.Security/pricings", Name: "Api"}}}
	if _, err := Defender(checkinfra.Snapshot{}, plans); err == nil {
		t.Error("a plan without a price")
	}
}

func TestRounding(t *testing.T) {
	for in, want := range map[string]string{"0.004999": "0.00", "0.005": "0.01", "1.235": "1.24", "2.674999": "2.67", "99.995": "100.00"} {
		r, ok := new(big.Rat).SetString(in)
		if !ok {
			t.Fatal(in)
		}
		if got := Amount(r); got != want {
			t.Errorf("%s is written %s, want %s", in, got, want)
		}
	}
	// A tenth of a cent a thousand times is a unit: nothing is rounded on the way.
	var bill Bill
	for range 1000 {
		bill = append(bill, Line{"x", "m", number(1)})
	}
	total, err := bill.Total(Prices{Meters: map[string]Meter{"m": {Price: "0.001"}}})
	if err != nil || Amount(total) != "1.00" {
		t.Errorf("%v, %v", total, err)
	}
	if got := Amount(gigabytes(number(2_345_000_000))); got != "2.35" {
		t.Errorf("2.345e9 bytes are %s GB", got)
	}
}

func TestSchedules(t *testing.T) {
	for schedule, want := range map[string]int64{
		"0 * * * * *": 1440, "30 * * * * *": 1440, "0 17 3 * * *": 1, "0 */5 * * * *": 288, "0 0 * * * *": 24,
		"0 0,30 8 * * 1-5": 2, "*/15 * * * * *": 5760, "0 */7 0 * * *": 9,
	} {
		if got, err := perDay(schedule); err != nil || got != want {
			t.Errorf("%q runs %d times a day (%v), want %d", schedule, got, err, want)
		}
	}
	for _, schedule := range []string{"", "* * * * *", "0 */0 * * * *", "0 1-5 * * * *", "0 x * * * *", "0 60 * * * *"} {
		if _, err := perDay(schedule); err == nil {
			t.Errorf("%q is priced", schedule)
		}
	}
}

func TestFilesAreWhole(t *testing.T) {
	good, err := os.ReadFile(root + "/infra/prices.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"good":          {"USD", "USD"},
		"no date":       {`"date": "2026-11-25"`, `"date": "today"`},
		"no price":      {`"price": "0.01"`, `"price": ""`},
		"a free meter":  {`"price": "0.01"`, `"price": "0"`},
		"no source":     {"https://azure.microsoft.com/pricing/details/dns/", ""},
		"a misspelling": {`"unit": "hour"`, `"units": "hour"`},
		"no reason":     {"a year's hours by twelve, as the price pages count", "so"},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		file := filepath.Join(t.TempDir(), "prices.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPrices(file); (err == nil) != (name == "good") || name != "good" && text == string(good) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
