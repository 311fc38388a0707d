// Package challenge reads the claims challenge of a refused request
// (https://learn.microsoft.com/entra/identity-platform/claims-challenge).
//
// Trust boundary: what it returns goes to the authority as a request in the
// person's name. So the header is read strictly: one challenge, of the form that
// is documented, pointing at the authority where the person is signed in.
package challenge

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxHeader bounds the header, and so the claims.
const maxHeader = 8 << 10

var (
	// ErrNone: the answer is no claims challenge.
	ErrNone = errors.New("the answer holds no claims challenge")
	// ErrMalformed: it is one, and not of the documented form.
	ErrMalformed = errors.New("the claims challenge is malformed")
)

// Claims finds the claims that the WWW-Authenticate values ask for. authority is
// the host where the person is signed in.
func Claims(values []string, authority string) (string, error) {
	var found []map[string]string
	for _, value := range values {
		if len(value) > maxHeader {
			return "", fmt.Errorf("%w: too large", ErrMalformed)
		}
		challenges, err := parse(value)
		if err != nil {
			return "", err
		}
		for _, c := range challenges {
			if strings.EqualFold(c.scheme, "Bearer") && c.params["error"] == "insufficient_claims" {
				found = append(found, c.params)
			}
		}
	}
	if len(found) == 0 {
		return "", ErrNone
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%w: there is more than one", ErrMalformed)
	}
	if address, ok := found[0]["authorization_uri"]; ok {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || u.User != nil || !strings.EqualFold(u.Host, authority) {
			return "", fmt.Errorf("%w: it points at another authority", ErrMalformed)
		}
	}
	return decode(found[0]["claims"])
}

// decode takes standard base64, as Microsoft's libraries send it, and nothing
// but a claims request for the access token inside.
func decode(text string) (string, error) {
	decoded, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(decoded) == 0 {
		return "", fmt.Errorf("%w: claims are not base64", ErrMalformed)
	}
	var request struct {
		AccessToken map[string]jsontext.Value `json:"access_token"`
	}
	if err := json.Unmarshal(decoded, &request, json.RejectUnknownMembers(true)); err != nil || len(request.AccessToken) == 0 {
		return "", fmt.Errorf("%w: claims are no claims request for an access token", ErrMalformed)
	}
	return string(decoded), nil
}
