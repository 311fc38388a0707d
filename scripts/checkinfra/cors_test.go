package checkinfra_test

import (
	"regexp"
	"testing"

	"secureapi/scripts/checkinfra"
)

// exactOrigin is a scheme, a host and perhaps a port: no wildcard, no path.
var exactOrigin = regexp.MustCompile(`^https://[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?$`)

// TestCORS: browser apps that may call are listed one by one, and never with
// credentials.
func TestCORS(t *testing.T) { hold(t, cors) }

func cors(_ string, s checkinfra.Snapshot) []string {
	var wrong problems
	sites := of(s, "Microsoft.Web/sites")
	if len(sites) == 0 {
		wrong.addf("no site: its rules check nothing")
	}
	for _, r := range sites {
		origins, listed := r.At("siteConfig.cors.allowedOrigins").([]any)
		if !listed || r.At("siteConfig.cors.supportCredentials") != false {
			wrong.addf("%s: CORS is not stated, or takes credentials", r.Name)
		}
		for _, origin := range origins {
			if text, ok := origin.(string); !ok || !exactOrigin.MatchString(text) {
				wrong.addf("%s: %v is not an exact origin", r.Name, origin)
			}
		}
	}
	return wrong
}
