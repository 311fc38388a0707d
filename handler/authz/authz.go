// Package authz says who a caller is and what that caller may do.
//
// A Principal is made in exactly two places: package authn makes one from a
// verified Entra ID access token, and System makes one for a queue or timer
// job. Everything that decides on access decides on a Principal and on the one
// role table of this package; nothing else (header, message, path, function
// key) grants anything.
//
// Users need the delegated scope and an app role; applications need the app
// role (https://learn.microsoft.com/entra/identity-platform/howto-add-app-roles-in-apps).
// A role that a later version of the application registration adds and this
// table does not know grants nothing.
package authz

import (
	"fmt"
	"slices"
	"time"
)

// Role is an app role of the API's Entra ID application registration.
type Role string

// The app roles. Compared as ordinal strings: no prefix, case or Unicode folding.
const (
	Writer         Role = "Vault.Writer"
	Reader         Role = "Vault.Reader"
	Revealer       Role = "Vault.Revealer"
	Approver       Role = "Vault.Approver"
	PrivacyOfficer Role = "Vault.PrivacyOfficer"
	Auditor        Role = "Vault.Auditor"
	Operator       Role = "Vault.Operator"
)

// Roles lists every app role in the order of the documentation.
func Roles() []Role {
	return []Role{Writer, Reader, Revealer, Approver, PrivacyOfficer, Auditor, Operator}
}

// Permission is one thing that a caller may do. Its name is also the action
// in the audit log.
type Permission string

// The permissions that routes and jobs ask for.
const (
	TokensCreate      Permission = "tokens.create"
	TokensInspect     Permission = "tokens.inspect"
	TokensReveal      Permission = "tokens.reveal"
	ImportsManage     Permission = "imports.manage" // create, parts, commit, result of one's own import
	SubjectsErase     Permission = "subjects.erase"
	ImportsControl    Permission = "imports.control"    // pause, resume, cancel any import
	OperationsReadAny Permission = "operations.readAny" // operations of others
	KeysRead          Permission = "keys.read"
	KeysAdopt         Permission = "keys.adopt"
	AuditRead         Permission = "audit.read"
	RevocationsCreate Permission = "revocations.create"
	RevocationsRead   Permission = "revocations.read"

	// The permissions below are for System principals only: no role has them.
	ImportsRun       Permission = "imports.run"
	AuditSeal        Permission = "audit.seal"
	KeysRotate       Permission = "keys.rotate"
	OperationsRepair Permission = "operations.repair"
	ErasuresRun      Permission = "erasures.run"
	ErasuresReplay   Permission = "erasures.replay"
)

// Kind tells users, applications and the system's own jobs apart.
type Kind string

// The kinds of principal.
const (
	User   Kind = "user"
	App    Kind = "app"
	system Kind = "system"
)

// Principal is an authenticated caller. The zero Principal may do nothing.
type Principal struct {
	Kind         Kind
	TenantID     string // tid, lower-case GUID; part of every data key
	ObjectID     string // oid; (TenantID, ObjectID) is the subject
	ClientID     string // azp: the client application
	Roles        []Role
	Scoped       bool     // the delegated scope is present (users)
	AuthContexts []string // acrs: authentication contexts satisfied
	// ClaimsCapable: the client application says that it understands a claims
	// challenge (xms_cc). It decides how a refusal is put, never on access.
	ClaimsCapable bool
	IssuedAt      time.Time
	TokenID       string // uti

	job       string
	operation string
	grants    []Permission
}

// System is the principal of a job: a queue or timer function. It may do
// exactly what the job needs, and only continue what the sealed operation row
// (named by operation, "" for timers) records as authorised.
func System(job, tenant, operation string, grants ...Permission) Principal {
	return Principal{Kind: system, TenantID: tenant, job: job, operation: operation, grants: grants}
}

// IsSystem reports whether p is a job of the system itself.
func (p Principal) IsSystem() bool { return p.Kind == system }

// Job names the system job, "" for callers.
func (p Principal) Job() string { return p.job }

// Operation is the id of the operation that a system job continues.
func (p Principal) Operation() string { return p.operation }

// ID is the stable identity of the principal inside its tenant.
func (p Principal) ID() string {
	if p.IsSystem() {
		return "system:" + p.job
	}
	return p.ObjectID
}

// Is reports whether p and other are the same caller.
func (p Principal) Is(tenant, id string) bool { return p.TenantID == tenant && p.ID() == id }

// HasRole reports whether the token carries the role.
func (p Principal) HasRole(r Role) bool { return slices.Contains(p.Roles, r) }

// Denial is the reason why a principal may not do something. It is the
// "reason code" of the audit entry; a client learns only the status.
type Denial struct {
	Permission Permission
	Reason     string
}

// Error implements error.
func (d *Denial) Error() string { return fmt.Sprintf("%s denied: %s", d.Permission, d.Reason) }

// Reasons of a Denial.
const (
	ReasonAnonymous = "not_authenticated"
	ReasonNoScope   = "scope_missing"
	ReasonNoRole    = "role_missing"
	ReasonNotGrant  = "job_not_granted"
)

// Check returns nil where p has the permission, else a *Denial.
func Check(p Principal, permission Permission) error {
	switch p.Kind {
	case system:
		if slices.Contains(p.grants, permission) {
			return nil
		}
		return &Denial{Permission: permission, Reason: ReasonNotGrant}
	case User:
		if !p.Scoped {
			return &Denial{Permission: permission, Reason: ReasonNoScope}
		}
	case App:
	default:
		return &Denial{Permission: permission, Reason: ReasonAnonymous}
	}
	for _, role := range p.Roles {
		if slices.Contains(Permissions(role), permission) {
			return nil
		}
	}
	return &Denial{Permission: permission, Reason: ReasonNoRole}
}
