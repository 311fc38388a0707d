package azure

import (
	"errors"
	"net/url"
)

var errEndpoint = errors.New("endpoint is not https://<host> alone")

// CheckEndpoint takes what a service's address may be: https, a host, and
// nothing after it. A path, a query (a shared access signature) or user
// information has no place in it.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return errEndpoint
	}
	plain := url.URL{Scheme: "https", Host: u.Host}
	if u.Host == "" || plain.String() != endpoint {
		return errEndpoint
	}
	return nil
}
