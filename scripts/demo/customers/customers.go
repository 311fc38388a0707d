// Package customers makes the demo's file of records, scripts/demo/customers.csv:
// 1,000 customers of several countries and scripts.
//
// Nothing in it is a real person's. Names are drawn from common ones; e-mail
// addresses are in domains reserved for examples (RFC 2606); telephone numbers
// are in ranges that regulators keep free for films and books, the British one
// standing in where a country has none; card numbers are the networks' published
// test numbers; and the two social security numbers are samples from print that
// are known for being nobody's.
//
// The file is the same on every machine and for every Go version: each cell is
// drawn by a hash of its row and its name. The test regenerates it; to write it
// anew: go test ./scripts/demo/customers -update
package customers

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"secureapi/handler/dataclass"
)

// Rows is the number of records.
const Rows = 1000

// A Column is one column of the file. The first, without a class, holds the
// customer's opaque reference.
type Column struct {
	Name     string
	Class    dataclass.Class
	Optional bool
}

// Columns lists the file's columns in order.
func Columns() []Column {
	return []Column{
		{Name: "customer"},
		{Name: "name", Class: dataclass.Name},
		{Name: "email", Class: dataclass.Email},
		{Name: "phone", Class: dataclass.Phone},
		{Name: "date_of_birth", Class: dataclass.DateOfBirth},
		{Name: "card", Class: dataclass.PAN},
		{Name: "ssn", Class: dataclass.SSN, Optional: true},
	}
}

// Rejected are the rows that are wrong on purpose, by their number in the file
// from 1, with the error that an import gives them.
func Rejected() map[int]string {
	return map[int]string{
		137: "card:pan_checksum",
		288: "date_of_birth:date-of-birth_syntax",
		431: "email:email_domain",
		604: "phone:phone_syntax",
		842: "name:name_character;ssn:ssn_unassigned",
	}
}

// spoil makes the rows wrong that Rejected lists.
func spoil(row int, cells []string) {
	switch row {
	case 137:
		cells[5] = "4111111111111112" // the last digit is wrong
	case 288:
		cells[4] = "1990-02-30"
	case 431:
		cells[2] = strings.TrimSuffix(cells[2], "example.com") + "example"
	case 604:
		cells[3] = "020 7946 0018" // which country's?
	case 842:
		cells[1], cells[6] = "Test #842", "666-45-6789"
	}
}

// CSV makes the file: RFC 4180, UTF-8, a header row.
func CSV() ([]byte, error) {
	var file bytes.Buffer
	w := csv.NewWriter(&file)
	var header []string
	for _, column := range Columns() {
		header = append(header, column.Name)
	}
	records := [][]string{header}
	for row := 1; row <= Rows; row++ {
		cells := record(row)
		spoil(row, cells)
		records = append(records, cells)
	}
	if err := w.WriteAll(records); err != nil {
		return nil, fmt.Errorf("writing the customers: %w", err)
	}
	return file.Bytes(), nil
}

func record(row int) []string {
	places := countries()
	place := places[draw(row, "country", len(places))]
	given := pick(row, "given", place.given)
	family := pick(row, "family", place.family)
	return []string{
		fmt.Sprintf("cus_%08x", hash(row, "customer")&0xffffffff),
		place.join(given.written, family.written),
		fmt.Sprintf("%s.%s%d@%s", given.latin, family.latin, row, domain(row)),
		place.phone(row),
		birth(row),
		pick(row, "card", cards()),
		place.ssn(row),
	}
}

func domain(row int) string {
	if row == 431 { // the row whose domain is spoilt
		return "example.com"
	}
	return pick(row, "domain", []string{"example.com", "example.org", "example.net"})
}

// birth is a day between 1931 and 2007.
func birth(row int) string {
	const days = 28_000
	return time.Date(1931, time.January, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, draw(row, "birth", days)).Format(time.DateOnly)
}

// hash gives the number that a row's cell is made of.
func hash(row int, what string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(row)) // #nosec G115 -- rows are counted from 1
	_, _ = h.Write([]byte(what))                  // a hash never fails
	_, _ = h.Write(b[:])                          // a hash never fails
	x := h.Sum64()
	// The low bits of FNV are weak: mix as splitmix64 does.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func draw(row int, what string, n int) int {
	return int(hash(row, what) % uint64(n)) // #nosec G115 -- n is a small count
}

func pick[T any](row int, what string, from []T) T { return from[draw(row, what, len(from))] }

// cards are published test numbers: of Visa, Mastercard, American Express,
// Discover, Diners Club, JCB and UnionPay.
func cards() []string {
	return []string{
		"4111111111111111", "4242424242424242", "4012888888881881", "4000 0566 5566 5556", "4222222222222",
		"5555555555554444", "5105105105105100", "2223003122003222", "5200-8282-8282-8210",
		"378282246310005", "371449635398431", "378734493671000",
		"6011111111111117", "6011000990139424", "30569309025904", "38520000023237",
		"3530111333300000", "3566002020360505", "6200000000000005",
	}
}
