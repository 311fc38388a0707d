package authn

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"secureapi/handler/authn/attacks"
)

// leastAttacks is how many the list must not fall below.
const leastAttacks = 430

func attackWorld(t *testing.T) (*Authenticator, attacks.World) {
	t.Helper()
	const neighbour = "11111111-2222-4333-8444-555555555555"
	key, other := newKey(t), newKey(t)
	config := goodConfig()
	config.TenantIDs = append(config.TenantIDs, neighbour)
	issuer := testHost + "/{tenantid}/v2.0"
	a, err := New(config, tenantKeys{
		testTenant: {"k1": {Public: &key.PublicKey, Issuer: issuer}}, neighbour: {"k2": {Public: &other.PublicKey, Issuer: issuer}},
	}, nothingRevoked, func() time.Time { return testNow })
	if err != nil {
		t.Fatal(err)
	}
	return a, attacks.World{
		Tenant: testTenant, Key: key, KeyID: "k1", Neighbour: neighbour, NeighbourKey: other, NeighbourID: "k2",
		Audience: testAPI, Authority: testHost, V1Host: publicV1Host, User: userClaims, App: appClaims,
		Now: testNow, Margin: 0,
	}
}

func TestEveryAttackIsRefusedForItsReason(t *testing.T) {
	a, world := attackWorld(t)
	cases, err := attacks.Cases(world)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < leastAttacks {
		t.Errorf("%d attacks, want %d or more", len(cases), leastAttacks)
	}
	names := map[string]bool{}
	for _, c := range cases {
		if names[c.Name] {
			t.Errorf("two attacks are called %q", c.Name)
		}
		names[c.Name] = true
		_, err := a.Authenticate(t.Context(), c.Header)
		if reason, verified := reasonOf(t, err); reason != c.Reason || verified != c.Verified {
			t.Errorf("%s: %q (verified %v), want %q (verified %v)", c.Name, reason, verified, c.Reason, c.Verified)
		}
		if refusal, ok := errors.AsType[*Refusal](err); ok && c.ID != "" && refusal.Principal.TokenID != c.ID {
			t.Errorf("%s: the refusal is of token %q", c.Name, refusal.Principal.TokenID)
		}
	}
	controls, err := attacks.Controls(world)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range controls {
		if _, err := a.Authenticate(t.Context(), []string{"Bearer " + token}); err != nil {
			t.Errorf("the good token %q: %v", name, err)
		}
	}
}

// Memory that one refusal may take: four times the header, for its parts, their JSON
// and the claims, and a constant for the signature's arithmetic. A parser that
// splits, copies or recurses by what a stranger sends goes beyond it.
const (
	refusalPerByte  = 4
	refusalConstant = 16 << 10
	refusalMallocs  = 128
)

func TestNoAttackCostsMuchMemory(t *testing.T) {
	a, world := attackWorld(t)
	cases, err := attacks.Cases(world)
	if err != nil {
		t.Fatal(err)
	}
	cases = append(cases,
		attacks.Case{Name: "a million dots", Header: []string{"Bearer " + strings.Repeat(".", 1<<20)}},
		attacks.Case{Name: "a megabyte of token", Header: []string{"Bearer " + strings.Repeat("a", 1<<20)}},
	)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, c := range cases {
		length := 0
		for _, value := range c.Header {
			length += len(value)
		}
		bytes, mallocs := costOf(func() {
			if _, err := a.Authenticate(t.Context(), c.Header); err == nil {
				t.Errorf("%s: accepted", c.Name)
			}
		})
		if most := uint64(refusalPerByte*length + refusalConstant); bytes > most {
			t.Errorf("%s: %d bytes for a header of %d, bound %d", c.Name, bytes, length, most)
		}
		if mallocs > refusalMallocs {
			t.Errorf("%s: %d allocations, bound %d", c.Name, mallocs, refusalMallocs)
		}
	}
}

// costOf measures what one call allocates, the least of three: other goroutines of
// the process allocate too.
func costOf(call func()) (bytes, mallocs uint64) {
	bytes, mallocs = 1<<62, 1<<62
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		call()
		runtime.ReadMemStats(&after)
		bytes, mallocs = min(bytes, after.TotalAlloc-before.TotalAlloc), min(mallocs, after.Mallocs-before.Mallocs)
	}
	return bytes, mallocs
}

// tenantKeys are key sets by tenant.
type tenantKeys map[string]map[string]Key

func (s tenantKeys) Key(_ context.Context, tenant, kid string) (Key, error) {
	key, ok := s[tenant][kid]
	if !ok {
		return Key{}, ErrUnknownKey
	}
	return key, nil
}

// What no HTTP header carries to the handler's list of attacks, and a caller of
// this package could still hand over.
func TestWhiteSpaceAndNULAreNotPassedOver(t *testing.T) {
	a, sign := edgeAuthenticator(t)
	good := sign(goodHeader(), userClaims())
	head, rest, _ := strings.Cut(good, ".")
	for name, token := range map[string]string{
		"a line end": good[:len(good)-5] + "\n" + good[len(good)-5:], "a carriage return": head + ".\r" + rest,
		"a line end behind": good + "\n", "a space behind": good + " ", "NUL behind": good + "\x00", "a tab in front": "\t" + good,
	} {
		_, err := a.Authenticate(t.Context(), []string{"Bearer " + token})
		if reason, verified := reasonOf(t, err); reason != ReasonBase64Malformed || verified {
			t.Errorf("%s: %q (verified %v)", name, reason, verified)
		}
	}
	for _, value := range []string{"", "Bearer ", "Bearer"} {
		_, err := a.Authenticate(t.Context(), []string{value})
		if reason, _ := reasonOf(t, err); reason != ReasonSchemeNotBearer {
			t.Errorf("%q: %q", value, reason)
		}
	}
}

// The binary gives each reason of the package: those of the list, and those that
// take another configuration, key set or revocation, which
// TestTheBinaryTakesNoUnfitKeyNorClient brings about.
func TestEveryReasonIsAttackedOnTheBinary(t *testing.T) {
	_, world := attackWorld(t)
	cases, err := attacks.Cases(world)
	if err != nil {
		t.Fatal(err)
	}
	given := []string{ReasonClientNotAllowed, ReasonKeyIssuer, ReasonSubjectRevoked, ReasonTokenRevoked}
	for _, c := range cases {
		given = append(given, c.Reason)
	}
	slices.Sort(given)
	if given = slices.Compact(given); !slices.Equal(given, declaredReasons(t)) {
		t.Errorf("attacks give\n%q, declared are\n%q", given, declaredReasons(t))
	}
}
