package dataclass_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"secureapi/handler/dataclass"
)

func now() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

func lookup(t testing.TB, class dataclass.Class) dataclass.Definition {
	t.Helper()
	d, ok := dataclass.Lookup(class)
	if !ok {
		t.Fatalf("no class %s", class)
	}
	return d
}

func TestValuesAndTheirMasks(t *testing.T) {
	cases := []struct {
		class                  dataclass.Class
		raw, canonical, masked string
	}{
		{"pan", "4111-1111-1111-1111", "4111111111111111", "************1111"},
		{"pan", "378282246310005", "378282246310005", "***********0005"},
		{"pan", "6304000000000000", "6304000000000000", "************0000"},
		{"ssn", "078051120", "078-05-1120", "***-**-1120"},
		{"email", "Anna.Berg@EXAMPLE.com", "Anna.Berg@example.com", "A***@***.com"},
		{"email", "ab@example.com", "ab@example.com", "***@***.com"},
		{"email", "анна@пример.рф", "анна@xn--e1afmkfd.xn--p1ai", "а***@***.xn--p1ai"},
		{"email", "jo\u0308rg@b\u00fccher.example", "j\u00f6rg@xn--bcher-kva.example", "j***@***.example"},
		{"phone", "+49 (30) 901-820", "+4930901820", "+********20"},
		{"phone", "+1 212.555.0123", "+12125550123", "+*********23"},
		{"phone", "+81 3-1234-5678", "+81312345678", "+*********78"},
		{"name", "  Anna   Müller ", "Anna Müller", "A*** M***"},
		{"name", "O’Brien", "O’Brien", "O***"},
		{"name", "王小明", "王小明", "王***"},
		{"name", "محمد علي", "محمد علي", "م*** ع***"},
		{"name", "X", "X", "***"},
		{"date-of-birth", "2000-02-29", "2000-02-29", "****-**-**"},
		{"date-of-birth", "2026-11-02", "2026-11-02", "****-**-**"},
		{"text", "line\n\tnext", "line\n\tnext", "***"},
	}
	for _, c := range cases {
		d := lookup(t, c.class)
		value, err := d.Parse(c.raw, now)
		if err != nil {
			t.Errorf("%s %q: %v", c.class, c.raw, err)
			continue
		}
		if value.RevealString() != c.canonical || d.Mask(value) != c.masked {
			t.Errorf("%s %q: %q, masked %q", c.class, c.raw, value.RevealString(), d.Mask(value))
		}
		again, err := d.Parse(value.RevealString(), now)
		if err != nil || !again.Equal(value) {
			t.Errorf("%s %q: canonical form is not stable: %v", c.class, c.raw, err)
		}
	}
}

func TestRefusedValuesHaveACodeAndAreNotTold(t *testing.T) {
	cases := []struct {
		class     dataclass.Class
		raw, code string
	}{
		{"pan", "4111111111111112", "pan_checksum"},
		{"pan", "41111111111", "pan_syntax"},
		{"pan", "4111  1111 1111 1111", "pan_syntax"},
		{"pan", "41111111111111111111", "pan_syntax"},
		{"pan", "４１１１111111111111", "pan_syntax"},
		{"pan", "0000000000000000", "pan_issuer"},
		{"pan", "", "pan_syntax"},
		{"ssn", "000-12-3456", "ssn_unassigned"},
		{"ssn", "666-12-3456", "ssn_unassigned"},
		{"ssn", "900-12-3456", "ssn_unassigned"},
		{"ssn", "123-00-4567", "ssn_unassigned"},
		{"ssn", "123-45-0000", "ssn_unassigned"},
		{"ssn", "123-456789", "ssn_syntax"},
		{"email", "anna", "email_syntax"},
		{"email", "@b.example", "email_syntax"},
		{"email", "a..b@example.com", "email_local_part"},
		{"email", "a b@example.com", "email_local_part"},
		{"email", strings.Repeat("a", 65) + "@example.com", "email_local_part"},
		{"email", "a@localhost", "email_domain"},
		{"email", "a@-example.com", "email_domain"},
		{"email", "a@0.\u2135", "email_canonical"},
		{"email", "a@example.com\n", "email_domain"},
		{"phone", "030 901820", "phone_syntax"},
		{"phone", "+49 30 90182O", "phone_syntax"},
		{"phone", "+1", "phone_number"},
		{"phone", "+999 123456", "phone_number"},
		{"phone", "+43000000", "phone_canonical"},
		{"phone", "+1 5550123", "phone_number"},
		{"name", "", "name_length"},
		{"name", strings.Repeat("a", 201), "name_length"},
		{"name", "R2D2", "name_character"},
		{"name", "Anna\u202eb", "name_character"},
		{"name", "...", "name_letters"},
		{"name", "a\xffb", "name_encoding"},
		{"date-of-birth", "2026-11-03", "date-of-birth_future"},
		{"date-of-birth", "1999-02-29", "date-of-birth_syntax"},
		{"date-of-birth", "29.02.2000", "date-of-birth_syntax"},
		{"date-of-birth", "1869-12-31", "date-of-birth_too_early"},
		{"text", "", "text_length"},
		{"text", strings.Repeat("x", 4097), "text_length"},
		{"text", "a\x00b", "text_character"},
		{"text", "a\xffb", "text_encoding"},
	}
	for _, c := range cases {
		_, err := lookup(t, c.class).Parse(c.raw, now)
		refused, ok := errors.AsType[*dataclass.ValueError](err)
		if !ok || refused.Code != c.code || refused.Class != c.class {
			t.Errorf("%s %q: %v", c.class, c.raw, err)
		}
		if err != nil && len(c.raw) > 3 && strings.Contains(err.Error(), c.raw) {
			t.Errorf("%s: the error holds the value", c.class)
		}
	}
	if _, known := dataclass.Lookup("PAN"); known {
		t.Error("class names fold case")
	}
}

func TestOpaqueTokensNameTheirClass(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range dataclass.All() {
		for range 200 {
			token, err := d.Token(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			class, err := dataclass.ParseToken(token)
			if err != nil || class != d.Class() || seen[token] || len(token) != 40 {
				t.Errorf("%s: %q is %s, %v", d.Class(), token, class, err)
			}
			seen[token] = true
		}
	}
	for _, text := range []string{
		"", "tok_", "tok_pan_", "tok_xxx_0123456789abcdefghjkmnpqrstvwxyz", "tok_pan_0123456789abcdefghjkmnpqrstvwxyi",
		"TOK_pan_0123456789abcdefghjkmnpqrstvwxyz", "4111111111111111", "078-05-1120", "anna@example.com",
	} {
		if class, err := dataclass.ParseToken(text); err == nil {
			t.Errorf("%q is a token of %s", text, class)
		}
	}
}

func TestFormatPreservingTokensAreNeverValues(t *testing.T) {
	values := map[dataclass.Class]string{"pan": "4111111111111111", "ssn": "078-05-1120"}
	for _, d := range dataclass.All() {
		raw, preserves := values[d.Class()]
		if d.PreservesFormat() != preserves {
			t.Errorf("%s preserves its format: %v", d.Class(), d.PreservesFormat())
		}
		if !preserves {
			if _, err := d.FormatPreserving(rand.Reader, dataclass.NewSecret([]byte("x"))); !errors.Is(err, dataclass.ErrFormatUnsupported) {
				t.Errorf("%s: %v", d.Class(), err)
			}
			continue
		}
		value, err := d.Parse(raw, now)
		if err != nil {
			t.Fatal(err)
		}
		for range 2000 {
			token, err := d.FormatPreserving(rand.Reader, value)
			if err != nil {
				t.Fatal(err)
			}
			if len(token) != len(raw) || token[len(token)-4:] != raw[len(raw)-4:] {
				t.Errorf("%s: %q", d.Class(), token)
			}
			if _, err := d.Parse(token, now); err == nil {
				t.Errorf("%s: token %q is a value", d.Class(), token)
			}
			if class, err := dataclass.ParseToken(token); err != nil || class != d.Class() {
				t.Errorf("%s: %q is %s, %v", d.Class(), token, class, err)
			}
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	const mark = "zqmark"
	secret := dataclass.NewSecret([]byte(mark))
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb, secret)
		fmt.Fprintf(&out, verb, &secret)
		fmt.Fprintf(&out, verb, struct{ s dataclass.Secret }{secret})
		fmt.Fprintf(&out, verb, []dataclass.Secret{secret})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret)
	b, err := json.Marshal(map[string]any{"s": secret})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	for _, leak := range []string{mark, "7a716d61726b", "7A716D61726B", "122 113 109", "enFtYXJr"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output holds %q: %s", leak, out.String())
		}
	}
}

func TestReferencesThatHoldPersonalData(t *testing.T) {
	for text, want := range map[string]dataclass.Class{
		"CASE-2026-004711": "", "INC0012345": "", "FRAUD-1234": "", "A-078051120": "",
		"REF 4111 1111 1111 1111": "pan", "X4111111111111111": "pan", "SSN 078-05-1120": "ssn",
		"ask anna@example.com": "email", "call +49 30 901820": "phone",
	} {
		if class, _ := dataclass.Detects(text); class != want {
			t.Errorf("%q: %q, want %q", text, class, want)
		}
	}
}

func TestCanonicalFormsAreStable(t *testing.T) {
	for _, d := range dataclass.All() {
		rapid.Check(t, func(t *rapid.T) {
			value, err := d.Parse(rapid.String().Draw(t, "raw"), now)
			if err != nil {
				return
			}
			again, err := d.Parse(value.RevealString(), now)
			if err != nil || !again.Equal(value) {
				t.Fatalf("%s: canonical form is not stable: %v", d.Class(), err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"4111 1111 1111 1111", "078-05-1120", "anna@example.com", "+49 30 901820", "Anna Müller", "1980-02-29"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, d := range dataclass.All() {
			value, err := d.Parse(raw, now)
			if err != nil {
				continue
			}
			if again, err := d.Parse(value.RevealString(), now); err != nil || !again.Equal(value) {
				t.Errorf("%s: canonical form of %q is not stable: %v", d.Class(), raw, err)
			}
			if masked := d.Mask(value); len(raw) > 4 && strings.Contains(masked, value.RevealString()) {
				t.Errorf("%s: the mask of %q holds it", d.Class(), raw)
			}
		}
		dataclass.Detects(raw)
		if _, err := dataclass.ParseToken(raw); err != nil && strings.Contains(err.Error(), raw) && raw != "" && len(raw) > 5 {
			t.Errorf("the error holds %q", raw)
		}
	})
}
