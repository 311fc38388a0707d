package httpapi

import (
	"fmt"
	"testing"
	"time"

	"secureapi/handler/authz"
)

// stopped is a clock that a test moves.
type stopped struct{ time.Time }

func (s *stopped) now() time.Time { return s.Time }

func person(n int) authz.Principal {
	return authz.Principal{Kind: authz.User, TenantID: "t", ObjectID: fmt.Sprint("o", n)}
}

// spend makes requests until one is refused, and gives how many were not.
func spend(t *testing.T, c *callers, p authz.Principal) (made int, over *excess) {
	t.Helper()
	for range 1000 {
		leave, over := c.enter(p)
		if over != nil {
			return made, over
		}
		leave()
		made++
	}
	t.Fatal("no limit")
	return 0, nil
}

func TestEachCallerHasAnAllowance(t *testing.T) {
	clock := &stopped{time.Unix(1_800_000_000, 0)}
	c := newCallers(Limits{Concurrent: 8, PerMinute: 60, Burst: 5}, clock.now)
	made, over := spend(t, c, person(1))
	if made != 5 || over.wait != time.Second || !over.first {
		t.Errorf("%d at once, then %+v", made, over)
	}
	if made, _ := spend(t, c, person(2)); made != 5 {
		t.Errorf("another caller has %d", made)
	}
	other := person(1)
	other.TenantID = "u"
	if made, _ := spend(t, c, other); made != 5 {
		t.Errorf("the same object id in another tenant has %d", made)
	}
	clock.Time = clock.Add(2 * time.Second)
	if made, over := spend(t, c, person(1)); made != 2 || over.first {
		t.Errorf("%d after two seconds, then %+v", made, over)
	}
	clock.Time = clock.Add(time.Hour)
	if made, over := spend(t, c, person(1)); made != 5 || !over.first {
		t.Errorf("%d after an hour, then %+v", made, over)
	}
}

// A refusal costs nothing of what is left: who tries all the time waits no
// longer than who does not.
func TestRefusalsAreNotCharged(t *testing.T) {
	clock := &stopped{time.Unix(1_800_000_000, 0)}
	c := newCallers(Limits{Concurrent: 8, PerMinute: 60, Burst: 1}, clock.now)
	for range 100 {
		_, _ = spend(t, c, person(1))
	}
	clock.Time = clock.Add(time.Second)
	if made, _ := spend(t, c, person(1)); made != 1 {
		t.Errorf("%d after a second", made)
	}
}

func TestACallerHasAQuarterOfThePlaces(t *testing.T) {
	c := newCallers(Limits{Concurrent: 8, PerMinute: 6000, Burst: 100}, time.Now)
	var leave []func()
	for range 2 {
		l, over := c.enter(person(1))
		if over != nil {
			t.Fatal("refused")
		}
		leave = append(leave, l)
	}
	if _, over := c.enter(person(1)); over == nil {
		t.Error("a third request of one caller at once")
	}
	if _, over := c.enter(person(2)); over != nil {
		t.Error("another caller is refused")
	}
	leave[0]()
	if _, over := c.enter(person(1)); over != nil {
		t.Error("the place that was left is not given again")
	}
}

// A crowd of callers pushes out those alone who have all of their allowance;
// one who has used it up stays limited, and newcomers share what is left over.
func TestNobodyIsPushedOutOfALimit(t *testing.T) {
	clock := &stopped{time.Unix(1_800_000_000, 0)}
	c := newCallers(Limits{Concurrent: 8, PerMinute: 60, Burst: 2}, clock.now)
	greedy := person(-1)
	_, _ = spend(t, c, greedy)
	for n := range maxCallers - 1 {
		leave, _ := c.enter(person(n))
		leave()
	}
	// Full, and nobody whole: the newcomers have one allowance together.
	newcomers := 0
	for n := range 100 {
		if leave, over := c.enter(person(maxCallers + n)); over == nil {
			leave()
			newcomers++
		}
	}
	if newcomers != 2 || len(c.known) != maxCallers {
		t.Errorf("%d requests of newcomers, %d callers known", newcomers, len(c.known))
	}
	if made, _ := spend(t, c, greedy); made != 0 {
		t.Errorf("the one at the limit got %d more", made)
	}
	// The crowd is whole again, and forgotten; the greedy one is neither, since
	// he goes on, and was told of.
	clock.Time = clock.Add(2 * time.Second)
	_, _ = spend(t, c, greedy)
	if leave, over := c.enter(person(2 * maxCallers)); over != nil {
		t.Error("there is no room for a newcomer")
	} else {
		leave()
	}
	if len(c.known) != 2 {
		t.Errorf("%d callers known", len(c.known))
	}
	if made, _ := spend(t, c, greedy); made != 0 {
		t.Errorf("the one at the limit got %d more after the sweep", made)
	}
}
