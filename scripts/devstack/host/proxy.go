package host

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"

	"secureapi/scripts/stage/funcjson"
)

// proxy streams the request through as newer hosts do: the path keeps its
// encoding, the query and the User-Agent are the client's, and the host's own
// headers replace whatever the client sent under their names.
func (h *Host) proxy(w http.ResponseWriter, r *http.Request, f funcjson.Function, path, rawQuery string) {
	id := newInvocationID()
	answered, aborted := false, false
	err := h.call(r.Context(), f, id, func(ctx context.Context) (err error) {
		p := h.reverseProxy(id, path, rawQuery)
		p.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, cause error) {
			err = cause
			var tooLarge *http.MaxBytesError
			if errors.As(cause, &tooLarge) {
				hostAnswer(w, http.StatusRequestEntityTooLarge)
			} else {
				hostAnswer(w, http.StatusInternalServerError)
			}
		}
		defer func() {
			// An answer that breaks off in the middle: the client's connection
			// is all that can still tell it.
			if cause := recover(); cause != nil {
				aborted = true
				err = errCutOff
			}
		}()
		answered = true
		r := r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
		w.Header()["Content-Type"] = nil // else Go would guess a missing one
		p.ServeHTTP(w, r)
		return err
	})
	if aborted {
		panic(http.ErrAbortHandler)
	}
	if err != nil && !answered {
		hostAnswer(w, http.StatusInternalServerError)
	}
}

func (h *Host) reverseProxy(id, path, rawQuery string) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     once{h.client},
		FlushInterval: -1,
		ErrorLog:      h.log.std("Host.Http"),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL = handlerURL(h.proc.addr(), path, rawQuery)
			pr.Out.Host = pr.In.Host
			// Go drops these as the proxy's own business; the host passes them.
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := pr.In.Header[name]; ok {
					pr.Out.Header[name] = values
				}
			}
			pr.Out.Header.Set(headerHostVersion, Version)
			pr.Out.Header.Set(headerInvocationID, id)
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.Header.Get("Server") == "" {
				resp.Header.Set("Server", "Kestrel")
			}
			return nil
		},
	}
}
