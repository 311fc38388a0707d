package vault

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

const (
	maxBody    = 64 << 10
	digestSize = 32
	// algorithms, the only ones that the vault's keys are used with.
	wrapAlgorithm = "RSA-OAEP-256"
	signAlgorithm = "ES256"
)

// call is one request under /keys, taken apart.
type call struct {
	operation, method, name, version string
}

// parse splits the path by hand: clients name the newest
// version by "/keys/kek//wrapkey" too, which http.ServeMux would redirect.
func parse(path string) (call, bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) < 2 || parts[0] != "keys" || parts[1] == "" {
		return call{}, false
	}
	c := call{operation: "get", method: http.MethodGet, name: parts[1]}
	switch {
	case len(parts) == 2:
	case len(parts) == 3 && parts[2] == "versions":
		c.operation = "versions"
	case len(parts) == 3 && (parts[2] == "wrapkey" || parts[2] == "unwrapkey" || parts[2] == "sign"):
		// The newest version, as some clients name it.
		c.operation, c.method = parts[2], http.MethodPost
	case len(parts) == 3:
		c.version = parts[2]
	case len(parts) == 4:
		c.version, c.operation, c.method = parts[2], parts[3], http.MethodPost
	default:
		return call{}, false
	}
	switch c.operation {
	case "get", "versions", "wrapkey", "unwrapkey", "sign":
		return c, true
	}
	return call{}, false
}

func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	c, ok := parse(r.URL.Path)
	if !ok {
		fail(w, http.StatusNotFound, "NotFound", "The path is not known.")
		return
	}
	if r.Method != c.method {
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "The method is not allowed.")
		return
	}
	if r.URL.Query().Get("api-version") == "" {
		fail(w, http.StatusBadRequest, "BadParameter", "api-version must be specified")
		return
	}
	s.count(c.operation)
	if status := s.Faults.Apply(r, c.operation); status != 0 {
		code := "InternalServerError"
		if status == http.StatusTooManyRequests {
			code = "Throttled"
			w.Header().Set("Retry-After", "1")
		}
		fail(w, status, code, "Request was not processed.")
		return
	}
	v, ok := s.find(c.name, c.version)
	if !ok {
		fail(w, http.StatusNotFound, "KeyNotFound", "A key with (name/id) "+c.name+"/"+c.version+" was not found in this key vault.")
		return
	}
	switch c.operation {
	case "get":
		reply(w, http.StatusOK, map[string]any{"key": v.public(s.kid(c.name, v)), "attributes": v.attributes()})
	case "versions":
		s.serveVersions(w, c.name)
	default:
		s.serveOperation(w, r, c, v)
	}
}

func (s *Server) kid(name string, v *version) string {
	return "https://" + s.host + "/keys/" + name + "/" + v.ID
}

// serveVersions answers all versions on one page, in the service's order: by id,
// which says nothing about age.
func (s *Server) serveVersions(w http.ResponseWriter, name string) {
	s.mu.Lock()
	byID := slices.SortedFunc(slices.Values(s.keys[name]), func(a, b *version) int { return cmp.Compare(a.ID, b.ID) })
	items := make([]map[string]any, 0, len(byID))
	for _, v := range byID {
		items = append(items, map[string]any{"kid": s.kid(name, v), "attributes": v.attributes()})
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"value": items, "nextLink": nil})
}

func (s *Server) serveOperation(w http.ResponseWriter, r *http.Request, c call, v *version) {
	var body struct {
		Algorithm string `json:"alg"`
		Value     string `json:"value"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		fail(w, http.StatusBadRequest, "BadParameter", "The request body is not valid JSON.")
		return
	}
	value, err := base64.RawURLEncoding.DecodeString(body.Value)
	if err != nil || len(value) == 0 {
		fail(w, http.StatusBadRequest, "BadParameter", "Property value has invalid value")
		return
	}
	if !v.Enabled {
		failInner(w, http.StatusForbidden, "Forbidden", "Operation "+c.operation+" is not allowed on a disabled key.", "KeyDisabled")
		return
	}
	result, problem := v.do(c.operation, body.Algorithm, value)
	if problem != "" {
		fail(w, http.StatusBadRequest, "BadParameter", problem)
		return
	}
	reply(w, http.StatusOK, map[string]any{
		"kid": s.kid(c.name, v), "value": base64.RawURLEncoding.EncodeToString(result),
	})
}

// do carries an operation out, or says what the caller did wrong.
func (v *version) do(operation, algorithm string, value []byte) (result []byte, problem string) {
	var err error
	switch key := v.private.(type) {
	case *rsa.PrivateKey:
		switch {
		case operation == "sign":
			return nil, "Operation sign is not permitted on this key."
		case algorithm != wrapAlgorithm:
			return nil, "The algorithm is not supported by this key."
		case operation == "wrapkey":
			result, err = v.wrap(key, value)
		default:
			result, err = v.unwrap(key, value)
		}
	case *ecdsa.PrivateKey:
		switch {
		case operation != "sign":
			return nil, "Operation " + operation + " is not permitted on this key."
		case algorithm != signAlgorithm:
			return nil, "The algorithm is not supported by this key."
		case len(value) != digestSize:
			return nil, "Invalid length of the digest."
		}
		result, err = v.sign(key, value)
	}
	if err != nil {
		return nil, "The parameter is incorrect."
	}
	return result, ""
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errcheck // the client is gone, if anything
}

func fail(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]any{"error": map[string]any{"code": code, "message": message}})
}

func failInner(w http.ResponseWriter, status int, code, message, inner string) {
	reply(w, status, map[string]any{"error": map[string]any{
		"code": code, "message": message, "innererror": map[string]any{"code": inner},
	}})
}
