package integration

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"secureapi/scripts/devstack/host"
)

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

// testOutsideTheTable is what a caller can send beside the routes as written.
func testOutsideTheTable(t *testing.T, a *app, mode host.Mode, id string) {
	// In forwarding mode the host itself decodes the path, so that the handler
	// meets the ordinary one: an ordinary request, with an ordinary refusal.
	decoded := func(proxying, forwarding int) int {
		if mode == host.Forwarding {
			return forwarding
		}
		return proxying
	}
	for _, tt := range []struct {
		name string
		as   string
		r    request
		want int
	}{
		{"forged identity without a token", "", request{method: "POST", target: "/api/v1/tokens", body: emailBody, header: forgedIdentity()}, 401},
		{"forged identity beside a lesser token", "reader", request{method: "POST", target: "/api/v1/tokens", body: emailBody, header: forgedIdentity()}, 403},
		{"forged identity at the handler's port", "", request{method: "POST", target: "/api/v1/tokens", body: emailBody, header: forgedIdentity(), direct: true}, 401},
		{"token in the query", "", request{method: "POST", target: "/api/v1/tokens?access_token=" + a.token(t, "writer"), body: emailBody}, 401},

		{"doubled slash", "writer", request{method: "POST", target: "/api/v1//tokens", body: emailBody}, 404},
		{"slashes in front", "writer", request{method: "POST", target: "//api/v1/tokens", body: emailBody}, 404},
		{"slash at the end", "writer", request{method: "POST", target: "/api/v1/tokens/", body: emailBody}, 404},
		{"upper case", "writer", request{method: "POST", target: "/API/v1/Tokens", body: emailBody}, 404},
		{"dot segment", "", request{method: "POST", target: "/api/v1/keys/../tokens", body: emailBody}, 401},
		{"dot segments at the handler", "writer", request{method: "POST", target: "/api/v1/keys/../tokens", body: emailBody, direct: true}, 404},
		{"encoded letter", "", request{method: "POST", target: "/api/v1/%74okens", body: emailBody}, decoded(404, 401)},
		{"encoded letter, allowed", "writer", request{method: "POST", target: "/api/v1/%74okens", body: emailBody}, decoded(404, 201)},
		{"encoded slash", "writer", request{method: "POST", target: "/api/v1%2ftokens", body: emailBody}, 404},
		{"encoded backslash", "writer", request{method: "POST", target: "/api/v1%5ctokens", body: emailBody}, 404},
		{"encoded twice", "writer", request{method: "POST", target: "/api/v1/%2574okens", body: emailBody}, 404},
		{"encoded question mark", "writer", request{method: "POST", target: "/api/v1/tokens%3fx", body: emailBody}, 404},
		{"encoded NUL", "writer", request{method: "POST", target: "/api/v1/tokens%00", body: emailBody}, 400},
		{"path parameter", "writer", request{method: "POST", target: "/api/v1/tokens;v=1", body: emailBody}, 404},
		{"climbing out to a function", "", request{method: "POST", target: "/api/v1/health/live/..%5c..%5c..%5c..%5cSealAudit", body: timerPost}, 404},

		{"id in upper case", "operator", request{method: "GET", target: "/api/v1/operations/" + strings.ToUpper(id)}, 404},
		{"id in braces", "operator", request{method: "GET", target: "/api/v1/operations/%7b" + id + "%7d"}, 404},
		{"id without hyphens", "operator", request{method: "GET", target: "/api/v1/operations/" + strings.ReplaceAll(id, "-", "")}, 404},
		{"id with white space", "operator", request{method: "GET", target: "/api/v1/operations/" + id + "%20"}, decoded(404, 200)},
		{"id with a fragment", "operator", request{method: "GET", target: "/api/v1/operations/" + id + "%23x"}, 404},

		{"timer function from outside", "", request{method: "POST", target: "/SealAudit", body: timerPost}, 404},
		{"timer function below the prefix", "operator", request{method: "POST", target: "/api/SealAudit", body: timerPost}, 404},
		{"queue function from outside", "", request{method: "POST", target: "/ImportChunk", body: timerPost}, 404},
		{"function by name", "writer", request{method: "POST", target: "/TokenizeValue", body: emailBody}, 404},
		{"admin endpoint without a key", "operator", request{method: "POST", target: "/admin/functions/SealAudit", body: `{"input":""}`}, 401},
		{"admin endpoint with a guessed key", "operator", request{method: "POST", target: "/admin/functions/SealAudit", body: `{"input":""}`, header: forgedIdentity()}, 401},
		{"admin endpoint in another case", "operator", request{method: "POST", target: "/Admin/Functions/sealaudit", body: `{"input":""}`}, 401},
		{"host webhooks", "operator", request{method: "POST", target: "/runtime/webhooks/x", body: `{}`}, 401},
		{"metrics, profiles", "operator", request{method: "GET", target: "/debug/pprof/", direct: true}, 404},
		{"variables", "operator", request{method: "GET", target: "/debug/vars", direct: true}, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.as != "" {
				tt.r.token = a.token(t, tt.as)
			}
			if got := a.do(t, tt.r); got.status != tt.want {
				t.Errorf("status %d, want %d: %s", got.status, tt.want, got.body)
			}
		})
	}
	a.do(t, request{method: "GET", target: "/api/v1/health/ready"}).want(t, http.StatusOK)
	if n := a.Host.Restarts(); n != 0 {
		t.Errorf("the handler was restarted %d times", n)
	}
}
