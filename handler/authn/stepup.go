package authn

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"

	"secureapi/handler/authz"
)

// stepUpAge is how old a token may be that reveals restricted values. Entra ID
// does not say when a context was satisfied, only when the token was issued.
const stepUpAge = 10 * time.Minute

// StepUpRequired: the caller is who the token says, but must sign in afresh
// with the authentication context. Challenge is the WWW-Authenticate value of
// the 401, or "" where a sign-in cannot help or the client would not know what
// to do: 403.
type StepUpRequired struct{ Challenge string }

// Error implements error.
func (*StepUpRequired) Error() string { return "a step-up sign-in is required" }

// RequireStepUp returns nil for a user whose token is fresh and satisfies the
// step-up context, else *StepUpRequired. Applications cannot step up.
func (a *Authenticator) RequireStepUp(p authz.Principal) error {
	if p.Kind != authz.User {
		return &StepUpRequired{}
	}
	age := a.now().Sub(p.IssuedAt)
	if slices.Contains(p.AuthContexts, a.config.StepUpContext) && age <= stepUpAge && age >= -a.config.Skew {
		return nil
	}
	if !p.ClaimsCapable {
		// It would take the 401 for an expired token, and ask with it for ever.
		return &StepUpRequired{}
	}
	return &StepUpRequired{Challenge: a.claimsChallenge()}
}

// claimsChallenge asks for the step-up context.
func (a *Authenticator) claimsChallenge() string {
	return a.insufficientClaims("acrs", a.config.StepUpContext)
}

// signInAgain asks for a token that was issued from a moment on: what a
// resource sends after a critical event under continuous access evaluation.
// https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation
func (a *Authenticator) signInAgain(notBefore time.Time) string {
	return a.insufficientClaims("nbf", strconv.FormatInt(notBefore.Unix(), 10))
}

// insufficientClaims is Microsoft's form of a claims challenge
// (https://learn.microsoft.com/entra/identity-platform/claims-challenge): an
// empty realm stands for the common endpoint.
func (a *Authenticator) insufficientClaims(claim, value string) string {
	claims := fmt.Sprintf(`{"access_token":{%q:{"essential":true,"value":%q}}}`, claim, value)
	return fmt.Sprintf(`Bearer realm="", authorization_uri=%q, error="insufficient_claims", claims=%q`,
		a.config.AuthorityHost+"/common/oauth2/v2.0/authorize", base64.StdEncoding.EncodeToString([]byte(claims)))
}
