package entra

import (
	"crypto/rand"
	"embed"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"
)

//go:embed pages/*.html
var pageFiles embed.FS

// pages are what a person sees. html/template escapes what comes from outside.
var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// page is what all templates take.
type page struct {
	Nonce    string
	People   []Persona
	StepUp   bool
	UserCode string
	Code     string
	Text     string
	Action   string
	Fields   map[string]string
}

// show writes a page that can run no script but its own, be framed by nobody,
// and post only to itself and to the client that waits for the answer.
func show(w http.ResponseWriter, status int, name, target string, p page) {
	p.Nonce = rand.Text()
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Content-Security-Policy", strings.TrimSpace("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; style-src 'nonce-"+p.Nonce+
		"'; script-src 'nonce-"+p.Nonce+"'; form-action 'self' "+target))
	w.WriteHeader(status)
	_ = pages.ExecuteTemplate(w, name, p) //nolint:errcheck // the browser is gone, if anything
}

func signInPage(w http.ResponseWriter, a authorization) {
	show(w, http.StatusOK, "signin.html", a.redirect, page{People: peopleOf(a.tenant, a.hint), StepUp: len(a.acrs) > 0})
}

func devicePage(w http.ResponseWriter) { show(w, http.StatusOK, "code.html", "", page{}) }

func devicePeoplePage(w http.ResponseWriter, d *device) {
	show(w, http.StatusOK, "signin.html", "", page{People: peopleOf(d.tenant, ""), StepUp: len(d.acrs) > 0, UserCode: d.userCode})
}

func donePage(w http.ResponseWriter) { show(w, http.StatusOK, "done.html", "", page{}) }

func failPage(w http.ResponseWriter, r *refusal) {
	show(w, http.StatusBadRequest, "error.html", "", page{Code: r.code, Text: r.text})
}

// answer sends the outcome to the client's redirect address, in the way that it
// asked for.
func answer(w http.ResponseWriter, a authorization, values url.Values) {
	if a.state != "" {
		values.Set("state", a.state)
	}
	if a.mode == "query" {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", a.redirect+"?"+values.Encode())
		w.WriteHeader(http.StatusFound)
		return
	}
	fields := map[string]string{}
	for name := range values {
		fields[name] = values.Get(name)
	}
	show(w, http.StatusOK, "answer.html", a.redirect, page{Action: a.redirect, Fields: fields})
}

// Pages serves the two pages that a person opens in a browser, which knows
// neither the local names nor the local authority: on a plain loopback port.
// Tokens are not served there. A name that resolves to loopback is no loopback
// name (DNS rebinding), and another site's form is not the person's.
func (s *Server) Pages() http.Handler {
	mux := http.NewServeMux()
	s.routePages(mux)
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if host != "localhost" && host != "127.0.0.1" {
			http.Error(w, "this is a loopback service", http.StatusMisdirectedRequest)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// ServePagesAt tells where Pages is served: discovery and device codes name it.
func (s *Server) ServePagesAt(base string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages = base
}

func (s *Server) pagesBase() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages == "" {
		return Authority
	}
	return s.pages
}

func (s *Server) routePages(mux *http.ServeMux) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		mux.HandleFunc(method+" /{tenant}/oauth2/v2.0/authorize", s.serveAuthorize)
		mux.HandleFunc(method+" /devicelogin", s.serveDeviceLogin)
	}
}
