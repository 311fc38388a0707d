package dataclass_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"secureapi/handler/dataclass"
)

func TestValuesOfManyCountries(t *testing.T) {
	for _, c := range []struct {
		class          dataclass.Class
		raw, canonical string
	}{
		{"phone", "+44 20 7946 0958", "+442079460958"},
		{"phone", "+33 1 23 45 67 89", "+33123456789"},
		{"phone", "+39 06 1234 5678", "+390612345678"},
		{"phone", "+55 (11) 91234-5678", "+5511912345678"},
		{"phone", "+91 98765 43210", "+919876543210"},
		{"phone", "+86 131 2345 6789", "+8613123456789"},
		{"phone", "+7 495 123-45-67", "+74951234567"},
		{"phone", "+234 802 123 4567", "+2348021234567"},
		{"phone", " +61/2/1234/5678 ", "+61212345678"},
		{"name", "José María García-López", "José María García-López"},
		{"name", "Jose\u0301", "Jos\u00e9"},
		{"name", "Νίκος Παπαδόπουλος", "Νίκος Παπαδόπουλος"},
		{"name", "Владимир Ильич", "Владимир Ильич"},
		{"name", "नरेन्द्र शर्मा", "नरेन्द्र शर्मा"},
		{"name", "क्\u200dष", "क्\u200dष"},
		{"name", "דוד בן־גוריון"[:len("דוד")], "דוד"},
		{"name", "สมชาย ใจดี", "สมชาย ใจดี"},
		{"name", "김철수", "김철수"},
		{"name", "レオナルド・ダ・ヴィンチ", "レオナルド・ダ・ヴィンチ"},
		{"name", "Nguyễn Văn An", "Nguyễn Văn An"},
		{"name", "Hawaiʼi", "Hawaiʼi"},
		{"name", "King, Martin L.", "King, Martin L."},
		{"email", "user+tag@sub.example.co.uk", "user+tag@sub.example.co.uk"},
		{"email", "用户@例子.公司", "用户@xn--fsqu00a.xn--55qx5d"},
		{"email", "a@faß.example", "a@xn--fa-hia.example"},
		{"email", "o'brien@example.ie", "o'brien@example.ie"},
		{"email", "a@" + strings.Repeat("b", 63) + ".example", "a@" + strings.Repeat("b", 63) + ".example"},
		{"pan", "5555 5555 5555 4444", "5555555555554444"},
		{"pan", "6011-1111-1111-1117", "6011111111111117"},
		{"pan", "3530111333300000", "3530111333300000"},
		{"pan", "30569309025904", "30569309025904"},
		{"date-of-birth", "1870-01-01", "1870-01-01"},
		{"text", "日本語 العربية 👩‍👩‍👧", "日本語 العربية 👩‍👩‍👧"},
	} {
		value, err := lookup(t, c.class).Parse(c.raw, now)
		if err != nil || value.RevealString() != c.canonical {
			t.Errorf("%s %q: %q, %v", c.class, c.raw, value.RevealString(), err)
		}
	}
}

func TestMoreRefusedValues(t *testing.T) {
	for _, c := range []struct {
		class     dataclass.Class
		raw, code string
	}{
		{"email", "a@example..com", "email_domain"},
		{"email", "a@.example.com", "email_domain"},
		{"email", "a@example.com.", "email_domain"},
		{"email", "a@" + strings.Repeat("b", 64) + ".example", "email_domain"},
		{"email", "a@exa_mple.com", "email_domain"},
		{"email", "a@xn--a.example", "email_domain"},
		{"email", "a@[127.0.0.1]", "email_domain"},
		{"email", `"a b"@example.com`, "email_local_part"},
		{"email", "a@b@example.com", "email_local_part"},
		{"email", "a\u202eb@example.com", "email_local_part"},
		{"email", ".a@example.com", "email_local_part"},
		{"email", "a.@example.com", "email_local_part"},
		{"email", "a@", "email_domain"},
		{"email", "", "email_syntax"},
		{"email", "a\xff@example.com", "email_syntax"},
		{"email", "a@" + strings.Repeat("b.", 126) + "c", "email_length"},
		{"pan", " 4111111111111111", "pan_syntax"},
		{"pan", "4111111111111111-", "pan_syntax"},
		{"pan", "4111\u00a01111 1111 1111", "pan_syntax"},
		{"pan", "1111111111111111", "pan_issuer"},
		{"pan", "4.11e15", "pan_syntax"},
		{"ssn", "078 05 1120", "ssn_syntax"},
		{"ssn", "078-05-112", "ssn_syntax"},
		{"ssn", "٠٧٨٠٥١١٢٠", "ssn_syntax"},
		{"ssn", "999999999", "ssn_unassigned"},
		{"phone", "tel:+4930901820", "phone_syntax"},
		{"phone", "+4930901820;ext=1", "phone_syntax"},
		{"phone", "+٤٩٣٠٩٠١٨٢٠", "phone_syntax"},
		{"phone", "+" + strings.Repeat("1", 40), "phone_syntax"},
		{"phone", "+123456789012345678", "phone_number"},
		{"phone", "+", "phone_number"},
		{"name", " \t\n ", "name_length"},
		{"name", "\u0301", "name_letters"},
		{"name", "Anna<script>", "name_character"},
		{"name", "Anna\x00", "name_character"},
		{"name", "Anna 👩", "name_character"},
		{"date-of-birth", "2000-2-29", "date-of-birth_syntax"},
		{"date-of-birth", "2000-02-29T00:00:00Z", "date-of-birth_syntax"},
		{"date-of-birth", " 2000-02-29", "date-of-birth_syntax"},
		{"date-of-birth", "2000-13-01", "date-of-birth_syntax"},
		{"text", "a\u0085b", "text_character"},
		{"text", "a\rb", "text_character"},
		{"text", strings.Repeat("é", 2049), "text_length"},
	} {
		value, err := lookup(t, c.class).Parse(c.raw, now)
		refused, ok := errors.AsType[*dataclass.ValueError](err)
		if !ok || refused.Code != c.code {
			t.Errorf("%s %q: %q, %v", c.class, c.raw, value.RevealString(), err)
		}
	}
}

func TestReferencesThatHideAValueAmongOthers(t *testing.T) {
	for text, want := range map[string]dataclass.Class{
		"INC-1 4111 1111 1111 1111":           dataclass.PAN,
		"2026 4111 1111 1111 1111":            dataclass.PAN,
		"4111-1111-1111-1111-12":              dataclass.PAN,
		"4111111111111111 2026-11-01":         dataclass.PAN,
		"5555555555554445 / 5555555555554444": dataclass.PAN,
		"666-12-3456 078-05-1120":             dataclass.SSN,
		"(078-05-1120)":                       dataclass.SSN,
		"x078-05-1120y":                       dataclass.SSN,
		"1078-05-1120":                        "",
		"000-12-3456":                         "",
		"900-12-3456":                         "",
		"4111111111111112":                    "",
		"<a@b.example>":                       dataclass.Email,
		"анна@пример.рф":                      dataclass.Email,
		"team@work":                           "",
		"+1 (212) 555-0123":                   dataclass.Phone,
		"C++ 2026":                            "",
		"2026-11-01T12:00:00Z":                "",
		"":                                    "",
	} {
		if got, found := dataclass.Detects(text); got != want || found != (want != "") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestEncodersDoNotShowASecret(t *testing.T) {
	const mark = "zqmark"
	secret := dataclass.NewSecret([]byte(mark))
	type holder struct{ S dataclass.Secret }
	var out bytes.Buffer
	b, err := json.Marshal(holder{secret})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"S":"[redacted]"}`, string(b)); diff != "" {
		t.Error(diff)
	}
	if b, err = xml.Marshal(holder{secret}); err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	if err := gob.NewEncoder(&out).Encode(holder{secret}); err == nil {
		t.Log("gob encodes a holder")
	}
	logger := slog.New(slog.NewTextHandler(&out, nil))
	logger.Info("x", "secret", secret, "pointer", &secret, "holder", holder{secret}, slog.Group("g", "secret", secret))
	for _, leak := range []string{mark, "7a716d61726b", "enFtYXJr"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output holds %q: %s", leak, out.String())
		}
	}
}

func TestSecretsCompareByTheirBytes(t *testing.T) {
	a, b := dataclass.NewSecret([]byte("a")), dataclass.NewSecret([]byte("a"))
	var zero dataclass.Secret
	if !a.Equal(b) || a.Equal(zero) || !zero.Equal(dataclass.NewSecret(nil)) || zero.Len() != 0 || zero.RevealString() != "" || a.Len() != 1 {
		t.Error("Equal or Len is wrong")
	}
}

func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{"tok_pan_0123456789abcdefghjkmnpqrstvwxyz", "tok__", "4111111111111112", "900-12-3456", "tok_pan_" + strings.Repeat("é", 16)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		class, err := dataclass.ParseToken(text)
		if err != nil {
			return
		}
		for _, d := range dataclass.All() {
			if _, err := d.Parse(text, now); err == nil && d.PreservesFormat() {
				t.Errorf("%q is a token of %s and a value of %s", text, class, d.Class())
			}
		}
	})
}

func FuzzDetects(f *testing.F) {
	for _, seed := range []string{"4111 1111 1111 1111", "078-05-1120", "a@b.example", "+49 30 901820", "CASE-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		class, found := dataclass.Detects(text)
		if found != (class != "") {
			t.Errorf("%q: %q, %v", text, class, found)
		}
		if _, err := lookup(t, dataclass.PAN).Parse(text, now); err == nil && class != dataclass.PAN {
			t.Errorf("the card number %q is %q", text, class)
		}
	})
}
