package attacks

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// null is the value, where nil takes a claim out.
const null = jsonText("null")

// jsonText is JSON as it is.
type jsonText string

// MarshalJSON implements json.Marshaler.
func (t jsonText) MarshalJSON() ([]byte, error) { return []byte(t), nil }

// one changes one claim of a user's token.
func (b *builder) one(reason, claim, name string, value any) {
	b.after(reason, claim+" "+name, b.user(map[string]any{claim: value}))
}

// versions mixes versions, issuers and kinds of token.
func (b *builder) versions() {
	issuer := b.Authority + "/" + b.Tenant + "/v2.0"
	for name, value := range map[string]any{"1.0": "1.0", "2": "2", "empty": "", "missing": nil, "3.0": "3.0", "with a space": "2.0 "} {
		b.one("version_not_accepted", "ver", name, value)
	}
	b.after("version_not_accepted", "a whole token of version 1.0", b.user(map[string]any{
		"ver": "1.0", "iss": b.V1Host + "/" + b.Tenant + "/", "appid": b.User()["azp"], "appidacr": "0", "azp": nil, "azpacr": nil,
	}))
	b.one("claim_type_wrong", "ver", "a number", 2.0)
	for name, value := range map[string]any{
		"missing": nil, "empty": "", "with a slash": issuer + "/", "in upper case": strings.ToUpper(issuer), "over http": strings.Replace(issuer, "https", "http", 1), "of version 1.0": b.V1Host + "/" + b.Tenant + "/",
		"with user info": "https://login.microsoftonline.com@attacker.example/" + b.Tenant + "/v2.0", "with a port": b.Authority + ":443/" + b.Tenant + "/v2.0", "with a query": issuer + "?x", "with a fragment": issuer + "#x",
		"that looks alike": strings.Replace(issuer, "microsoft", "rnicrosoft", 1), "with a dot more": strings.Replace(issuer, ".com", ".com.", 1), "of the neighbour": b.Authority + "/" + b.Neighbour + "/v2.0",
		"common": b.Authority + "/common/v2.0", "a template": b.Authority + "/{tenantid}/v2.0", "with a path more": issuer + "/x", "percent-encoded": strings.Replace(issuer, "/v2.0", "%2fv2.0", 1), "the tenant alone": b.Tenant,
	} {
		b.one("issuer_mismatch", "iss", name, value)
	}
	b.one("issuer_mismatch", "iss", "null", null)
	b.one("claim_type_wrong", "iss", "a list", []string{issuer})
	for name, value := range map[string]any{"missing, as in an ID token": nil, "empty": "", "device": "device", "User": "User", "of both": "user app"} {
		b.one("not_an_access_token", "idtyp", name, value)
	}
	b.one("claim_type_wrong", "idtyp", "a list", []string{"user"})
	b.after("not_an_access_token", "a whole ID token", b.user(map[string]any{"idtyp": nil, "scp": nil, "azp": nil, "azpacr": nil, "nonce": "n", "name": "x"}))
}

// audiences are tokens for somebody else.
func (b *builder) audiences() {
	for name, value := range map[string]any{
		"Microsoft Graph": "00000003-0000-0000-c000-000000000000", "Graph by URL": "https://graph.microsoft.com", "the App ID URI": "api://" + b.Audience, "with a slash": b.Audience + "/", "in upper case": strings.ToUpper(b.Audience),
		"with a space": " " + b.Audience, "missing": nil, "empty": "", "the tenant": b.Tenant, "the client": b.User()["azp"], "storage": "https://storage.azure.com", "vault": "https://vault.azure.net", "a prefix": b.Audience[:35], "a wildcard": "*",
	} {
		b.one("audience_mismatch", "aud", name, value)
	}
	b.after("audience_mismatch", "AUD for aud", b.user(map[string]any{"aud": nil, "AUD": b.Audience}))
	b.one("audience_mismatch", "aud", "null", null)
	b.one("claim_type_wrong", "aud", "an empty list", []string{})
	b.one("claim_type_wrong", "aud", "a list", []string{b.Audience})
	b.one("claim_type_wrong", "aud", "a list of two", []string{"x", b.Audience})
	b.one("claim_type_wrong", "aud", "an object", map[string]string{"id": b.Audience})
}

// times goes a margin beyond each bound, and to the ends of what numbers can be.
func (b *builder) times() {
	const skew, longest = time.Minute, 29 * time.Hour
	at := func(d time.Duration) int64 { return b.Now.Add(d).Unix() }
	hourAgo := at(-time.Hour)
	b.after("expired", "exp beyond the skew", b.user(map[string]any{"exp": at(-skew - b.Margin), "iat": hourAgo, "nbf": hourAgo}))
	b.after("expired", "exp a year ago", b.user(map[string]any{"exp": at(-365 * 24 * time.Hour), "iat": at(-366 * 24 * time.Hour), "nbf": hourAgo}))
	b.after("not_yet_valid", "nbf beyond the skew", b.user(map[string]any{"nbf": at(skew + b.Margin + time.Second)}))
	b.after("not_yet_valid", "nbf tomorrow", b.user(map[string]any{"nbf": at(24 * time.Hour), "exp": at(25 * time.Hour)}))
	b.after("issued_in_future", "iat beyond the skew", b.user(map[string]any{"iat": at(skew + b.Margin + time.Second)}))
	b.after("lifetime_not_accepted", "a lifetime of a year", b.user(map[string]any{"exp": at(365 * 24 * time.Hour)}))
	b.after("lifetime_not_accepted", "a lifetime just too long", b.user(map[string]any{"iat": at(0), "nbf": at(0), "exp": at(longest + time.Second)}))
	b.after("lifetime_not_accepted", "exp before iat", b.user(map[string]any{"iat": at(0), "exp": at(-10 * time.Second)}))
	b.after("lifetime_not_accepted", "exp at iat", b.user(map[string]any{"iat": at(0), "exp": at(0)}))
	for _, claim := range []string{"exp", "nbf", "iat"} {
		b.one("time_missing", claim, "missing", nil)
		b.one("time_missing", claim, "null", null)
		b.one("time_out_of_range", claim, "negative", -1)
		b.one("time_out_of_range", claim, "the last of 64 bits", int64(1<<63-1))
		b.one("time_out_of_range", claim, "the first of 64 bits", int64(-1<<63))
		b.one("time_out_of_range", claim, "in milliseconds of the year 9999", int64(253402300800000))
		for name, value := range map[string]any{
			"a text": strconv.FormatInt(at(time.Hour), 10), "a fraction": json.RawMessage("1.5"), "in exponent form": json.RawMessage("1e10"), "a decimal zero": json.RawMessage("9999999999.0"), "1e400": json.RawMessage("1e400"),
			"2^63": json.RawMessage("9223372036854775808"), "true": true, "a list": []int64{at(time.Hour)}, "an object": map[string]int64{"value": 1},
		} {
			b.one("claim_type_wrong", claim, name, value)
		}
	}
}

// grants attacks scope and roles.
func (b *builder) grants() {
	for name, value := range map[string]any{"a text": "Vault.Writer", "numbers": []int{1}, "nested": [][]string{{"Vault.Writer"}}, "an object": map[string]bool{"Vault.Writer": true}, "a list with null in it": []any{1, "Vault.Writer"}} {
		b.one("claim_type_wrong", "roles", name, value)
	}
	for name, value := range map[string]string{
		"with a non-breaking space": "Vault.Writer\u00a0", "of letters that look alike": "Vault.Wr\u0456ter", "with NUL": "Vault.Writer\x00", "with a space": "Vault.Writer ", "with a line end": "Vault.Writer\n", "empty": "",
		"of 121 letters": strings.Repeat("r", 121), "with a zero-width joiner": "Vault\u200d.Writer", "in full width": "Ｖault.Writer",
	} {
		b.one("roles_malformed", "roles", name, []string{value})
	}
	b.one("roles_malformed", "roles", "too many", strings.Split(strings.Repeat("r,", 257), ",")[:257])
	for name, value := range map[string]any{"a list": []string{"Vault.Access"}, "an object": map[string]bool{"Vault.Access": true}, "a number": 1} {
		b.one("claim_type_wrong", "scp", name, value)
	}
	for name, value := range map[string]string{
		"with two spaces": "openid  Vault.Access", "with a tab": "Vault.Access\topenid", "with a non-breaking space": "Vault.Access\u00a0openid", "with a space behind": "Vault.Access ", "of a space": " ", "with NUL": "Vault.Access\x00",
	} {
		b.one("scope_malformed", "scp", name, value)
	}
	b.one("neither_scope_nor_role", "scp", "missing", nil)
	b.one("neither_scope_nor_role", "scp", "empty", "")
	b.one("neither_scope_nor_role", "scp", "null", null)
	b.after("scope_of_an_app", "an application with a scope", b.app(map[string]any{"scp": "Vault.Access"}))
	b.after("scope_of_an_app", "an application with an empty scope", b.app(map[string]any{"scp": ""}))
	b.after("neither_scope_nor_role", "an application without a role", b.app(map[string]any{"roles": nil}))
	b.after("neither_scope_nor_role", "an application with null for roles", b.app(map[string]any{"roles": null}))
	b.after("neither_scope_nor_role", "an application with no role in the list", b.app(map[string]any{"roles": []string{}}))
	b.after("neither_scope_nor_role", "a user's token called an application's", b.user(map[string]any{"idtyp": "app", "azpacr": "2", "scp": nil, "roles": nil}))
	b.one("claim_type_wrong", "acrs", "a text", "c1")
	b.one("claim_type_wrong", "acrs", "numbers", []int{1})
	b.one("contexts_malformed", "acrs", "with a space", []string{"c1 "})
	b.one("contexts_malformed", "acrs", "empty", []string{""})
}

// subjects attacks who the token is for.
func (b *builder) subjects() {
	oid, ok := b.User()["oid"].(string)
	if !ok {
		b.note(fmt.Errorf("the user has no oid"))
	}
	for name, value := range map[string]any{
		"missing": nil, "empty": "", "an e-mail address": "anna@example.com", "in upper case": strings.ToUpper(oid), "in braces": "{" + oid + "}", "without hyphens": strings.ReplaceAll(oid, "-", ""), "with a line end": oid + "\n",
		"a path": "../" + oid, "the star": "*", "a letter that looks alike": strings.Replace(oid, "a", "\u0430", 1) + "\u0430",
	} {
		b.one("subject_missing", "oid", name, value)
	}
	b.after("subject_missing", "sub and upn in place of oid", b.user(map[string]any{"oid": nil, "sub": oid, "upn": "anna@example.com", "preferred_username": "anna@example.com"}))
	b.one("claim_type_wrong", "oid", "a list", []string{oid})
	b.one("claim_type_wrong", "oid", "a number", 1)
	b.one("claims_overage", "_claim_names", "for groups", map[string]string{"groups": "src1"})
	b.one("claims_overage", "_claim_sources", "with a URL", map[string]any{"src1": map[string]string{"endpoint": "https://attacker.example"}})
	b.one("claims_overage", "_claim_names", "null", null)
	b.one("claims_overage", "hasgroups", "true", true)
	b.one("claims_overage", "hasgroups", "a text", "true")
	for name, value := range map[string]string{"with a line end": "a\nb", "with a space": "a b", "a path": "../x", "of 129 letters": strings.Repeat("u", 129), "with a quotation mark": `"`} {
		b.one("uti_malformed", "uti", name, value)
	}
}

// clients attacks who asks on the subject's behalf.
func (b *builder) clients() {
	client, ok := b.User()["azp"].(string)
	if !ok {
		b.note(fmt.Errorf("the user has no azp"))
	}
	for name, value := range map[string]any{"missing": nil, "empty": "", "a name": "an application", "in upper case": strings.ToUpper(client), "with a line end": client + "\n", "the star": "*"} {
		b.one("client_missing", "azp", name, value)
	}
	b.after("client_missing", "appid in place of azp", b.user(map[string]any{"azp": nil, "appid": client}))
	b.one("claim_type_wrong", "azp", "a list", []string{client})
	for name, value := range map[string]any{"of a public client": "0", "missing": nil, "empty": "", "3": "3", "02": "02", "22": "22"} {
		b.after("client_not_authenticated", "an application's azpacr "+name, b.app(map[string]any{"azpacr": value}))
	}
	b.after("claim_type_wrong", "an application's azpacr a number", b.app(map[string]any{"azpacr": 2}))
	for _, role := range []string{"Vault.Revealer", "Vault.Approver", "Vault.PrivacyOfficer", "Vault.Auditor", "Vault.Operator", "Vault.OfALaterVersion"} {
		b.after("client_secret_not_enough", "an application with a secret as "+role, b.app(map[string]any{"azpacr": "1", "roles": []string{role}}))
	}
	b.after("client_secret_not_enough", "an application with a secret, Writer beside Revealer", b.app(map[string]any{"azpacr": "1", "roles": []string{"Vault.Writer", "Vault.Revealer"}}))
}
