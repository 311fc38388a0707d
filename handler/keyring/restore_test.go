package keyring

import (
	"errors"
	"testing"
	"time"

	"secureapi/handler/rowstore"
)

// TestWhileARestoreIsUnderWayNobodyHasKeys: a process that starts has none, and
// one that runs loses its copy within WriteLife; both have them again after.
func TestWhileARestoreIsUnderWayNobodyHasKeys(t *testing.T) {
	b := newBench(t)
	running := b.process()
	if err := running.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.store.Plant(rowstore.Row{Partition: partition, Key: RestoreKey, Body: []byte("sha256 of a manifest")})
	starting := b.process()
	if _, err := starting.ForRead(t.Context()); !errors.Is(err, ErrForged) {
		t.Errorf("a process that starts: %v", err)
	}
	if err := running.Load(t.Context()); !errors.Is(err, ErrForged) {
		t.Errorf("a process that runs: %v", err)
	}
	b.pass(WriteLife + time.Second)
	if _, err := running.ForRead(t.Context()); !errors.Is(err, ErrForged) {
		t.Errorf("a process that runs, later: %v", err)
	}
	b.store.Remove(partition, RestoreKey)
	for _, k := range []*Keyring{running, starting} {
		if _, err := k.ForWrite(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
