// Package cost computes docs/cost.md: what each profile costs a month while
// nothing happens, and what a million calls cost.
//
// Three sources go in, and nothing is typed into the document: the profiles'
// snapshots say what there is, infra/prices.json what a unit costs and what had to
// be assumed, and docs/requests.json what a call was measured to ask of storage. A
// resource of a type that no line prices is an error, so that a change of the
// templates cannot add a cost that the document leaves out.
//
// Money is counted in fractions and rounded once, where it is printed.
package cost

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"
)

// Prices is infra/prices.json.
type Prices struct {
	Currency, Region, Date string
	Meters                 map[string]Meter
	Assumptions            map[string]Assumption
}

// A Meter is a list price of one unit.
type Meter struct{ Price, Unit, Source string }

// An Assumption is a number that no source gives.
type Assumption struct{ Value, Why string }

// Requests is docs/requests.json, which `make bench` measures.
type Requests struct {
	Date        string
	Go          string
	Callers     int
	Data, Audit map[string]float64
	KeyVault    int64
	Operations  int64
}

// read is strict: a name that is misspelt would be a price that is left out.
func read(file string, into any) error {
	text, err := os.ReadFile(file) // #nosec G304 -- a file of the repository
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

// ReadPrices refuses a price without unit, source and date.
func ReadPrices(file string) (Prices, error) {
	var p Prices
	if err := read(file, &p); err != nil {
		return p, err
	}
	if _, err := time.Parse(time.DateOnly, p.Date); err != nil || p.Currency == "" || p.Region == "" {
		return p, fmt.Errorf("%s: prices without date, currency or region", file)
	}
	for name, m := range p.Meters {
		if price, ok := new(big.Rat).SetString(m.Price); !ok || price.Sign() <= 0 || m.Unit == "" || !strings.HasPrefix(m.Source, "https://") {
			return p, fmt.Errorf("%s: meter %s is not whole", file, name)
		}
	}
	for name, a := range p.Assumptions {
		if v, ok := new(big.Rat).SetString(a.Value); !ok || v.Sign() <= 0 || len(a.Why) < 20 {
			return p, fmt.Errorf("%s: assumption %s is not whole", file, name)
		}
	}
	return p, nil
}

// ReadRequests refuses counts of nothing.
func ReadRequests(file string) (Requests, error) {
	var r Requests
	if err := read(file, &r); err != nil {
		return r, err
	}
	if r.Operations == 0 || len(r.Data) == 0 || len(r.Audit) != len(r.Data) {
		return r, fmt.Errorf("%s: nothing was measured", file)
	}
	return r, nil
}

// A Line is one position of a bill.
type Line struct {
	What, Meter string
	Quantity    *big.Rat
}

// A Bill is positions of one month, or of a million calls.
type Bill []Line

// Total is the sum, exact. A meter without a price is an error.
func (b Bill) Total(p Prices) (*big.Rat, error) {
	sum := new(big.Rat)
	for _, l := range b {
		amount, err := l.amount(p)
		if err != nil {
			return nil, err
		}
		sum.Add(sum, amount)
	}
	return sum, nil
}

func (l Line) amount(p Prices) (*big.Rat, error) {
	m, ok := p.Meters[l.Meter]
	if !ok {
		return nil, fmt.Errorf("no price for %q (%s)", l.Meter, l.What)
	}
	price, ok := new(big.Rat).SetString(m.Price)
	if !ok {
		return nil, fmt.Errorf("the price of %q is no number", l.Meter)
	}
	return price.Mul(price, l.Quantity), nil
}

// assumed returns an assumption as a number.
func (p Prices) assumed(name string) (*big.Rat, error) {
	v, ok := new(big.Rat).SetString(p.Assumptions[name].Value)
	if !ok {
		return nil, errors.New("nothing is assumed for " + name)
	}
	return v, nil
}

// Amount writes money with two digits, half a cent up.
func Amount(r *big.Rat) string { return r.FloatString(2) }

// number is an exact whole number.
func number(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

// times multiplies.
func times(factors ...*big.Rat) *big.Rat {
	product := number(1)
	for _, f := range factors {
		product.Mul(product, f)
	}
	return product
}

// sum adds.
func sum(terms ...*big.Rat) *big.Rat {
	total := new(big.Rat)
	for _, t := range terms {
		total.Add(total, t)
	}
	return total
}

// gigabytes converts: log volumes and prices count 10^9 bytes.
func gigabytes(n *big.Rat) *big.Rat { return new(big.Rat).Quo(n, number(1_000_000_000)) }
