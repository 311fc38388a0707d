package tokenvault

import (
	"context"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/dataclass"
)

// Inspect gives class, age and the masked value of each token, in the order
// of the tokens.
func (v *Vault) Inspect(ctx context.Context, p authz.Principal, tokens []string) ([]Opened, error) {
	if err := v.Audit.Check(ctx, p, authz.TokensInspect); err != nil {
		return nil, err
	}
	if err := parseTokens(tokens, MaxInspect); err != nil {
		return nil, err
	}
	return v.read(ctx, p, reading{permission: authz.TokensInspect, tokens: tokens, show: masked})
}

func masked(shape dataclass.Definition, value dataclass.Secret) dataclass.Secret {
	return dataclass.NewSecret([]byte(shape.Mask(value)))
}

// reading is one call that opens values.
type reading struct {
	permission      authz.Permission
	tokens          []string
	purpose, reason string
	// admit is asked once the classes are known, before the audit entry.
	admit func([]*found) error
	show  func(dataclass.Definition, dataclass.Secret) dataclass.Secret
}

// read finds, audits and opens, in this order.
func (v *Vault) read(ctx context.Context, p authz.Principal, r reading) ([]Opened, error) {
	keys, err := v.Keys.ForRead(ctx)
	if err != nil {
		return nil, err
	}
	list, err := v.find(ctx, keys, p.TenantID, r.tokens)
	if err != nil {
		return nil, err
	}
	if r.admit != nil {
		if err := r.admit(list); err != nil {
			return nil, err
		}
	}
	entry := audit.Entry{
		Action: string(r.permission), Actor: audit.ActorOf(p), Purpose: r.purpose, Reason: r.reason,
	}
	for _, f := range list {
		entry.Objects = append(entry.Objects, f.object(keys, p.TenantID))
	}
	if _, err := v.Audit.Authorise(ctx, entry); err != nil {
		return nil, err
	}
	if err := v.refind(ctx, keys, p.TenantID, list); err != nil {
		return nil, err
	}
	return v.openAll(ctx, p, r.permission, list, r.show), nil
}
