package authn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/authz"
)

func TestStepUpTakesAUserWithTheContext(t *testing.T) {
	a := newAuthenticator(t, staticKeys{})
	cases := map[string]authz.Principal{
		"an app":          {Kind: authz.App, AuthContexts: []string{"c1"}, IssuedAt: testNow},
		"a job":           authz.System("sweep", testTenant, ""),
		"nobody":          {AuthContexts: []string{"c1"}, IssuedAt: testNow},
		"no context":      {Kind: authz.User, IssuedAt: testNow},
		"another context": {Kind: authz.User, AuthContexts: []string{"c2", "C1", "c1 ", "c11"}, IssuedAt: testNow},
		"no issue time":   {Kind: authz.User, AuthContexts: []string{"c1"}},
		"from the future": {Kind: authz.User, AuthContexts: []string{"c1"}, IssuedAt: testNow.Add(maxSkew + time.Nanosecond)},
		"too old":         {Kind: authz.User, AuthContexts: []string{"c1"}, IssuedAt: testNow.Add(-stepUpAge - time.Nanosecond)},
	}
	for name, p := range cases {
		for _, p.ClaimsCapable = range []bool{false, true} {
			step, ok := errors.AsType[*StepUpRequired](a.RequireStepUp(p))
			if !ok {
				t.Errorf("%s: passed", name)
			} else if (step.Challenge != "") != (p.Kind == authz.User && p.ClaimsCapable) {
				t.Errorf("%s, capable %t: challenge %q", name, p.ClaimsCapable, step.Challenge)
			}
		}
	}
	p := authz.Principal{Kind: authz.User, AuthContexts: []string{"c2", "c1"}, IssuedAt: testNow}
	if err := a.RequireStepUp(p); err != nil {
		t.Error(err)
	}
}

func TestTheClaimsChallengeNamesTheContext(t *testing.T) {
	a := newAuthenticator(t, staticKeys{})
	m := regexp.MustCompile(`^Bearer realm="", authorization_uri="https://login\.microsoftonline\.com/common/oauth2/v2\.0/authorize", error="insufficient_claims", claims="([A-Za-z0-9+/=]+)"$`).
		FindStringSubmatch(a.claimsChallenge())
	if m == nil {
		t.Fatal(a.claimsChallenge())
	}
	b, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"access_token": map[string]any{"acrs": map[string]any{"essential": true, "value": "c1"}}}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestClaimsCapability(t *testing.T) {
	for claim, want := range map[string]bool{
		`["cp1"]`: true, `["cp2","cp1"]`: true, ``: false, `[]`: false, `null`: false, `["CP1"]`: false, `["cp1 "]`: false, `["cp10"]`: false,
		`"cp1"`: false, `["cp1",1]`: false, `{"cp1":true}`: false, `["cp1"`: false,
	} {
		c := claims{Capabilities: []byte(claim)}
		if got := c.principal("s").ClaimsCapable; got != want {
			t.Errorf("%s: %t", claim, got)
		}
	}
}
