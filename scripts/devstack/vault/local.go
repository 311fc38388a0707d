package vault

import (
	"net/http"
)

// localEndpoints are those without a counterpart in Azure.
//
//	GET  /local/counts                             calls by operation
//	POST /local/keys/{name}/versions               add a version
//	POST /local/keys/{name}/{version}/disable      and enable
//	PUT, DELETE /local/fault                       see package fault
func (s *Server) localEndpoints() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /local/counts", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, s.Counts())
	})
	mux.HandleFunc("POST /local/keys/{name}/versions", func(w http.ResponseWriter, r *http.Request) {
		id, err := s.AddVersion(r.PathValue("name"))
		if err != nil {
			fail(w, http.StatusNotFound, "KeyNotFound", err.Error())
			return
		}
		reply(w, http.StatusOK, map[string]any{"version": id})
	})
	set := func(enabled bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := s.SetEnabled(r.PathValue("name"), r.PathValue("version"), enabled); err != nil {
				fail(w, http.StatusNotFound, "KeyNotFound", err.Error())
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux.HandleFunc("POST /local/keys/{name}/{version}/disable", set(false))
	mux.HandleFunc("POST /local/keys/{name}/{version}/enable", set(true))
	mux.Handle("/local/fault", &s.Faults)
	return mux
}
