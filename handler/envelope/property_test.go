package envelope

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func drawContext(t *rapid.T, label string) Context {
	text := rapid.StringN(0, 12, -1)
	return Context{
		Label: text.Draw(t, label+" label"), Tenant: text.Draw(t, label+" tenant"), Table: text.Draw(t, label+" table"),
		Partition: text.Draw(t, label+" partition"), Row: text.Draw(t, label+" row"), Class: text.Draw(t, label+" class"),
		Subject: text.Draw(t, label+" subject"), Counter: rapid.Uint64().Draw(t, label+" counter"),
	}
}

func sealAnything(t *rapid.T) (Key, Context, []byte, []byte) {
	key, c := NewKey(), drawContext(t, "sealed")
	plaintext := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plaintext")
	sealed, err := Seal(key, c, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return key, c, plaintext, sealed
}

func TestPropertyOpenInvertsSeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, c, plaintext, sealed := sealAnything(t)
		before := bytes.Clone(sealed)
		opened, err := Open(key, c, sealed)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Fatalf("opened %q, %v", opened, err)
		}
		if !bytes.Equal(sealed, before) {
			t.Fatal("opening changed the envelope")
		}
		if id, err := ID(sealed); err != nil || id != key.ID {
			t.Fatalf("id %x, %v", id, err)
		}
	})
}

// TestPropertyOnlyTheSameContextOpens covers every field, and what moves from
// one field to its neighbour.
func TestPropertyOnlyTheSameContextOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, c, _, sealed := sealAnything(t)
		other := c
		fields := []*string{&other.Label, &other.Tenant, &other.Table, &other.Partition, &other.Row, &other.Class, &other.Subject}
		i := rapid.IntRange(0, len(fields)).Draw(t, "field")
		switch change := rapid.IntRange(0, 2).Draw(t, "change"); {
		case i == len(fields):
			other.Counter += rapid.Uint64Range(1, 1<<63).Draw(t, "by")
		case change == 0:
			*fields[i] += rapid.StringN(1, 4, -1).Draw(t, "suffix")
		case change == 1:
			*fields[i] = rapid.StringN(0, 12, -1).Draw(t, "instead")
		default:
			next := fields[(i+1)%len(fields)]
			*fields[i], *next = *fields[i]+*next, ""
		}
		if other == c {
			t.Skip("the same context")
		}
		if opened, err := Open(key, other, sealed); !errors.Is(err, ErrForged) || opened != nil {
			t.Fatalf("opened at another place: %q, %v", opened, err)
		}
	})
}

func TestPropertyAlteredEnvelopesDoNotOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, c, _, sealed := sealAnything(t)
		altered := bytes.Clone(sealed)
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			bit := rapid.IntRange(0, 8*len(sealed)-1).Draw(t, "bit")
			altered[bit/8] ^= 1 << (bit % 8)
		case 1:
			altered = altered[:rapid.IntRange(0, len(sealed)-1).Draw(t, "length")]
		case 2:
			altered = append(altered, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "tail")...)
		default:
			i := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
			part := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "part")
			copy(altered[i:], part)
			if bytes.Equal(altered, sealed) {
				t.Skip("the same bytes")
			}
		}
		opened, err := Open(key, c, altered)
		if opened != nil || (!errors.Is(err, ErrMalformed) && !errors.Is(err, ErrKey) && !errors.Is(err, ErrForged)) {
			t.Fatalf("opened %q, %v", opened, err)
		}
	})
}

// TestPropertyOneEnvelopeOneKey: an envelope opens under no second key, not
// even under one with the same id, and two envelopes cannot be spliced.
func TestPropertyOneEnvelopeOneKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, c, plaintext, sealed := sealAnything(t)
		material := rapid.SliceOfN(rapid.Byte(), keySize, keySize).Draw(t, "material")
		twin, err := KeyFrom(key.ID, material)
		if err != nil {
			t.Skip("all zeros")
		}
		if opened, err := Open(twin, c, sealed); !errors.Is(err, ErrForged) || opened != nil {
			t.Fatalf("another key of the same id: %q, %v", opened, err)
		}
		if _, err := Open(NewKey(), c, sealed); !errors.Is(err, ErrKey) {
			t.Fatalf("another key: %v", err)
		}
		second, err := Seal(key, c, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		cut := rapid.IntRange(offSalt+1, len(sealed)-16).Draw(t, "cut")
		spliced := append(bytes.Clone(sealed[:cut]), second[cut:]...)
		if bytes.Equal(spliced, sealed) || bytes.Equal(spliced, second) {
			t.Skip("the drawn bytes around the cut are the same: an honest envelope")
		}
		if opened, err := Open(key, c, spliced); !errors.Is(err, ErrForged) || opened != nil {
			t.Fatalf("spliced at %d: %q, %v", cut, opened, err)
		}
	})
}
