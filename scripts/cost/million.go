package cost

import (
	"fmt"
	"math/big"

	"secureapi/scripts/checkinfra"
)

const million = 1_000_000

// Million is what a million warm calls cost in a profile, by what was measured
// that a call asks of storage. stores says whether each call stores a value.
func Million(s checkinfra.Snapshot, p Prices, r Requests, call string, stores bool) (Bill, error) {
	data, ok := r.Data[call]
	if !ok {
		return nil, fmt.Errorf("%q was not measured", call)
	}
	if r.KeyVault != 0 {
		return nil, fmt.Errorf("%d calls of Key Vault in warm operations: they need a line", r.KeyVault)
	}
	v, err := p.all("callsPerSecond", "rowsPerCall", "rowsPerRequest", "bytesPerRow", "bytesPerToken", "bytesPerAuditEntry", "auditEntriesPerCall", "bytesPerExchange")
	if err != nil {
		return nil, err
	}
	memory, err := memory(s)
	if err != nil {
		return nil, err
	}
	n := number(million)
	requests := times(n, sum(measured(data), measured(r.Audit[call])))
	seconds := new(big.Rat).Quo(n, v["callsPerSecond"])
	rows := sum(times(n, v["rowsPerCall"]), times(requests, v["rowsPerRequest"]))
	logs := gigabytes(times(rows, v["bytesPerRow"]))
	kept := times(n, v["auditEntriesPerCall"], v["bytesPerAuditEntry"])
	if stores {
		kept = sum(kept, times(n, v["bytesPerToken"]))
	}
	table := "table-lrs"
	if has(s, "Microsoft.Storage/storageAccounts", "Standard_ZRS") {
		table = "table-zrs"
	}
	bill := Bill{
		{"executions", "executions", n},
		{"time", "execution-time", times(seconds, memory)},
		{"requests to tables", "table-request", requests},
		{"logs", "logs", logs},
		{"storage, for each month that it is kept", table, gigabytes(kept)},
	}
	days, err := retention(s)
	if err != nil {
		return nil, err
	}
	if days > 31 {
		bill = append(bill, Line{"logs, kept longer than 31 days", "logs-retention", times(logs, big.NewRat(12*int64(days-31), 365))})
	}
	if has(s, "Microsoft.Network/privateEndpoints", "") {
		bill = append(bill, Line{"through private endpoints", "private-endpoint-data", gigabytes(times(requests, v["bytesPerExchange"]))})
	}
	if has(s, "Microsoft.Network/natGateways", "") {
		bill = append(bill, Line{"telemetry through the NAT gateway", "nat-gateway-data", logs})
	}
	return bill, nil
}

// measured takes a count as it is written in the file: three digits.
func measured(f float64) *big.Rat {
	return big.NewRat(int64(f*1000+0.5), 1000)
}

func has(s checkinfra.Snapshot, kind, sku string) bool {
	for _, r := range s.Resources {
		if r.Type == kind && (sku == "" || r.SKU["name"] == sku) {
			return true
		}
	}
	return false
}

// Defender is what the optional plans cost a month for a profile's resources.
func Defender(s, plans checkinfra.Snapshot) (Bill, error) {
	var accounts, vaults int64
	for _, r := range s.Resources {
		switch r.Type {
		case "Microsoft.Storage/storageAccounts":
			accounts++
		case "Microsoft.KeyVault/vaults":
			vaults++
		}
	}
	quantities := map[string]*big.Rat{
		"AppServices": number(1), "StorageAccounts": number(accounts), "KeyVaults": number(vaults), "Arm": number(1),
	}
	var bill Bill
	for _, r := range plans.Resources {
		if r.Type != "Microsoft.Security/pricings" {
			continue
		}
		quantity, ok := quantities[r.Name]
		if !ok {
			return nil, fmt.Errorf("no price line for Defender plan %s", r.Name)
		}
		bill = append(bill, Line{"Defender for " + r.Name, "defender-" + r.Name, quantity})
	}
	return bill, nil
}
