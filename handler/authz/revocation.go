package authz

import "time"

// Revocation is what was taken back of an access token that its issuer still
// counts as good. The zero Revocation takes back nothing.
type Revocation struct {
	// Token: this very token.
	Token bool
	// IssuedBefore: every token of the subject that was issued before this
	// moment, this one among them. Zero where it is not.
	IssuedBefore time.Time
}
