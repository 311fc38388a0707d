package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestClientAddress(t *testing.T) {
	for name, tt := range map[string]struct {
		hops int
		xff  []string
		want string // "" is none
	}{
		"as the front end writes it":            {1, []string{"192.0.2.7:51234"}, "192.0.2.7"},
		"without a port":                        {1, []string{"192.0.2.7"}, "192.0.2.7"},
		"IPv6 in brackets with a port":          {1, []string{"[2001:db8::7]:51234"}, "2001:db8::7"},
		"IPv6 in brackets":                      {1, []string{"[2001:db8::7]"}, "2001:db8::7"},
		"IPv6":                                  {1, []string{"2001:db8::7"}, "2001:db8::7"},
		"IPv4 in IPv6":                          {1, []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		"the client's own text in front":        {1, []string{"127.0.0.1, 10.0.0.1, 192.0.2.7:1"}, "192.0.2.7"},
		"the client's own line in front":        {1, []string{"127.0.0.1", "192.0.2.7:1"}, "192.0.2.7"},
		"two hops":                              {2, []string{"127.0.0.1, 192.0.2.7:1, 10.0.0.4:2"}, "192.0.2.7"},
		"two hops in two lines":                 {2, []string{"127.0.0.1,192.0.2.7", "10.0.0.4"}, "192.0.2.7"},
		"the socket's peer":                     {0, []string{"127.0.0.1"}, "198.51.100.9"},
		"no header":                             {1, nil, ""},
		"empty":                                 {1, []string{""}, ""},
		"an empty last entry":                   {1, []string{"192.0.2.7,"}, ""},
		"fewer entries than hops":               {2, []string{"192.0.2.7"}, ""},
		"a name":                                {1, []string{"client.example.com"}, ""},
		"unknown":                               {1, []string{"unknown"}, ""},
		"a port that is none":                   {1, []string{"192.0.2.7:99999"}, ""},
		"a leading zero":                        {1, []string{"192.0.02.7"}, ""},
		"IPv4 in brackets":                      {1, []string{"[192.0.2.7]"}, ""},
		"one bracket":                           {1, []string{"[2001:db8::7"}, ""},
		"a zone":                                {1, []string{"fe80::1%4111111111111111"}, ""},
		"a zone in brackets":                    {1, []string{"[fe80::1%eth0]:1"}, ""},
		"markup":                                {1, []string{"192.0.2.7<script>"}, ""},
		"a second address after a space":        {1, []string{"192.0.2.7 127.0.0.1"}, ""},
		"longer than any address":               {1, []string{strings.Repeat("0", 1<<16) + "192.0.2.7"}, ""},
		"garbage before the last is not looked": {1, []string{"<script>,,,, 192.0.2.7"}, "192.0.2.7"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.RemoteAddr = "198.51.100.9:4711"
			r.Header["X-Forwarded-For"] = tt.xff
			got := ""
			if a := clientAddress(r, tt.hops); a.IsValid() {
				got = a.String()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// Whatever a client writes, the entries behind it are the proxies'.
func TestAClientCannotMoveItsAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hops := rapid.IntRange(1, 5).Draw(t, "hops")
		own := rapid.SliceOf(rapid.StringMatching(`[0-9a-f.:,\[\]% ]*`)).Draw(t, "own")
		client := netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "client")})
		trusted := []string{client.String() + ":4711"}
		for range hops - 1 {
			trusted = append(trusted, "10.0.0.1:80")
		}
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		if rapid.Bool().Draw(t, "one line") {
			r.Header.Set("X-Forwarded-For", strings.Join(append(own, trusted...), ", "))
		} else {
			r.Header["X-Forwarded-For"] = append(own, trusted...)
		}
		if got := clientAddress(r, hops); got != client {
			t.Fatalf("%v, want %v of %q", got, client, r.Header["X-Forwarded-For"])
		}
	})
}
