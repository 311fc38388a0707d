package tokenvault

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"secureapi/handler/clock/clocktest"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

const (
	subjectTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	subjectHash   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func keysOfNewRing(t *testing.T) *keyring.Keys {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	o := keyring.Options{
		Store: memstore.New(), Wrapper: vault, Signer: vault, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	if _, err := keyring.Bootstrap(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.New(o)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ring.ForWrite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// changing is a keyring that another process has changed: Load finds it out.
type changing struct {
	now, next *keyring.Keys
	loads     int
	down      error
}

func (c *changing) ForRead(context.Context) (*keyring.Keys, error)  { return c.now, nil }
func (c *changing) ForWrite(context.Context) (*keyring.Keys, error) { return c.now, nil }

func (c *changing) Load(context.Context) error {
	c.loads++
	if c.down == nil {
		c.now = c.next
	}
	return c.down
}

// plantHead stores a head sealed by this process' keyring, with a subject key
// that the other keyring wrapped.
func plantHead(t *testing.T, store *memstore.Store, seal, wrap *keyring.Keys, state string) {
	t.Helper()
	_, wrapped, err := wrap.NewSubjectKey(subjectTenant, subjectHash)
	if err != nil {
		t.Fatal(err)
	}
	body, err := rowseal.Seal(seal.RowSeal(), headPlace(subjectTenant, subjectHash),
		headDocument{State: state, Epoch: 1, Key: wrapped, Created: time.Now().UTC()})
	if err != nil {
		t.Fatal(err)
	}
	partition := partitionOf(subjectTenant, subjectHash)
	row := rowstore.Row{Partition: partition, Key: headKey(subjectHash), Body: body}
	if _, err := store.Apply(t.Context(), partition, []rowstore.Mutation{{Action: rowstore.Insert, Row: row}}); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyOfAYoungerGenerationIsLookedFor(t *testing.T) {
	old, younger := keysOfNewRing(t), keysOfNewRing(t)
	down := errors.New("table is down")
	for name, tt := range map[string]struct {
		wrappedBy *keyring.Keys
		next      *keyring.Keys
		down      error
		state     string
		want      error
		loads     int
	}{
		"known":                 {old, younger, nil, stateActive, nil, 0},
		"of a newer keyring":    {younger, younger, nil, stateActive, nil, 1},
		"of no keyring":         {younger, old, nil, stateActive, rowseal.ErrTampered, 1},
		"the table is down":     {younger, younger, down, stateActive, down, 1},
		"erased, known or not":  {younger, younger, nil, "erased", ErrErased, 0},
		"a state of tomorrow's": {old, old, nil, "frozen", ErrErased, 0},
	} {
		t.Run(name, func(t *testing.T) {
			subjects, err := newSubjects(time.Now)
			if err != nil {
				t.Fatal(err)
			}
			store, ring := memstore.New(), &changing{now: old, next: tt.next, down: tt.down}
			plantHead(t, store, old, tt.wrappedBy, tt.state)
			v := &Vault{Options: Options{Store: store, Erased: memstore.New(), Keys: ring, Clock: time.Now}, subjects: subjects}
			s, err := v.readSubject(t.Context(), old, subjectTenant, subjectHash)
			if !errors.Is(err, tt.want) || (err == nil) != (s != nil) || ring.loads != tt.loads {
				t.Errorf("%v after %d loads", err, ring.loads)
			}
			if tt.down != nil && errors.Is(err, rowseal.ErrTampered) {
				t.Error("an outage is called tampering")
			}
		})
	}
}

// An erasure calls values inaccessible when no process can have the key any
// more: one that was frozen meanwhile must not have it when it thaws.
func TestASubjectKeyDoesNotOutliveAFreeze(t *testing.T) {
	now := time.Now()
	cache, err := newSubjects(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	cache.put(&subject{tenant: subjectTenant, hash: subjectHash, read: now})
	now = clocktest.Frozen(now, subjectLife-time.Second)
	if cache.get(subjectTenant, subjectHash) == nil {
		t.Fatal("the key is gone before its time")
	}
	now = clocktest.Frozen(now, time.Second)
	if cache.get(subjectTenant, subjectHash) != nil {
		t.Error("the key outlives its time in a process that was frozen")
	}
}
