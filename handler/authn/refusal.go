package authn

import (
	"errors"

	"secureapi/handler/authz"
)

// ErrUnavailable: the token cannot be checked now, because the signing keys or
// the list of revocations are not known. Not a refusal: the caller may try again
// (503 with Retry-After).
var ErrUnavailable = errors.New("access tokens cannot be checked")

// ErrUnknownKey: the authority does not have this signing key.
var ErrUnknownKey = errors.New("signing key is unknown")

// Refusal is a token that is not accepted: 401, whatever the reason. What a
// good token's caller may do is for package authz to say (403).
type Refusal struct {
	// Reason is one of the codes below, never anything of the token.
	Reason string
	// Verified: a key of the tenant has signed the token. Principal then holds
	// who the token says it is for, as far as that is well-formed: for the
	// audit entry, and for no decision.
	Verified  bool
	Principal authz.Principal

	challenge string
}

// Challenge is the WWW-Authenticate value of the 401. It is the same for every
// reason (RFC 6750, section 3) but one: the client of a revoked subject is told
// to get a newer token, if it understands that.
func (r *Refusal) Challenge() string {
	if r.challenge != "" {
		return r.challenge
	}
	return `Bearer error="invalid_token"`
}

// Error implements error.
func (r *Refusal) Error() string { return "token refused: " + r.Reason }

// refuse is a refusal before the signature is verified.
func refuse(reason string) error { return &Refusal{Reason: reason} }

// Reasons of a Refusal before the signature is verified, in the order of the
// checks. The codes are part of the audit log's format: they keep their meaning.
const (
	ReasonAuthorizationMissing  = "authorization_missing"
	ReasonAuthorizationRepeated = "authorization_repeated"
	ReasonAuthorizationTooLong  = "authorization_too_long"
	ReasonSchemeNotBearer       = "scheme_not_bearer"
	ReasonNotThreeParts         = "not_three_parts"
	ReasonBase64Malformed       = "base64_malformed"
	ReasonTooDeep               = "too_deep"
	ReasonHeaderMalformed       = "header_malformed"
	ReasonHeaderDuplicate       = "header_duplicate_name"
	ReasonHeaderMember          = "header_member_not_allowed"
	ReasonAlgorithm             = "algorithm_not_allowed"
	ReasonType                  = "type_not_allowed"
	ReasonKeyIDMalformed        = "key_id_malformed"
	ReasonClaimsMalformed       = "claims_malformed"
	ReasonClaimsDuplicate       = "claims_duplicate_name"
	ReasonTenantNotAllowed      = "tenant_not_allowed"
	ReasonKeyUnknown            = "key_unknown"
	ReasonSignature             = "signature_invalid"
)

// Reasons of a Refusal after the signature is verified, in the order of the
// checks.
const (
	ReasonClaimType        = "claim_type_wrong"
	ReasonNotAccessToken   = "not_an_access_token"
	ReasonVersion          = "version_not_accepted"
	ReasonIssuer           = "issuer_mismatch"
	ReasonAudience         = "audience_mismatch"
	ReasonKeyIssuer        = "key_issuer_mismatch"
	ReasonTimeMissing      = "time_missing"
	ReasonTimeRange        = "time_out_of_range"
	ReasonExpired          = "expired"
	ReasonNotYetValid      = "not_yet_valid"
	ReasonIssuedInFuture   = "issued_in_future"
	ReasonLifetime         = "lifetime_not_accepted"
	ReasonClientMissing    = "client_missing"
	ReasonClientNotAllowed = "client_not_allowed"
	ReasonClientUnproven   = "client_not_authenticated"
	ReasonClientSecret     = "client_secret_not_enough"
	ReasonScopeMalformed   = "scope_malformed"
	ReasonScopeOfApp       = "scope_of_an_app"
	ReasonRolesMalformed   = "roles_malformed"
	ReasonNoScopeNorRole   = "neither_scope_nor_role"
	ReasonSubjectMissing   = "subject_missing"
	ReasonIDMalformed      = "uti_malformed"
	ReasonOverage          = "claims_overage"
	ReasonContexts         = "contexts_malformed"
	ReasonSubjectRevoked   = "subject_revoked"
	ReasonTokenRevoked     = "token_revoked"
)
