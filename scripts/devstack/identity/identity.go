// Package identity is the local stand-in for the managed identity endpoint of
// App Service and Functions (api-version 2019-08-01).
//
// The platform gives the app an address on loopback and a secret header value;
// whoever knows both gets tokens of the app's identity for Azure resources.
//
// Trust boundary: the header is what keeps other local processes and requests
// forged through the app (SSRF) out, so it is compared in constant time and
// there is no answer without it. Plain HTTP, as on the platform: it never leaves
// the loopback interface.
package identity

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Path is where the endpoint is, below the server's address.
const Path = "/msi/token"

const apiVersion = "2019-08-01"

// Options configure the endpoint.
type Options struct {
	// Header is the secret value of X-IDENTITY-HEADER. Required.
	Header string
	// ClientID is the user-assigned identity that the app has. Required.
	ClientID string
	// Issue makes a token for a resource, or fails for one that there is not.
	// Required.
	Issue func(resource string) (token string, expires time.Time, err error)
}

// New makes the endpoint.
func New(o Options) (http.Handler, error) {
	if o.Header == "" || o.ClientID == "" || o.Issue == nil {
		return nil, errors.New("making the identity endpoint: Header, ClientID and Issue are required")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) { serve(w, r, o) })
	return mux, nil
}

func serve(w http.ResponseWriter, r *http.Request, o Options) {
	given := r.Header.Get("X-IDENTITY-HEADER")
	if subtle.ConstantTimeCompare([]byte(given), []byte(o.Header)) != 1 {
		fail(w, http.StatusUnauthorized, "unauthorized", "X-IDENTITY-HEADER is missing or wrong.")
		return
	}
	query := r.URL.Query()
	if query.Get("api-version") != apiVersion {
		fail(w, http.StatusBadRequest, "bad_request", "The api-version is not supported.")
		return
	}
	// Without a client_id the platform takes the system-assigned identity,
	// which this app, like the deployed one, does not have.
	if !strings.EqualFold(query.Get("client_id"), o.ClientID) {
		fail(w, http.StatusBadRequest, "invalid_request", "No managed identity found for the specified client_id.")
		return
	}
	resource := query.Get("resource")
	token, expires, err := o.Issue(resource)
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_resource", "The resource is not known in the tenant.")
		return
	}
	reply(w, http.StatusOK, map[string]string{
		"access_token": token, "expires_on": strconv.FormatInt(expires.Unix(), 10),
		"resource": resource, "token_type": "Bearer", "client_id": o.ClientID,
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errcheck // the client is gone, if anything
}

func fail(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]any{"statusCode": status, "error": code, "message": message})
}
