package integration

import "encoding/base64"

// principal is the header by which App Service hands over whom it verified.
const principal = "X-Ms-Client-Principal"

// forgedIdentity are the headers of a caller who says that the platform had
// verified him.
func forgedIdentity() map[string]string {
	claims := `{"auth_typ":"aad","name_typ":"name","role_typ":"roles","claims":[{"typ":"roles","val":"Vault.Writer"}]}`
	return map[string]string{
		principal:                         base64.StdEncoding.EncodeToString([]byte(claims)),
		principal + "-Id":                 "6b100001-3d7e-4a15-9c02-f48e6d1b7a90",
		principal + "-Idp":                "aad",
		principal + "-Name":               "admin@example.com",
		"X-Ms-Token-Aad-Id-Token":         "eyJhbGciOiJub25lIn0.e30.",
		"X-Azure-Functions-Hostversion":   "4.1036.3.0",
		"X-Azure-Functions-Invocationid":  "c6d9f5f0-6b63-4d6a-9a5c-4a4d7b0d4a11",
		"X-Functions-Key":                 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
		"X-Forwarded-For":                 "127.0.0.1",
		"X-Original-Url":                  "/api/v1/health/live",
		"X-Rewrite-Url":                   "/SealAudit",
		"X-Http-Method-Override":          "GET",
		"X-Ms-Client-Application-Id":      "a96e2f18-d0b4-4f7c-8c63-1e5d7b3a9f55",
		"Forwarded":                       "for=127.0.0.1;by=platform",
		"X-Ms-Client-Principal-Signature": "trusted",
	}
}

const emailBody = `{"class":"email","value":"outside@example.com"}`

// timerPost is what the host posts for a tick.
const timerPost = `{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"IsPastDue":false}},` +
	`"Metadata":{"sys":{"MethodName":"SealAudit","UtcNow":"2026-01-01T00:00:00Z","RandGuid":"c6d9f5f0-6b63-4d6a-9a5c-4a4d7b0d4a11"}}}`

// outsiders are well-formed requests that climb, disguise themselves or knock
// at the doors of the platform.
func outsiders() []shape {
	var all []shape
	for _, o := range []struct {
		name, as string
		r        request
		fine     bool
	}{
		{"forged identity without a token", "", request{method: "POST", target: "/api/v1/tokens", body: emailBody, header: forgedIdentity()}, false},
		{"forged identity beside a lesser token", "reader", request{method: "POST", target: "/api/v1/tokens", body: emailBody, header: forgedIdentity()}, false},
		{"token in the query", "", request{method: "POST", target: "/api/v1/tokens?access_token={writer}", body: emailBody}, false},
		{"doubled slash", "writer", request{method: "POST", target: "/api/v1//tokens", body: emailBody}, false},
		{"slashes in front", "writer", request{method: "POST", target: "//api/v1/tokens", body: emailBody}, false},
		{"slash at the end", "writer", request{method: "POST", target: "/api/v1/tokens/", body: emailBody}, false},
		{"upper case", "writer", request{method: "POST", target: "/API/v1/Tokens", body: emailBody}, false},
		{"dot segment", "", request{method: "POST", target: "/api/v1/keys/../tokens", body: emailBody}, false},
		{"dot segment, allowed", "writer", request{method: "POST", target: "/api/v1/keys/../tokens", body: emailBody}, true},
		{"encoded letter", "", request{method: "POST", target: "/api/v1/%74okens", body: emailBody}, false},
		{"encoded letter, allowed", "writer", request{method: "POST", target: "/api/v1/%74okens", body: emailBody}, true},
		{"encoded slash", "writer", request{method: "POST", target: "/api/v1%2ftokens", body: emailBody}, false},
		{"encoded backslash", "writer", request{method: "POST", target: "/api/v1%5ctokens", body: emailBody}, false},
		{"encoded twice", "writer", request{method: "POST", target: "/api/v1/%2574okens", body: emailBody}, false},
		{"encoded question mark", "writer", request{method: "POST", target: "/api/v1/tokens%3fx", body: emailBody}, false},
		{"encoded NUL", "writer", request{method: "POST", target: "/api/v1/tokens%00", body: emailBody}, false},
		{"path parameter", "writer", request{method: "POST", target: "/api/v1/tokens;v=1", body: emailBody}, false},
		{"climbing out to a function", "", request{method: "POST", target: "/api/v1/health/live/..%5c..%5c..%5c..%5cSealAudit", body: timerPost}, false},
		{"id in upper case", "operator", request{method: "GET", target: "/api/v1/operations/{ID}"}, false},
		{"id in braces", "operator", request{method: "GET", target: "/api/v1/operations/%7b{id}%7d"}, false},
		{"id without hyphens", "operator", request{method: "GET", target: "/api/v1/operations/{hex}"}, false},
		{"id with white space", "operator", request{method: "GET", target: "/api/v1/operations/{id}%20"}, true},
		{"id with a fragment", "operator", request{method: "GET", target: "/api/v1/operations/{id}%23x"}, false},
		{"timer function from outside", "", request{method: "POST", target: "/SealAudit", body: timerPost}, false},
		{"timer function below the prefix", "operator", request{method: "POST", target: "/api/SealAudit", body: timerPost}, false},
		{"queue function from outside", "", request{method: "POST", target: "/ImportChunk", body: timerPost}, false},
		{"function by name", "writer", request{method: "POST", target: "/TokenizeValue", body: emailBody}, false},
		{"admin endpoint without a key", "operator", request{method: "POST", target: "/admin/functions/SealAudit", body: `{"input":""}`}, false},
		{"admin endpoint with a guessed key", "operator", request{method: "POST", target: "/admin/functions/SealAudit", body: `{"input":""}`, header: forgedIdentity()}, false},
		{"admin endpoint in another case", "operator", request{method: "POST", target: "/Admin/Functions/sealaudit", body: `{"input":""}`}, false},
		{"host webhooks", "operator", request{method: "POST", target: "/runtime/webhooks/x", body: `{}`}, false},
		{"metrics, profiles", "operator", request{method: "GET", target: "/debug/pprof/"}, false},
		{"variables", "operator", request{method: "GET", target: "/debug/vars"}, false},
	} {
		if o.as != "" {
			o.r.token = "{" + o.as + "}"
		}
		all = append(all, shape{section: "Identity, paths and functions", name: o.name, bytes: o.r.wire(), fine: o.fine})
	}
	return all
}
