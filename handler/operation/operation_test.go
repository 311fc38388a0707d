package operation_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secureapi/handler/authz"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/memvault"
	"secureapi/handler/operation"
	"secureapi/handler/rowseal"
	"secureapi/handler/rowstore"
)

const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"

type detail struct {
	Rows int `json:"rows"`
}

func newKeys(t testing.TB) *keyring.Keyring {
	t.Helper()
	vault, err := memvault.New()
	if err != nil {
		t.Fatal(err)
	}
	o := keyring.Options{Store: memstore.New(), Wrapper: vault, Signer: vault, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)}
	if _, err := keyring.Bootstrap(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	k, err := keyring.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t *testing.T, ops *operation.Operations[detail]) *operation.Operation[detail] {
	t.Helper()
	op := &operation.Operation[detail]{ID: operation.NewID(), Tenant: tenant, State: operation.Receiving, CreatedBy: "o"}
	if err := ops.Create(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	return op
}

func TestOneOfTwoUpdatesWins(t *testing.T) {
	store := memstore.New()
	ops := operation.New[detail]("import", store, newKeys(t), time.Now)
	op := create(t, ops)
	var wins atomic.Int64
	var group sync.WaitGroup
	var copies [8]*operation.Operation[detail]
	for i := range copies {
		var err error
		if copies[i], err = ops.Get(t.Context(), tenant, op.ID); err != nil {
			t.Fatal(err)
		}
	}
	for i, mine := range copies {
		group.Go(func() {
			mine.State, mine.Detail.Rows = operation.Running, i
			switch err := ops.Update(t.Context(), mine); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, operation.ErrChanged):
				t.Error(err)
			}
		})
	}
	group.Wait()
	got, err := ops.Get(t.Context(), tenant, op.ID)
	if err != nil || wins.Load() != 1 || got.State != operation.Running || got.Counter != 2 {
		t.Errorf("%d won; %+v, %v", wins.Load(), got, err)
	}
	if !got.OwnedBy(authz.Principal{Kind: authz.User, TenantID: tenant, ObjectID: "o"}) || got.State.Final() {
		t.Errorf("%+v", got)
	}
}

func TestACreateWhoseAnswerWasLostIsFound(t *testing.T) {
	store := memstore.New()
	ops := operation.New[detail]("import", store, newKeys(t), time.Now)
	op := &operation.Operation[detail]{ID: operation.NewID(), Tenant: tenant, State: operation.Receiving}
	if err := ops.Create(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	echo := &operation.Operation[detail]{ID: op.ID, Tenant: tenant, State: operation.Receiving}
	if err := ops.Create(t.Context(), echo); err != nil {
		t.Fatal(err)
	}
	echo.State = operation.Cancelled
	if err := ops.Update(t.Context(), echo); err != nil {
		t.Error(err)
	}
}

func TestOperationsDoNotOpenElsewhere(t *testing.T) {
	store := memstore.New()
	keys := newKeys(t)
	ops := operation.New[detail]("import", store, keys, time.Now)
	a, b := create(t, ops), create(t, ops)
	if _, err := ops.Get(t.Context(), "other-tenant", a.ID); !errors.Is(err, operation.ErrNotFound) {
		t.Errorf("other tenant: %v", err)
	}
	if _, err := operation.New[detail]("erasure", store, keys, time.Now).Get(t.Context(), tenant, a.ID); !errors.Is(err, rowseal.ErrTampered) {
		t.Errorf("other kind: %v", err)
	}
	rows := store.All()
	swapped := rows[0]
	swapped.Body = rows[1].Body
	store.Plant(swapped)
	for _, op := range []*operation.Operation[detail]{a, b} {
		if operation.Partition(tenant, op.ID) != swapped.Partition {
			continue
		}
		if _, err := ops.Get(t.Context(), tenant, op.ID); !errors.Is(err, rowseal.ErrTampered) {
			t.Errorf("swapped: %v", err)
		}
	}
	old := rows[1]
	for _, op := range []*operation.Operation[detail]{a, b} {
		if operation.Partition(tenant, op.ID) != old.Partition {
			continue
		}
		op.State = operation.Paused
		if err := ops.Update(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		for _, row := range store.All() {
			if row.Partition == old.Partition {
				row.Attributes = map[string]string{"Counter": old.Attributes["Counter"]}
				store.Plant(row)
			}
		}
		if _, err := ops.Get(t.Context(), tenant, op.ID); !errors.Is(err, rowseal.ErrTampered) {
			t.Errorf("counter lowered: %v", err)
		}
	}
}

func TestPartsCommitWithTheirOperation(t *testing.T) {
	store := memstore.New()
	keys := newKeys(t)
	ops := operation.New[detail]("import", store, keys, time.Now)
	parts := operation.NewParts[detail]("chunk", store, keys)
	op := create(t, ops)
	for _, name := range []string{"0002", "0001", "0010"} {
		insertion, err := parts.Insertion(t.Context(), tenant, op.ID, name, detail{Rows: 5})
		if err != nil {
			t.Fatal(err)
		}
		if err := ops.Update(t.Context(), op, insertion); err != nil {
			t.Fatal(err)
		}
	}
	store.EmptyPages(true)
	all, err := parts.All(t.Context(), tenant, op.ID)
	if err != nil || len(all) != 3 || all[0].Name != "0001" || all[2].Name != "0010" {
		t.Fatalf("%d parts, %v", len(all), err)
	}
	first, second := all[0], *all[0]
	first.Detail.Rows = 6
	if err := parts.Update(t.Context(), tenant, op.ID, first); err != nil {
		t.Fatal(err)
	}
	if err := parts.Update(t.Context(), tenant, op.ID, &second); !errors.Is(err, operation.ErrChanged) {
		t.Errorf("stale update: %v", err)
	}
	got, err := parts.Get(t.Context(), tenant, op.ID, "0001")
	if err != nil || got.Detail.Rows != 6 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parts.Get(t.Context(), tenant, op.ID, "0099"); !errors.Is(err, operation.ErrNotFound) {
		t.Errorf("missing part: %v", err)
	}
}

// altered has another letter at i, whichever stands there.
func altered(text string, i int) string {
	other := "A"
	if text[i] == 'A' {
		other = "B"
	}
	return text[:i] + other + text[i+1:]
}

func TestForgedMessagesAreTold(t *testing.T) {
	keys := newKeys(t)
	bell := operation.NewBell("imports", keys)
	want := operation.Doorbell{Tenant: tenant, Operation: operation.NewID(), Part: "0001", Attempt: 3}
	text, err := bell.Seal(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bell.Open(t.Context(), text); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if strings.Contains(text, tenant) || strings.HasPrefix(text, "{") {
		t.Error("the message is readable")
	}
	for name, forged := range map[string]string{
		"empty": "", "JSON": `{"operation":"x"}`, "cut": text[:len(text)-1], "padded": text + "=", "altered": altered(text, 50),
		"prefix": "d2." + text[3:],
	} {
		if _, err := bell.Open(t.Context(), forged); !errors.Is(err, operation.ErrForgedMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := operation.NewBell("erasures", keys).Open(t.Context(), text); !errors.Is(err, operation.ErrForgedMessage) {
		t.Errorf("another queue's: %v", err)
	}
	if _, err := operation.NewBell("imports", newKeys(t)).Open(t.Context(), text); !errors.Is(err, operation.ErrForgedMessage) {
		t.Errorf("another system's: %v", err)
	}
}

func TestDueOperationsAreVisitedDespiteAForgedRow(t *testing.T) {
	store := memstore.New()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	due := operation.NewDueList(store, newKeys(t), func() time.Time { return now })
	for _, id := range []string{"a", "b", "b"} {
		if err := due.Add(t.Context(), "import", tenant, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := due.Add(t.Context(), "import-purge", tenant, "other work"); err == nil {
		t.Error("an id with a space was taken")
	}
	if err := due.Add(t.Context(), "import-purge", tenant, "of-other-work"); err != nil {
		t.Fatal(err)
	}
	store.Plant(rowstore.Row{Partition: "due", Key: "import|" + tenant + "|forged", Body: []byte("x")})
	visit := func(minAge time.Duration) (ids []string, bad int) {
		err := due.Each(t.Context(), "import", minAge, func(d operation.Due) error {
			ids = append(ids, d.Operation)
			return nil
		}, func(error) { bad++ })
		if err != nil {
			t.Fatal(err)
		}
		return ids, bad
	}
	if ids, bad := visit(0); strings.Join(ids, "") != "ab" || bad != 1 {
		t.Errorf("%v, %d bad", ids, bad)
	}
	if ids, _ := visit(time.Second); len(ids) != 0 {
		t.Errorf("too young: %v", ids)
	}
	for range 2 {
		if err := due.Remove(t.Context(), "import", tenant, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if ids, _ := visit(0); strings.Join(ids, "") != "b" {
		t.Errorf("after removal: %v", ids)
	}
}

func TestPlansExpireAfterADay(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	plans := operation.NewPlans[detail]("tokenize", memstore.New(), newKeys(t), func() time.Time { return now })
	p := authz.Principal{Kind: authz.User, TenantID: tenant, ObjectID: "o"}
	reserve := func(rows int) *operation.Plan[detail] {
		t.Helper()
		plan, err := plans.Reserve(t.Context(), p, "key", [][]byte{[]byte("request")}, detail{Rows: rows})
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	if plan := reserve(1); plan.Repeated || plan.Detail.Rows != 1 {
		t.Errorf("first: %+v", plan)
	}
	now = now.Add(operation.PlanLife)
	plan := reserve(2)
	if !plan.Repeated || plan.Detail.Rows != 1 {
		t.Errorf("repeat: %+v", plan)
	}
	changed, err := plans.Replace(t.Context(), plan, detail{Rows: 7})
	if err != nil || changed.Detail.Rows != 7 {
		t.Fatal(err)
	}
	if late, err := plans.Replace(t.Context(), plan, detail{Rows: 8}); err != nil || late.Detail.Rows != 7 || !late.Repeated {
		t.Errorf("a late change: %+v, %v", late, err)
	}
	now = now.Add(time.Second)
	if plan := reserve(3); plan.Repeated || plan.Detail.Rows != 3 {
		t.Errorf("after a day: %+v", plan)
	}
}
