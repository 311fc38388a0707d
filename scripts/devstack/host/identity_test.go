package host

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// A token request that fails is an error that names no secret.
func TestManagedIdentityFails(t *testing.T) {
	answers := map[string]string{
		"refused":    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		"not JSON":   "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
		"no token":   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"bad expiry": "HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n{\"access_token\":\"secret\",\"expires_on\":\"soon\"}",
		"a redirect": "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // a test
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					fmt.Fprint(conn, answer)
				}
			}()
			m, err := newManagedIdentity(newEnvironment([]string{"IDENTITY_ENDPOINT=http://" + ln.Addr().String() + "/", "IDENTITY_HEADER=hidden"}), "", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.GetToken(t.Context(), tokenOptions("https://storage.azure.com/.default"))
			if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func tokenOptions(scopes ...string) policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: scopes}
}
