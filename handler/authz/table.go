package authz

import "slices"

// Permissions is the one table role -> permissions. The documentation's table
// is rendered from it and compared in a test.
func Permissions(role Role) []Permission {
	switch role {
	case Writer:
		return []Permission{TokensCreate, ImportsManage}
	case Reader:
		return []Permission{TokensInspect}
	case Revealer:
		return []Permission{TokensInspect, TokensReveal}
	case Auditor:
		return []Permission{AuditRead}
	case Operator:
		return []Permission{ImportsControl, OperationsReadAny, KeysRead, KeysAdopt, RevocationsCreate, RevocationsRead}
	case PrivacyOfficer:
		return []Permission{SubjectsErase}
	case Approver:
		// No route of this version asks for what this role will grant.
		return nil
	default:
		return nil
	}
}

// RolesWith lists the roles that have the permission.
func RolesWith(permission Permission) []Role {
	var with []Role
	for _, role := range Roles() {
		if slices.Contains(Permissions(role), permission) {
			with = append(with, role)
		}
	}
	return with
}
