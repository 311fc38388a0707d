package attacks

import (
	"strings"
)

// authorization attacks the header itself (RFC 6750, section 2.1).
func (b *builder) authorization() {
	good := b.mint(b.header(), b.user(nil))
	add := func(reason, name string, values ...string) {
		b.cases = append(b.cases, Case{Name: name, Header: values, Reason: reason})
	}
	add("authorization_missing", "no header")
	add("authorization_repeated", "two headers", "Bearer "+good, "Bearer "+good)
	add("authorization_repeated", "two headers, one empty", "Bearer "+good, "")
	add("authorization_repeated", "two schemes", "Basic QTpC", "Bearer "+good)
	add("authorization_too_long", "a header of 17 KiB", "Bearer "+strings.Repeat("a", 17<<10))
	add("authorization_too_long", "20,000 dots", "Bearer "+strings.Repeat(".", 20_000))
	for _, scheme := range []string{"Basic", "DPoP", "Token", "JWT", "Bearer:", "Bearer,", "\"Bearer\"", "Negotiate"} {
		add("scheme_not_bearer", "scheme "+scheme, scheme+" "+good)
	}
	add("scheme_not_bearer", "no scheme", good)
	add("scheme_not_bearer", "the scheme alone", "Bearer")
	add("scheme_not_bearer", "a tab for the space", "Bearer\t"+good)
	add("base64_malformed", "two spaces", "Bearer  "+good)
	add("base64_malformed", "a quoted token", `Bearer "`+good+`"`)
	add("base64_malformed", "parameters behind the token", "Bearer "+good+", realm=x")
}

// structure attacks the compact serialisation (RFC 7515, section 7.1).
func (b *builder) structure() {
	good := b.mint(b.header(), b.user(nil))
	parts := strings.Split(good, ".")
	head, body, signature := parts[0], parts[1], parts[2]
	for name, token := range map[string]string{
		"one part": head, "two parts": head + "." + body, "four parts": good + ".x", "five parts, as encrypted": good + ".x.y",
		"dots only": "....", "15,000 dots": strings.Repeat(".", 15_000), "JSON serialisation": `{"payload":"` + body + `"}`,
		"two tokens": good + good, "a dot too many": good + ".", "a nested token": good + "." + good,
	} {
		b.before("not_three_parts", name, token)
	}
	last := strings.IndexByte(alphabet, signature[len(signature)-1])
	for name, token := range map[string]string{
		"padding": good + "=", "padding in the header": head + "=." + body + "." + signature,
		"plus": head + "." + body + ".+" + signature[1:], "slash": head + "." + body + "./" + signature[1:],
		"spare bits of the signature": good[:len(good)-1] + string(alphabet[last^1]),
		"a space inside":              head + " ." + body + "." + signature,
		"a percent sign":              head + "." + body + ".%2e" + signature[4:],
		"a letter that looks alike":   head + "." + body + ".\u0430" + signature[1:],
		"a length of no encoding":     head + "." + body + "x." + signature,
	} {
		b.before("base64_malformed", name, token)
	}
	b.before("header_malformed", "no header part", "."+body+"."+signature)
	b.before("header_malformed", "two dots alone", "..")
	b.before("header_member_not_allowed", "header and claims swapped", body+"."+head+"."+signature)
	b.before("claims_malformed", "no claims part", head+".."+signature)
	b.before("signature_invalid", "no signature part", head+"."+body+".")
	b.before("too_deep", "a deep header", b.mint(`{"alg":`+nested(9)+`}`, b.user(nil)))
	b.before("too_deep", "deep claims", b.mint(b.header(), `{"tid":`+nested(9)+`}`))
	b.before("too_deep", "deep behind an escaped quotation mark", b.mint(b.header(), `{"a":"\"","b":`+nested(9)+`}`))
	b.before("too_deep", "very deep claims", b.mint(b.header(), `{"tid":`+nested(4_000)+`}`))
	for name, header := range map[string]string{
		"header null": "null", "header a list": "[]", "header a text": `"RS256"`, "header no JSON": "RS256", "header cut off": `{"alg":"RS256"`,
		"header with a BOM": "\ufeff" + `{"alg":"RS256","kid":"x","typ":"JWT"}`, "header with more behind": `{"alg":"RS256","kid":"x","typ":"JWT"} {}`,
		"header with a comment": `{"alg":"RS256",/**/"kid":"x","typ":"JWT"}`, "header of bad UTF-8": "{\"alg\":\"RS256\xff\",\"kid\":\"x\",\"typ\":\"JWT\"}",
		"header with a lone surrogate": `{"alg":"RS256","kid":"\ud800","typ":"JWT"}`,
	} {
		reason := "header_malformed"
		if header == "null" { // an empty header
			reason = "algorithm_not_allowed"
		}
		b.before(reason, name, b.mint(header, b.user(nil)))
	}
	b.before("header_member_not_allowed", "ALG for alg", b.mint(`{"ALG":"RS256","kid":"x","typ":"JWT"}`, b.user(nil)))
	b.before("header_duplicate_name", "alg twice", b.mint(`{"alg":"RS256","alg":"none","kid":"x","typ":"JWT"}`, b.user(nil)))
	b.before("header_duplicate_name", "kid twice, once escaped", b.mint(`{"alg":"RS256","kid":"x","\u006bid":"y","typ":"JWT"}`, b.user(nil)))
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// payloads attacks the claims' JSON. Names are compared to the letter, and what no
// parser agrees on is refused whole.
func (b *builder) payloads() {
	for name, claims := range map[string]string{
		"claims a list": "[]", "claims a text": `"x"`, "claims a number": "1", "claims no JSON": "tid", "claims cut off": `{"tid":"x"`,
		"claims with a BOM": "\ufeff{}", "claims with more behind": `{"tid":"x"} {}`, "claims of bad UTF-8": "{\"tid\":\"\xff\"}",
		"claims with a lone surrogate": `{"tid":"\udfff"}`, "claims with a comma too many": `{"tid":"x",}`, "claims in single quotes": `{'tid':'x'}`,
		"claims with a comment": `{"tid":"x"/**/}`, "claims with a leading zero": `{"tid":"x","exp":01}`, "claims with NaN": `{"tid":"x","exp":NaN}`, "tid a list": `{"tid":["` + b.Tenant + `"]}`,
		"tid a number": `{"tid":1}`, "tid an object": `{"tid":{"value":"` + b.Tenant + `"}}`,
	} {
		b.before("claims_malformed", name, b.mint(b.header(), claims))
	}
	for name, claims := range map[string]string{
		"tid twice": `{"tid":"` + b.Tenant + `","tid":"x"}`, "a claim of no interest twice": `{"tid":"` + b.Tenant + `","x":1,"x":2}`,
		"a name twice, once escaped": `{"tid":"` + b.Tenant + `","\u0074id":"x"}`, "twice inside another": `{"tid":"` + b.Tenant + `","x":{"y":1,"y":2}}`,
	} {
		b.before("claims_duplicate_name", name, b.mint(b.header(), claims))
	}
	for name, tenant := range map[string]any{
		"tid missing": nil, "tid empty": "", "tid of a stranger": "11111111-1111-4111-8111-111111111111", "tid in upper case": strings.ToUpper(b.Tenant),
		"tid common": "common", "tid organizations": "organizations", "tid of personal accounts": "9188040d-6c67-4c5b-b112-36a304b66dad",
		"tid with a space": b.Tenant + " ", "tid with NUL": b.Tenant + "\x00", "tid a path": "../" + b.Tenant, "tid a URL": b.Authority + "/" + b.Tenant,
		"tid in braces": "{" + b.Tenant + "}",
	} {
		b.before("tenant_not_allowed", name, b.mint(b.header(), b.user(map[string]any{"tid": tenant})))
	}
	b.before("tenant_not_allowed", "claims null", b.mint(b.header(), "null"))
	b.before("tenant_not_allowed", "claims empty", b.mint(b.header(), "{}"))
	b.before("tenant_not_allowed", "brackets in a text are no depth", b.mint(b.header(), `{"tid":"`+strings.Repeat("[", 64)+`"}`))
	b.before("tenant_not_allowed", "TID for tid", b.mint(b.header(), b.user(map[string]any{"tid": nil, "TID": b.Tenant})))
}
