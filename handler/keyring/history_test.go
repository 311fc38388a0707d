package keyring

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"secureapi/handler/rowstore"
)

// refused expects that both a process that knows the keyring and a new one
// refuse what stands in the table, unless only history can tell.
func (b *bench) refused(onlyHistory bool) {
	b.t.Helper()
	if err := b.ring.Load(b.t.Context()); !errors.Is(err, ErrForged) {
		b.t.Errorf("a process that knows the keyring: %v", err)
	}
	err := b.process().Load(b.t.Context())
	if forged := errors.Is(err, ErrForged); forged == onlyHistory {
		b.t.Errorf("a new process: %v", err)
	}
}

func TestGenerationsShareTheStandingSecrets(t *testing.T) {
	b := newBench(t)
	before := b.keys()
	hash := before.SubjectHash("t", "s")
	key, wrapped, err := before.NewSubjectKey("t", hash)
	if err != nil {
		t.Fatal(err)
	}
	b.addGeneration(nil)
	b.addGeneration(nil)
	if err := b.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys := b.keys()
	if keys.Generation() != 3 || before.Generation() != 1 {
		t.Errorf("generation %d, the snapshot of before says %d", keys.Generation(), before.Generation())
	}
	if keys.SubjectHash("t", "s") != hash || !bytes.Equal(keys.RowSeal().Material(), before.RowSeal().Material()) {
		t.Error("a standing secret changed")
	}
	opened, err := keys.OpenSubjectKey("t", hash, wrapped)
	if err != nil || opened.ID != key.ID {
		t.Errorf("a subject key of the first generation: %v", err)
	}
	_, wrapped, err = keys.NewSubjectKey("t", hash)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.OpenSubjectKey("t", hash, wrapped); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a copy without the generation: %v", err)
	}
	status, err := b.ring.Status(t.Context())
	if err != nil || len(status) != 3 {
		t.Fatalf("status %+v, %v", status, err)
	}
	for i, want := range []string{stateDraining, stateDraining, stateCurrent} {
		if status[i].State != want || status[i].SignedBy != b.vault.signRef() || status[i].WrappedBy != wrapRef(0) {
			t.Errorf("status %+v, want state %s", status[i], want)
		}
	}
}

// TestOnlyNewGenerationsAreUnwrapped: what did not change costs no vault call.
func TestOnlyNewGenerationsAreUnwrapped(t *testing.T) {
	b := newBench(t)
	b.addGeneration(nil)
	if err := b.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.addGeneration(nil)
	before := b.vault.calls["unwrap"]
	if err := b.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Generation 2 has a new row as well, since it drains now.
	if calls := b.vault.calls["unwrap"] - before; calls != 2 {
		t.Errorf("%d unwraps for one new and one changed generation of three", calls)
	}
}

func TestImpossibleKeyringsAreRefused(t *testing.T) {
	first := func(b *bench) generation { return b.rows()[0].document }
	for name, tamper := range map[string]func(b *bench){
		"a gap": func(b *bench) {
			b.addGeneration(nil)
			b.addGeneration(nil)
			b.store.Remove(partition, rowKey(2))
		},
		"the first generation gone": func(b *bench) {
			b.addGeneration(nil)
			b.store.Remove(partition, rowKey(1))
		},
		"generation zero": func(b *bench) {
			d := first(b)
			d.Generation = 0
			b.plant(d)
		},
		"two current": func(b *bench) {
			d := first(b)
			b.addGeneration(nil)
			b.plant(d)
		},
		"none current": func(b *bench) {
			d := first(b)
			d.State = stateDraining
			b.plant(d)
		},
		"an unknown state": func(b *bench) {
			d := first(b)
			d.State = "Current"
			b.plant(d)
		},
		"an unknown state of an old one": func(b *bench) {
			b.addGeneration(nil)
			d := first(b)
			d.State = "destroyed"
			b.plant(d)
		},
		"other standing secrets": func(b *bench) {
			b.addGeneration(func(_ *generation, s *secrets) { s.RowSeal = newSecrets().RowSeal })
		},
		"standing secrets with other ids": func(b *bench) {
			b.addGeneration(func(_ *generation, s *secrets) { s.RowSeal.ID = pattern(9, 16) })
		},
		"a standing secret of zeros": func(b *bench) {
			b.addGeneration(func(_ *generation, s *secrets) { s.Cursor.Material = make([]byte, 32) })
		},
		"a standing secret missing": func(b *bench) {
			b.addGeneration(func(_ *generation, s *secrets) { s.Cursor = secret{} })
		},
		"two standing secrets with one id": func(b *bench) {
			b.addGeneration(func(_ *generation, s *secrets) { s.Cursor.ID = s.Message.ID })
		},
		"one wrapping key id twice": func(b *bench) {
			id := first(b).WrappingID
			b.addGeneration(func(d *generation, _ *secrets) { d.WrappingID = id })
		},
		"secrets of another generation": func(b *bench) {
			b.addGeneration(nil)
			b.addGeneration(nil)
			d := b.rows()[2].document
			d.Secrets = b.rows()[1].document.Secrets
			b.plant(d)
		},
		"not a document": func(b *bench) {
			b.store.Plant(rowstore.Row{Partition: partition, Key: rowKey(2), Body: []byte("{}")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			tamper(b)
			b.refused(false)
		})
	}
}

// TestOtherSignersAreRefused: the signature is right in each case, the signer
// is not the one that may sign, and the Signer under test vouches for anyone.
func TestOtherSignersAreRefused(t *testing.T) {
	for name, bend := range map[string]func(b *bench){
		"another key's name":       func(b *bench) { b.vault.signName = "kek" },
		"no name":                  func(b *bench) { b.vault.signName = "" },
		"a version that is a path": func(b *bench) { b.vault.signVersion = "../kek" },
		"no version":               func(b *bench) { b.vault.signVersion = "" },
		"an attacker's key": func(b *bench) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				b.t.Fatal(err)
			}
			honest := b.vault.sign
			b.vault.sign = key
			b.plantAgain()
			b.vault.sign = honest
		},
		"another curve": func(b *bench) {
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				b.t.Fatal(err)
			}
			b.vault.sign = key
		},
		"a short signature": func(b *bench) { b.vault.signed = func(raw []byte) []byte { return raw[:63] } },
		"a long signature":  func(b *bench) { b.vault.signed = func(raw []byte) []byte { return append(raw, 0) } },
		"a padded signature": func(b *bench) {
			b.vault.signed = func(raw []byte) []byte { return slices.Concat(raw[:32], []byte{0}, raw[32:]) }
		},
		"a zero signature": func(b *bench) { b.vault.signed = func(raw []byte) []byte { return make([]byte, len(raw)) } },
		"a swapped pair": func(b *bench) {
			b.vault.signed = func(raw []byte) []byte { return slices.Concat(raw[32:], raw[:32]) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			bend(b)
			if name != "an attacker's key" {
				b.plantAgain()
			}
			b.refused(false)
		})
	}
	for _, version := range []string{"", "../kek/1", "a?b", "a/b", "é", string(pattern('a', 65))} {
		if validVersion(version) {
			t.Errorf("version %q would go into a URL", version)
		}
	}
}

// plantAgain signs the first generation's document anew, with its counter
// raised so that nothing but the signature is wrong.
func (b *bench) plantAgain() {
	b.t.Helper()
	b.plant(b.successor())
}

// successor is the row that may follow generation 1.
func (b *bench) successor() generation {
	b.t.Helper()
	row := b.rows()[0]
	hash := row.hash()
	d := row.document
	d.Counter, d.Previous = d.Counter+1, hash[:]
	return d
}

// TestASignatureForAnotherPurposeIsRefused: the signing key also signs what is
// not a keyring row; the label of the digest keeps those signatures away.
func TestASignatureForAnotherPurposeIsRefused(t *testing.T) {
	b := newBench(t)
	document, err := marshalDocument(b.successor())
	if err != nil {
		t.Fatal(err)
	}
	h := digest(nil)
	copy(h, document) // a digest that is no digest of a labelled document
	by, value, err := b.vault.Sign(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	b.store.Plant(rowstore.Row{
		Partition: partition, Key: rowKey(1),
		Body: mustJSON(t, signedRow{Document: document, Signature: signature{By: by, Value: value}}),
	})
	b.refused(false)
}

// TestWhatOnlyHistoryShows: each row is signed by the real key. A new process
// cannot tell; one that has seen the keyring refuses.
func TestWhatOnlyHistoryShows(t *testing.T) {
	for name, tamper := range map[string]func(b *bench){
		"an older row": func(b *bench) {
			old := b.store.All()[0]
			b.plant(b.successor())
			b.load()
			b.store.Plant(old)
		},
		"another row of the same counter": func(b *bench) {
			b.plant(b.successor())
			b.load()
			d := b.rows()[0].document
			d.Updated = d.Updated.AddDate(0, 0, 1)
			b.plant(d)
		},
		"a row that follows another": func(b *bench) {
			d := b.successor()
			d.Previous = pattern(1, 32)
			b.plant(d)
		},
		"the newest generation gone": func(b *bench) {
			old := b.store.All()[0]
			b.addGeneration(nil)
			b.load()
			b.store.Remove(partition, rowKey(2))
			b.store.Plant(old)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			tamper(b)
			b.refused(true)
		})
	}
	t.Run("an earlier state with a higher counter", func(t *testing.T) {
		b := newBench(t)
		b.addGeneration(nil)
		d := b.successor()
		d.State = stateRetired
		b.plant(d)
		b.load()
		d = b.successor()
		d.State = stateDraining
		b.plant(d)
		b.refused(true)
	})
	t.Run("all generations gone", func(t *testing.T) {
		b := newBench(t)
		b.store.Remove(partition, rowKey(1))
		if err := b.ring.Load(t.Context()); !errors.Is(err, ErrForged) {
			t.Errorf("a process that knows the keyring: %v", err)
		}
		if err := b.process().Load(t.Context()); !errors.Is(err, ErrMissing) || errors.Is(err, ErrForged) {
			t.Errorf("a new process: %v", err)
		}
	})
}

func (b *bench) load() {
	b.t.Helper()
	if err := b.ring.Load(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// TestWhatMayFollowIsTaken is the control of the tests above: the same moves,
// made by the rules.
func TestWhatMayFollowIsTaken(t *testing.T) {
	b := newBench(t)
	b.plant(b.successor())
	b.load()
	b.plant(b.successor())
	b.plant(b.successor())
	b.load() // two steps at once: the one between was not seen
	b.addGeneration(nil)
	b.load()
	d := b.successor()
	d.State = stateRetired
	b.plant(d)
	b.load()
	// The same document under a new signature, as after a new signing key.
	row := b.rows()[0]
	b.plantBytes(row.bytes)
	before := b.vault.calls["unwrap"]
	b.load()
	if calls := b.vault.calls["unwrap"] - before; calls != 0 {
		t.Errorf("%d unwraps for a new signature", calls)
	}
	if b.alarmCount() != 0 {
		t.Errorf("alarms: %v", b.alarms)
	}
}

func TestARootOfAnotherSizeIsRefused(t *testing.T) {
	b := newBench(t)
	for _, root := range [][]byte{nil, pattern(1, 16), pattern(1, 64), make([]byte, 32), pattern(1, 32)} {
		d := b.successor()
		var err error
		if d.WrappedBy, d.Root, err = b.vault.Wrap(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		b.plant(d)
		b.refused(false)
	}
}
