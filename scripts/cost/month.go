package cost

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"secureapi/scripts/checkinfra"
)

// free are the types that cost nothing by being there; what goes through them is
// in the price of calls.
var free = regexp.MustCompile(`^Microsoft\.(Authorization/.*|Consumption/budgets|Resources/resourceGroups|ManagedIdentity/.*` +
	`|Insights/(components|actionGroups|activityLogAlerts|diagnosticSettings|workbooks)` +
	`|KeyVault/vaults|Web/(serverfarms|sites/config|sites/basicPublishingCredentialsPolicies)` +
	`|Network/(virtualNetworks|networkSecurityGroups|privateDnsZones/virtualNetworkLinks|privateEndpoints/privateDnsZoneGroups)` +
	`|Storage/storageAccounts(/.*)?)$`)

// Month is what a profile costs while nobody calls. runsPerDay is how often the
// timers run, all together.
func Month(s checkinfra.Snapshot, p Prices, runsPerDay int64) (Bill, error) {
	hours, err := p.assumed("hoursPerMonth")
	if err != nil {
		return nil, err
	}
	counted := map[string]*big.Rat{}
	var names []Line
	add := func(what, meter string, quantity *big.Rat) {
		if counted[meter] == nil {
			counted[meter] = new(big.Rat)
			names = append(names, Line{What: what, Meter: meter})
		}
		counted[meter].Add(counted[meter], quantity)
	}
	for _, r := range s.Resources {
		if err := resource(r, hours, add); err != nil {
			return nil, err
		}
	}
	bill := make(Bill, 0, len(names))
	for _, l := range names {
		l.Quantity = counted[l.Meter]
		bill = append(bill, l)
	}
	work, err := idle(s, p, hours, times(hours, big.NewRat(runsPerDay, 24)))
	return append(bill, work...), err
}

// resource prices one resource by its type and properties.
func resource(r checkinfra.Resource, hours *big.Rat, add func(what, meter string, quantity *big.Rat)) error {
	one := number(1)
	switch r.Type {
	case "Microsoft.Network/privateEndpoints":
		add("private endpoints", "private-endpoint", hours)
	case "Microsoft.Network/natGateways":
		add("NAT gateway", "nat-gateway", hours)
	case "Microsoft.Network/publicIPAddresses":
		add("its address", "public-address", hours)
	case "Microsoft.Network/privateDnsZones":
		add("private DNS zones", "private-dns-zone", one)
	case "Microsoft.Insights/metricAlerts":
		add("metric alerts", "metric-alert", one)
	case "Microsoft.Insights/scheduledQueryRules":
		if r.At("evaluationFrequency") != "PT5M" {
			return fmt.Errorf("%s runs every %v: no price for that", r.Name, r.At("evaluationFrequency"))
		}
		add("log alerts", "log-alert", one)
	case "Microsoft.KeyVault/vaults/keys":
		kind, ok := r.At("kty").(string)
		if !ok {
			return fmt.Errorf("key %s is of no kind", r.Name)
		}
		if strings.HasSuffix(kind, "-HSM") {
			add("keys in hardware", "hsm-key", one)
		}
		if r.At("rotationPolicy") != nil {
			if r.At("rotationPolicy.lifetimeActions") == nil {
				return fmt.Errorf("%s: a rotation without a period", r.Name)
			}
			// Every ten months.
			add("key rotations", "key-rotation", big.NewRat(1, 10))
		}
	case "Microsoft.Web/sites":
		return instances(r, hours, add)
	case "Microsoft.OperationalInsights/workspaces":
		if r.At("sku.name") != "PerGB2018" {
			return fmt.Errorf("workspace %s is of %v: no price for that", r.Name, r.At("sku.name"))
		}
	default:
		if !free.MatchString(r.Type) {
			return fmt.Errorf("no price line for %s (%s)", r.Type, r.Name)
		}
	}
	return nil
}

// instances prices those that are never stopped.
func instances(r checkinfra.Resource, hours *big.Rat, add func(what, meter string, quantity *big.Rat)) error {
	memory, err := memory(checkinfra.Snapshot{Resources: []checkinfra.Resource{r}})
	if err != nil {
		return err
	}
	groups, ok := r.At("functionAppConfig.scaleAndConcurrency.alwaysReady").([]any)
	if !ok {
		return errors.New("the app does not say how many instances are always ready")
	}
	for _, g := range groups {
		group, ok := g.(map[string]any)
		if !ok {
			return errors.New("an always ready group is no object")
		}
		count, ok := group["instanceCount"].(float64)
		if !ok {
			return errors.New("an always ready group has no count")
		}
		add("always ready instances", "always-ready",
			times(hours, number(3600), number(int64(count)), memory))
	}
	return nil
}

// idle prices what the timers do by themselves. Free grants are not counted.
func idle(s checkinfra.Snapshot, p Prices, hours, runs *big.Rat) (Bill, error) {
	memory, err := memory(s)
	if err != nil {
		return nil, err
	}
	v, err := p.all("secondsPerRun", "requestsPerTimerRun", "rowsPerCall", "rowsPerRequest", "bytesPerRow")
	if err != nil {
		return nil, err
	}
	requests := times(runs, v["requestsPerTimerRun"])
	logs := gigabytes(times(sum(times(runs, v["rowsPerCall"]), times(requests, v["rowsPerRequest"])), v["bytesPerRow"]))
	bill := Bill{
		{"timers: time", "execution-time", times(runs, v["secondsPerRun"], memory)},
		{"timers: executions", "executions", runs},
		{"timers: requests to tables", "table-request", requests},
		{"checkpoints: a signature a minute at most", "key-operation", times(hours, number(60))},
		{"their logs", "logs", logs},
	}
	days, err := retention(s)
	if err != nil {
		return nil, err
	}
	if days > 31 {
		// What is older than 31 days, in months of what comes in.
		bill = append(bill, Line{"kept longer than 31 days", "logs-retention", times(logs, big.NewRat(12*int64(days-31), 365))})
	}
	return bill, nil
}

// memory is that of one instance, in gigabytes.
func memory(s checkinfra.Snapshot) (*big.Rat, error) {
	for _, r := range s.Resources {
		if megabytes, ok := r.At("functionAppConfig.scaleAndConcurrency.instanceMemoryMB").(float64); ok {
			return big.NewRat(int64(megabytes), 1024), nil
		}
	}
	return nil, errors.New("no app says its memory")
}

// retention is the days that the workspace keeps.
func retention(s checkinfra.Snapshot) (int, error) {
	for _, r := range s.Resources {
		if days, ok := r.At("retentionInDays").(float64); ok {
			return int(days), nil
		}
	}
	return 0, errors.New("no workspace says how long it keeps logs")
}

// all returns several assumptions.
func (p Prices) all(names ...string) (map[string]*big.Rat, error) {
	values := map[string]*big.Rat{}
	for _, name := range names {
		v, err := p.assumed(name)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	return values, nil
}
