package challenge

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

const (
	authority = "login.microsoftonline.com"
	acrs      = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
)

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// handlers is what the handler answers (package authn).
func handlers() string {
	return `Bearer realm="", authorization_uri="https://` + authority + `/common/oauth2/v2.0/authorize", error="insufficient_claims", claims="` + encode(acrs) + `"`
}

func TestClaims(t *testing.T) {
	evaluation := `{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}`
	for name, tt := range map[string]struct {
		values []string
		want   string
		err    error
	}{
		"the handler's":            {[]string{handlers()}, acrs, nil},
		"continuous evaluation":    {[]string{`bearer ERROR=insufficient_claims , claims = "` + encode(evaluation) + `"`}, evaluation, nil},
		"beside another scheme":    {[]string{`Negotiate, Basic realm="a, b=\"c\"", ` + handlers()}, acrs, nil},
		"in a second header":       {[]string{`Bearer error="invalid_token"`, handlers()}, acrs, nil},
		"none":                     {nil, "", ErrNone},
		"an invalid token":         {[]string{`Bearer error="invalid_token"`}, "", ErrNone},
		"another scheme":           {[]string{strings.Replace(handlers(), "Bearer", "Basic", 1)}, "", ErrNone},
		"empty":                    {[]string{""}, "", ErrNone},
		"two":                      {[]string{handlers(), handlers()}, "", ErrMalformed},
		"claims twice":             {[]string{handlers() + `, claims="e30="`}, "", ErrMalformed},
		"error twice":              {[]string{handlers() + `, Error="insufficient_claims"`}, "", ErrMalformed},
		"no claims":                {[]string{`Bearer error="insufficient_claims"`}, "", ErrMalformed},
		"claims without encoding":  {[]string{`Bearer error="insufficient_claims", claims="{}"`}, "", ErrMalformed},
		"altered unused bits":      {[]string{`Bearer error="insufficient_claims", claims="e31="`}, "", ErrMalformed},
		"no object":                {[]string{`Bearer error="insufficient_claims", claims="` + encode(`[]`) + `"`}, "", ErrMalformed},
		"nothing asked for":        {[]string{`Bearer error="insufficient_claims", claims="` + encode(`{}`) + `"`}, "", ErrMalformed},
		"an ID token's claims":     {[]string{`Bearer error="insufficient_claims", claims="` + encode(`{"id_token":{"a":null},"access_token":{"a":null}}`) + `"`}, "", ErrMalformed},
		"a name twice":             {[]string{`Bearer error="insufficient_claims", claims="` + encode(`{"access_token":{"a":1},"access_token":{"b":1}}`) + `"`}, "", ErrMalformed},
		"something after":          {[]string{`Bearer error="insufficient_claims", claims="` + encode(acrs+"x") + `"`}, "", ErrMalformed},
		"an open quote":            {[]string{`Bearer error="insufficient_claims`}, "", ErrMalformed},
		"no comma":                 {[]string{`Bearer error="insufficient_claims" claims="` + encode(acrs) + `"`}, "", ErrMalformed},
		"a parameter alone":        {[]string{`error="insufficient_claims"`}, "", ErrMalformed},
		"no value":                 {[]string{`Bearer error=`}, "", ErrMalformed},
		"a line break":             {[]string{"Bearer error=\"insufficient_claims\nx\""}, "", ErrMalformed},
		"large":                    {[]string{handlers() + strings.Repeat(" ", maxHeader)}, "", ErrMalformed},
		"another authority":        {[]string{strings.Replace(handlers(), authority, "evil.example", 1)}, "", ErrMalformed},
		"a name like it":           {[]string{strings.Replace(handlers(), authority, authority+".evil.example", 1)}, "", ErrMalformed},
		"a user before it":         {[]string{strings.Replace(handlers(), authority, authority+"@evil.example", 1)}, "", ErrMalformed},
		"the authority, unguarded": {[]string{strings.Replace(handlers(), "https:", "http:", 1)}, "", ErrMalformed},
	} {
		if got, err := Claims(tt.values, authority); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, got, err, tt.want, tt.err)
		}
	}
}

// FuzzClaims: whatever a server answers, what comes out is a claims request.
func FuzzClaims(f *testing.F) {
	f.Add(handlers())
	f.Add(`Negotiate, Basic realm="a, b=\"c\"", Bearer error=x`)
	f.Fuzz(func(t *testing.T, value string) {
		got, err := Claims([]string{value}, authority)
		if (err == nil) != (got != "") {
			t.Errorf("%q, %v", got, err)
		}
		if err != nil {
			return
		}
		again := `Bearer error="insufficient_claims", claims="` + encode(got) + `"`
		if back, err := Claims([]string{again}, authority); back != got || err != nil {
			t.Errorf("%q, then %q, %v", got, back, err)
		}
	})
}
