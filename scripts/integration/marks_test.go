package integration

import (
	"bytes"
	"crypto/md5" //nolint:gosec // G501: a digest that must not be found
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // G505: a digest that must not be found
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// mark is a value that cannot occur by chance, in the form that a caller sends
// and in the one that the vault keeps.
type mark struct{ name, raw, canonical string }

// marks draws one value of each data class.
func marks(t *testing.T) map[string]mark {
	t.Helper()
	letters := func(n int) string { return strings.ToLower(rand.Text())[:n] }
	pan := "4" + digits(t, 14)
	pan += luhn(pan)
	ssn := "5" + digits(t, 2) + "-4" + digits(t, 1) + "-7" + digits(t, 3)
	phone := "+49151" + digits(t, 8)
	first, last := "Zqü"+alphabetic(letters(12)), "Qz"+alphabetic(letters(12))
	// Nobody logs a day of that century by chance.
	born := fmt.Sprintf("190%s-0%d-2%s", digits(t, 1), 1+number(t, 9), digits(t, 1))
	email := "zq" + letters(18) + "@example.org"
	text := "zq-" + letters(22)
	return map[string]mark{
		"pan":           {"pan", pan[:4] + " " + pan[4:8] + " " + pan[8:12] + " " + pan[12:], pan},
		"ssn":           {"ssn", strings.ReplaceAll(ssn, "-", ""), ssn},
		"email":         {"email", email, email},
		"phone":         {"phone", phone[:3] + " " + phone[3:6] + " " + phone[6:], phone},
		"name":          {"name", first + "  " + last, first + " " + last},
		"date-of-birth": {"date-of-birth", born, born},
		"text":          {"text", text, text},
	}
}

func number(t *testing.T, below int64) int64 {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(below))
	if err != nil {
		t.Fatal(err)
	}
	return n.Int64()
}

func digits(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	for range n {
		fmt.Fprint(&b, number(t, 10))
	}
	return b.String()
}

// alphabetic replaces the digits of base 32 by letters.
func alphabetic(s string) string {
	return strings.NewReplacer("2", "k", "3", "l", "4", "m", "5", "n", "6", "o", "7", "p").Replace(s)
}

// luhn is the check digit behind s.
func luhn(s string) string {
	sum := 0
	for i := range len(s) {
		d := int(s[len(s)-1-i] - '0')
		if i%2 == 0 {
			d *= 2
			if d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return fmt.Sprint((10 - sum%10) % 10)
}

// forms are all the bytes by which a value could stand somewhere.
func forms(value string) map[string][]byte {
	b := []byte(value)
	escaped := new(strings.Builder)
	for _, unit := range utf16.Encode([]rune(value)) {
		if unit < 0x80 {
			escaped.WriteByte(byte(unit))
		} else {
			fmt.Fprintf(escaped, `\u%04x`, unit)
		}
	}
	var wide []byte
	for _, unit := range utf16.Encode([]rune(value)) {
		wide = binary.LittleEndian.AppendUint16(wide, unit)
	}
	all := map[string][]byte{
		"raw": b, "JSON": []byte(escaped.String()), "UTF-16LE": wide,
		"percent": []byte(url.PathEscape(value)), "query": []byte(url.QueryEscape(value)),
		"hex": []byte(hex.EncodeToString(b)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(b))),
	}
	for offset := range 3 {
		shifted := append(make([]byte, offset), b...)
		// The characters that depend on the value alone.
		from, to := (offset*8+5)/6, (offset+len(b))*8/6
		all[fmt.Sprintf("base64+%d", offset)] = []byte(base64.RawStdEncoding.EncodeToString(shifted)[from:to])
		all[fmt.Sprintf("base64url+%d", offset)] = []byte(base64.RawURLEncoding.EncodeToString(shifted)[from:to])
	}
	h256, h1, h5 := sha256.Sum256(b), sha1.Sum(b), md5.Sum(b) //nolint:gosec // G401: digests that must not be found
	for name, sum := range map[string][]byte{"SHA-256": h256[:], "SHA-1": h1[:], "MD5": h5[:]} {
		all[name+" hex"] = []byte(hex.EncodeToString(sum))
		all[name+" base64"] = []byte(base64.RawStdEncoding.EncodeToString(sum)[:len(sum)*8/6])
		all[name] = sum
	}
	return all
}

// haystack is every file below a folder.
type haystack map[string][]byte

func readAll(t *testing.T, dir string) haystack {
	t.Helper()
	h := haystack{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		h[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// find tells in which files a form of the value stands. Text formats that hold
// text escape it once more: a backslash of the JSON form may be doubled.
func (h haystack) find(form []byte) (files []string) {
	again, err := json.Marshal(string(form))
	if err != nil {
		again = form
	}
	again = bytes.Trim(again, `"`)
	for path, content := range h {
		if bytes.Contains(content, form) || bytes.Contains(content, again) {
			files = append(files, path)
		}
	}
	return files
}
