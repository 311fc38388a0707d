package signin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	msal "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"

	"secureapi/handler/azure"
	"secureapi/scripts/vaultctl/tokencache"
)

var (
	entraCode = regexp.MustCompile(`\bAADSTS([0-9]{4,8})\b`)
	oauthCode = regexp.MustCompile(`"error"\s*:\s*"([a-z_]{1,40})"`)
)

// needed are the codes after which only the person helps (RFC 6749, section 5.2;
// OpenID Connect Core, section 3.1.2.6).
var needed = []string{"invalid_grant", "interaction_required", "login_required", "consent_required"}

// fail keeps of MSAL's error what may be told.
func fail(step string, err error) error {
	for _, own := range []error{context.Canceled, context.DeadlineExceeded, errAddress} {
		if errors.Is(err, own) {
			return fmt.Errorf("%s: %w", step, own)
		}
	}
	for _, own := range []error{tokencache.ErrDamaged, tokencache.ErrBusy, tokencache.ErrFile} {
		if errors.Is(err, own) {
			return fmt.Errorf("%s: %w", step, err) // it names files and their modes
		}
	}
	text := err.Error()
	if call, ok := errors.AsType[msal.CallErr](err); ok {
		return refused(step, call, text)
	}
	switch {
	case strings.Contains(text, "no token found"):
		return ErrNeeded
	case strings.Contains(text, "OAuth state"):
		return fmt.Errorf("%s: the browser's answer does not belong to this sign-in", step)
	}
	if match := entraCode.FindStringSubmatch(text); match != nil {
		return fmt.Errorf("%s: %s", step, explained(match[1]))
	}
	// What the handler's own credential lets through: network and TLS errors.
	return fmt.Errorf("%s: %w", step, azure.NewCredentialError(step, "", err).Cause)
}

// refused tells an answer of the authority by its codes.
func refused(step string, call msal.CallErr, text string) error {
	var code string
	if match := oauthCode.FindStringSubmatch(text); match != nil {
		code = match[1]
	}
	told := code
	if match := entraCode.FindStringSubmatch(text); match != nil {
		told = explained(match[1])
	} else if told == "" && call.Resp != nil {
		told = fmt.Sprintf("status %d", call.Resp.StatusCode)
	}
	if slices.Contains(needed, code) {
		return fmt.Errorf("%s: %w: %s", step, ErrNeeded, told)
	}
	return fmt.Errorf("%s: the authority refuses: %s", step, told)
}

// explained names a code of Entra ID and the page that explains it.
func explained(number string) string {
	return "AADSTS" + number + " (https://login.microsoftonline.com/error?code=" + number + ")"
}
