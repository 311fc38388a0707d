package bulkimport

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/dataclass"
	"secureapi/handler/envelope"
	"secureapi/handler/operation"
	"secureapi/handler/tokenvault"
)

// created is the plan of a Create under an Idempotency-Key.
type created struct {
	ID    string `json:"id"`
	KeyID []byte `json:"keyId"`
	Key   []byte `json:"key"`
}

// Create begins an import of files with these columns. subjectColumn names the
// column that holds data subjects' references; "" draws a subject for each row.
func (s *Imports) Create(
	ctx context.Context, p authz.Principal, columns []Column, subjectColumn, idempotencyKey string,
) (Status, error) {
	if err := s.Audit.Check(ctx, p, authz.ImportsManage); err != nil {
		return Status{}, err
	}
	columns, err := checkColumns(columns, subjectColumn)
	if err != nil {
		return Status{}, err
	}
	key := envelope.NewKey()
	plan := created{ID: operation.NewID(), KeyID: key.ID[:], Key: key.Material()}
	if idempotencyKey != "" {
		if plan, err = s.plan(ctx, p, columns, subjectColumn, idempotencyKey, plan); err != nil {
			return Status{}, err
		}
	}
	ticket, err := s.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.ImportsManage), Actor: audit.ActorOf(p), Operation: plan.ID, Reason: "create",
	})
	if err != nil {
		return Status{}, err
	}
	o := &op{
		ID: plan.ID, Tenant: p.TenantID, State: operation.Receiving, CreatedBy: p.ID(), Client: p.ClientID,
		Authorised: ticket.ID(),
		Detail:     detail{Columns: columns, SubjectColumn: subjectColumn, KeyID: plan.KeyID, Key: plan.Key},
	}
	if o, err = s.store(ctx, o); err != nil {
		ticket.Failed(reasonOf(err))
		return Status{}, s.tampered(ctx, p.TenantID, plan.ID, err)
	}
	ticket.Completed(nil)
	return s.status(ctx, o)
}

// store lists the import for its destruction first, so that no crash leaves a
// key for ever, then writes it. A repeat finds what the first call wrote.
func (s *Imports) store(ctx context.Context, o *op) (*op, error) {
	if err := s.due.Add(ctx, purgeKind, o.Tenant, o.ID); err != nil {
		return nil, err
	}
	if err := s.ops.Create(ctx, o); err != nil {
		return nil, err
	}
	return s.ops.Get(ctx, o.Tenant, o.ID)
}

func (s *Imports) plan(
	ctx context.Context, p authz.Principal, columns []Column, subjectColumn, idempotencyKey string, drawn created,
) (created, error) {
	meaning, err := json.Marshal(columns, json.Deterministic(true))
	if err != nil {
		return created{}, fmt.Errorf("encoding columns: %w", err)
	}
	plan, err := s.plans.Reserve(ctx, p, idempotencyKey, [][]byte{meaning, []byte(subjectColumn)}, drawn)
	if err != nil {
		return created{}, s.tampered(ctx, p.TenantID, "", err)
	}
	return plan.Detail, nil
}

// checkColumns gives the columns with every default written out.
func checkColumns(columns []Column, subjectColumn string) ([]Column, error) {
	var invalid tokenvault.InvalidError
	refuse := func(pointer, code, detail string) {
		invalid.Fields = append(invalid.Fields, &tokenvault.FieldError{Pointer: pointer, Code: code, Detail: detail})
	}
	if len(columns) == 0 || len(columns) > MaxColumns {
		refuse("/columns", "columns_count", fmt.Sprintf("must hold 1 to %d columns", MaxColumns))
	}
	seen := map[string]bool{columnPart: true, columnRow: true, columnError: true}
	checkName := func(pointer, name string) {
		switch {
		case !validColumn(name):
			refuse(pointer, "name_invalid", "must be 1 to 64 of A-Z a-z 0-9 . _ -")
		case seen[name]:
			refuse(pointer, "name_repeated", "is used already or reserved")
		}
		seen[name] = true
	}
	checked := make([]Column, len(columns))
	for i, column := range columns {
		pointer := "/columns/" + strconv.Itoa(i)
		checkName(pointer+"/name", column.Name)
		if column.Format == "" {
			column.Format = tokenvault.Opaque
		}
		class, known := dataclass.Lookup(column.Class)
		switch {
		case !known:
			refuse(pointer+"/class", "class_unknown", "is not a known data class")
		case column.Format == tokenvault.Preserving && !class.PreservesFormat():
			refuse(pointer+"/format", "format_unsupported", "this class has no format-preserving token")
		case column.Format != tokenvault.Preserving && column.Format != tokenvault.Opaque:
			refuse(pointer+"/format", "format_unknown", "must be opaque or format-preserving")
		}
		checked[i] = column
	}
	if subjectColumn != "" {
		checkName("/subjectColumn", subjectColumn)
	}
	if len(invalid.Fields) > 0 {
		return nil, &invalid
	}
	return checked, nil
}

func validColumn(name string) bool {
	const most = 64
	return name != "" && len(name) <= most &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}
