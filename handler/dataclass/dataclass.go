// Package dataclass knows the classes of personal data: how a value is read
// and brought into one canonical form, how it is shown to those who may see
// it masked only, and what its tokens look like.
//
// Trust boundary: Parse takes text from outside. Its errors carry a code and
// a fixed text, never the value. A parsed value lives in a Secret, which
// prints as "[redacted]" wherever it ends up by mistake.
package dataclass

import (
	"fmt"
	"io"
	"time"

	"secureapi/handler/clock"
)

// Class names a class of personal data. It is part of every seal: a name is
// never reused for something else.
type Class string

// The classes.
const (
	PAN         Class = "pan"
	SSN         Class = "ssn"
	Email       Class = "email"
	Phone       Class = "phone"
	Name        Class = "name"
	DateOfBirth Class = "date-of-birth"
	Text        Class = "text"
)

// Sensitivity says what opening a value takes.
type Sensitivity int

// Restricted values take a fresh step-up sign-in to be revealed.
const (
	Standard Sensitivity = iota
	Restricted
)

// Today gives the time that dates are held against.
type Today = clock.Clock

// ValueError is a refused value. Code is stable; Detail is a fixed text.
type ValueError struct {
	Class  Class
	Code   string
	Detail string
}

// Error implements error.
func (e *ValueError) Error() string { return fmt.Sprintf("%s: %s", e.Class, e.Detail) }

// Definition is one class.
type Definition struct {
	class       Class
	short       string
	sensitivity Sensitivity
	parse       func(raw string, now time.Time) (string, *ValueError)
	mask        func(canonical string) string
	preserve    func(draw io.Reader, canonical string) (string, error)
}

// definitions lists the classes in the order of the documentation.
func definitions() [7]Definition {
	return [...]Definition{pan(), ssn(), email(), phone(), name(), dateOfBirth(), text()}
}

// All lists every class.
func All() []Definition {
	all := definitions()
	return all[:]
}

// Lookup finds a class by its exact name.
func Lookup(class Class) (Definition, bool) {
	switch class {
	case PAN:
		return pan(), true
	case SSN:
		return ssn(), true
	case Email:
		return email(), true
	case Phone:
		return phone(), true
	case Name:
		return name(), true
	case DateOfBirth:
		return dateOfBirth(), true
	case Text:
		return text(), true
	default:
		return Definition{}, false
	}
}

// Class is the definition's class.
func (d Definition) Class() Class { return d.class }

// Sensitivity says what revealing takes.
func (d Definition) Sensitivity() Sensitivity { return d.sensitivity }

// Parse validates raw and brings it into canonical form: parsing a canonical
// form gives it back. The error is a *ValueError.
func (d Definition) Parse(raw string, now Today) (Secret, error) {
	today := now()
	canonical, problem := d.parse(raw, today)
	if problem != nil {
		return Secret{}, problem
	}
	// Libraries read some odd values into a form that they then read in yet
	// another way, or refuse. Such a value has no form to seal and compare.
	if again, problem := d.parse(canonical, today); problem != nil || again != canonical {
		return Secret{}, refused(d.class, "canonical", "has no stable canonical form")
	}
	return NewSecret([]byte(canonical)), nil
}

// Mask shows what a reader without the right to the value may see of it.
func (d Definition) Mask(value Secret) string { return d.mask(value.RevealString()) }

// PreservesFormat reports whether the class has format-preserving tokens.
func (d Definition) PreservesFormat() bool { return d.preserve != nil }

func refused(class Class, code, detail string) *ValueError {
	return &ValueError{Class: class, Code: string(class) + "_" + code, Detail: detail}
}
