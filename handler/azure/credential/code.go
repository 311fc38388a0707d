package credential

import (
	"errors"
	"fmt"
	"regexp"

	msal "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
)

var (
	// entraCode is Entra ID's own code, which its documentation explains.
	entraCode = regexp.MustCompile(`\bAADSTS[0-9]{4,8}\b`)
	// oauthCode is the error of RFC 6749, section 5.2.
	oauthCode = regexp.MustCompile(`"error"\s*:\s*"([a-z_]{1,40})"`)
)

// authorityCode finds the code in MSAL's error text, which also quotes the
// request's URL and the whole answer and is therefore never repeated.
func authorityCode(err error) string {
	if errors.Is(err, errFile) {
		return "file_unreadable"
	}
	call, ok := errors.AsType[msal.CallErr](err)
	if !ok {
		return ""
	}
	text := call.Error()
	if code := entraCode.FindString(text); code != "" {
		return code
	}
	if match := oauthCode.FindStringSubmatch(text); match != nil {
		return match[1]
	}
	if call.Resp != nil {
		return fmt.Sprintf("status_%d", call.Resp.StatusCode)
	}
	return ""
}
