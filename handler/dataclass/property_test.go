package dataclass_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secureapi/handler/dataclass"
)

func drawSource(t *rapid.T) io.Reader {
	var seed [32]byte
	copy(seed[:], rapid.SliceOfN(rapid.Byte(), len(seed), len(seed)).Draw(t, "seed"))
	return rand.NewChaCha8(seed)
}

func withCheckDigit(digits string) string {
	for d := range 10 {
		full := digits + string(rune('0'+d))
		sum := 0
		for i := range len(full) {
			n := int(full[len(full)-1-i] - '0')
			if i%2 == 1 {
				n = n*2/10 + n*2%10
			}
			sum += n
		}
		if sum%10 == 0 {
			return full
		}
	}
	panic("no check digit")
}

// likely draws texts that are often values of the class.
func likely(class dataclass.Class) *rapid.Generator[string] {
	switch class {
	case dataclass.PAN:
		return rapid.Map(rapid.StringMatching(`[1-9][0-9]{10,17}`), withCheckDigit)
	case dataclass.SSN:
		return rapid.StringMatching(`[0-8][0-9]{2}-?[0-9]{2}-?[0-9]{4}`)
	case dataclass.Email:
		return rapid.StringMatching(`[\pL\pM0-9.+'-]{1,20}@([\pL\pN-]{1,12}\.){1,3}[\pL]{1,8}`)
	case dataclass.Phone:
		return rapid.StringMatching(`\+[1-9][0-9]{0,2}[ (.-]?[0-9]{1,5}[ ).-]?[0-9]{2,9}`)
	case dataclass.Name:
		return rapid.StringMatching(`[ \pZ]{0,2}[\pL\pM'’ ‐.·-]{1,40}`)
	case dataclass.DateOfBirth:
		return rapid.StringMatching(`(18|19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]`)
	default:
		return rapid.StringMatching(`[\pL\pM\pZ\pP\pS\n\t]{1,60}`)
	}
}

func TestLikelyValuesHaveAStableCanonicalForm(t *testing.T) {
	for _, d := range dataclass.All() {
		t.Run(string(d.Class()), func(t *testing.T) {
			taken := 0
			rapid.Check(t, func(t *rapid.T) {
				value, err := d.Parse(likely(d.Class()).Draw(t, "raw"), now)
				if err != nil {
					return
				}
				taken++
				again, err := d.Parse(value.RevealString(), now)
				if err != nil || !again.Equal(value) {
					t.Fatalf("%q becomes %q: %v", value.RevealString(), again.RevealString(), err)
				}
				if mask := d.Mask(value); d.Class() != dataclass.Text && strings.Contains(mask, value.RevealString()) || !strings.Contains(mask, "*") {
					t.Fatalf("%q is masked %q", value.RevealString(), mask)
				}
				if class, err := dataclass.ParseToken(value.RevealString()); err == nil && d.PreservesFormat() {
					t.Fatalf("%q is a token of %s", value.RevealString(), class)
				}
			})
			if taken == 0 {
				t.Error("no value was taken")
			}
		})
	}
}

func TestDrawnTokensNameTheirClass(t *testing.T) {
	for _, d := range dataclass.All() {
		rapid.Check(t, func(t *rapid.T) {
			token, err := d.Token(drawSource(t))
			if err != nil {
				t.Fatal(err)
			}
			if class, err := dataclass.ParseToken(token); err != nil || class != d.Class() {
				t.Fatalf("%q is %q, %v", token, class, err)
			}
			at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
			if class, err := dataclass.ParseToken(token[:at] + token[at+1:]); err == nil {
				t.Fatalf("%q without byte %d is a token of %s", token, at, class)
			}
		})
	}
}

func TestDrawnFormatPreservingTokens(t *testing.T) {
	preserving := []dataclass.Definition{lookup(t, dataclass.PAN), lookup(t, dataclass.SSN)}
	for _, d := range preserving {
		class := d.Class()
		rapid.Check(t, func(t *rapid.T) {
			value, err := d.Parse(likely(class).Draw(t, "raw"), now)
			if err != nil {
				return
			}
			token, err := d.FormatPreserving(drawSource(t), value)
			if err != nil {
				t.Fatal(err)
			}
			canonical := value.RevealString()
			if len(token) != len(canonical) || token[len(token)-4:] != canonical[len(canonical)-4:] {
				t.Fatalf("%q is the token of %q", token, canonical)
			}
			for _, other := range preserving {
				if _, err := other.Parse(token, now); err == nil {
					t.Fatalf("%q is a value of %s", token, other.Class())
				}
			}
			if got, err := dataclass.ParseToken(token); err != nil || got != class {
				t.Fatalf("%q is %q, %v", token, got, err)
			}
		})
	}
}

func TestAnyDigitsAreEitherACardNumberOrItsToken(t *testing.T) {
	d := lookup(t, dataclass.PAN)
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[0-9]{12,19}`).Draw(t, "digits")
		_, valueErr := d.Parse(digits, now)
		_, tokenErr := dataclass.ParseToken(digits)
		if valueErr == nil && tokenErr == nil {
			t.Fatal("both")
		}
	})
}

func TestATokenTakesItsRandomBytes(t *testing.T) {
	value := dataclass.NewSecret([]byte("4111111111111111"))
	for _, d := range dataclass.All() {
		if _, err := d.Token(strings.NewReader("short")); err == nil {
			t.Errorf("%s: a token without random bytes", d.Class())
		}
	}
	if _, err := lookup(t, dataclass.PAN).FormatPreserving(strings.NewReader("short"), value); err == nil {
		t.Error("a token without random bytes")
	}
}

func TestDrawnValuesDoNotPrint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mark := "zq" + rapid.StringMatching(`[a-z]{8,20}`).Draw(t, "mark")
		verb := rapid.SampledFrom([]string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% X", "%d", "%o", "%b", "%U", "%T", "%p", "%!", "%10.3s"}).Draw(t, "verb")
		secret := dataclass.NewSecret([]byte(mark))
		for _, v := range []any{
			secret, &secret,
			[]any{secret},
			map[string]any{"s": secret},
			struct{ S dataclass.Secret }{secret},
			struct{ s *dataclass.Secret }{&secret},
			fmt.Errorf("%w: %v", io.EOF, secret),
		} {
			out := strings.ToLower(fmt.Sprintf(verb, v))
			if strings.Contains(out, mark) || strings.Contains(out, fmt.Sprintf("%x", mark)) || strings.Contains(out, fmt.Sprintf("%d", []byte(mark)[:4])[1:12]) {
				t.Fatalf("%s of %T prints %q", verb, v, out)
			}
		}
	})
}
