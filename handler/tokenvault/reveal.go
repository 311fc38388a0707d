package tokenvault

import (
	"context"
	"regexp"
	"slices"

	"secureapi/handler/authz"
	"secureapi/handler/dataclass"
)

// Reveal gives the values of tokens in clear, in the order of the tokens.
// purpose is one of the configured list; reason is a case or ticket
// reference. A token of a restricted class takes a fresh step-up: without it
// the whole call is refused and nothing is opened.
func (v *Vault) Reveal(
	ctx context.Context, p authz.Principal, tokens []string, purpose, reason string,
) ([]Opened, error) {
	if err := v.Audit.Check(ctx, p, authz.TokensReveal); err != nil {
		return nil, err
	}
	if err := parseTokens(tokens, MaxReveal); err != nil {
		return nil, err
	}
	if err := v.checkPurpose(purpose, reason); err != nil {
		return nil, err
	}
	return v.read(ctx, p, reading{
		permission: authz.TokensReveal, tokens: tokens, purpose: purpose, reason: reason,
		admit: func(list []*found) error { return v.admitRestricted(ctx, p, list) },
		show:  func(_ dataclass.Definition, value dataclass.Secret) dataclass.Secret { return value },
	})
}

// admitRestricted asks for the step-up where a class demands it. The class
// read from the row is bound into the envelope: lowering it in the table
// keeps the value from opening.
func (v *Vault) admitRestricted(ctx context.Context, p authz.Principal, list []*found) error {
	restricted := slices.ContainsFunc(list, func(f *found) bool {
		shape, known := dataclass.Lookup(f.row.class)
		return known && shape.Sensitivity() == dataclass.Restricted
	})
	if !restricted {
		return nil
	}
	err := v.StepUp.RequireStepUp(p)
	if err != nil {
		v.Audit.Refuse(ctx, p, authz.TokensReveal, "step_up_required")
	}
	return err
}

// reasonGrammar is that of ticket and case references: FRAUD-1234,
// CASE-2026-004711, INC0012345.
var reasonGrammar = regexp.MustCompile(`^[A-Z][A-Z0-9]{1,11}(-[A-Z0-9]{1,12}){0,3}$`)

// checkReason takes case references, and nothing that looks like a value.
func checkReason(reason string) *FieldError {
	if !reasonGrammar.MatchString(reason) {
		return &FieldError{
			Pointer: "/reason", Code: "reason_invalid", Detail: "must be a case or ticket reference such as CASE-2026-004711",
		}
	}
	if _, detected := dataclass.Detects(reason); detected {
		return &FieldError{
			Pointer: "/reason", Code: "reason_holds_pii", Detail: "looks like personal data; give a reference only",
		}
	}
	return nil
}

func (v *Vault) checkPurpose(purpose, reason string) error {
	var invalid InvalidError
	if !slices.Contains(v.Purposes, purpose) {
		invalid.Fields = append(invalid.Fields, &FieldError{
			Pointer: "/purpose", Code: "purpose_unknown", Detail: "is not one of the configured purposes",
		})
	}
	if refused := checkReason(reason); refused != nil {
		invalid.Fields = append(invalid.Fields, refused)
	}
	if len(invalid.Fields) > 0 {
		return &invalid
	}
	return nil
}

var subjectGrammar = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

// validSubject: an opaque reference. It is stored only as a keyed hash.
func validSubject(subject string) bool { return subjectGrammar.MatchString(subject) }
