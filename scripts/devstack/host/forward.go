package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"secureapi/scripts/stage/funcjson"
)

// forward hands the request over as older hosts do: everything is read,
// rebuilt, and the answer is held back until it is complete.
func (h *Host) forward(w http.ResponseWriter, r *http.Request, f funcjson.Function, target string) {
	// A body without a declared length fails before the handler is asked.
	if r.ContentLength < 0 || r.ContentLength > maxRequestBody || r.Host == "" {
		w.Header().Set("Connection", "close")
		hostAnswer(w, http.StatusInternalServerError)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		hostAnswer(w, http.StatusBadRequest)
		return
	}
	id := newInvocationID()
	var answer *buffered
	// A client that goes away does not cancel the call.
	err = h.call(context.WithoutCancel(r.Context()), f, id, func(ctx context.Context) error {
		var err error
		answer, err = h.exchange(h.forwardedRequest(ctx, r, target, id, body))
		return err
	})
	if err != nil {
		hostAnswer(w, http.StatusInternalServerError)
		return
	}
	answer.write(w, h.log)
}

// forwardedRequest rebuilds the request. The client's own copies of the host's
// headers stay in front of the host's values: that is why they prove nothing.
func (h *Host) forwardedRequest(ctx context.Context, r *http.Request, target, id string, body []byte) *http.Request {
	path, query, _ := strings.Cut(target, "?")
	req := (&http.Request{Method: r.Method, URL: handlerURL(h.proc.addr(), path, query), Host: r.Host, Header: http.Header{}, Close: r.Close}).WithContext(ctx)
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.ContentLength = int64(len(body))
	if len(body) == 0 && !bodyless(r.Method) {
		// A length of 0 is sent for every method that may have a body.
		req.Body, req.TransferEncoding = http.NoBody, []string{"identity"}
	}
	for name, values := range r.Header {
		switch name {
		case "Content-Length", "Content-Encoding", "Content-Md5":
		case "Cookie":
			req.Header[name] = []string{strings.Join(values, "; ")}
		case "Expect":
			req.Header[name] = []string{""}
		default:
			req.Header[name] = []string{strings.Join(values, ", ")}
		}
	}
	appendTo(req.Header, headerHostVersion, Version, ", ")
	appendTo(req.Header, headerInvocationID, id, ", ")
	appendTo(req.Header, "User-Agent", userAgent, " ")
	return req
}

func appendTo(h http.Header, name, value, separator string) {
	if given := h.Get(name); given != "" {
		value = given + separator + value
	}
	h.Set(name, value)
}

// buffered is a complete answer of the handler.
type buffered struct {
	status int
	header http.Header
	body   []byte
}

var (
	errUpgrade = errors.New("the handler switched protocols")
	errCutOff  = errors.New("reading the handler's answer")
)

// exchange sends req to the handler and reads the whole answer. Redirects are
// not followed.
func (h *Host) exchange(req *http.Request) (*buffered, error) {
	resp, err := once{h.client}.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("calling the handler: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, errUpgrade
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, errors.Join(errCutOff, err)
	}
	if req.Method == http.MethodHead && resp.ContentLength >= 0 {
		resp.Header.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	return &buffered{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

// write passes status, body and all headers on as they are.
func (b *buffered) write(w http.ResponseWriter, log *logger) {
	header := w.Header()
	for name, values := range b.header {
		header[name] = values
	}
	if len(header["Content-Type"]) == 0 {
		header["Content-Type"] = nil // else Go would guess one
	}
	if header.Get("Server") == "" {
		header.Set("Server", "Kestrel")
	}
	if b.status != http.StatusNoContent && header.Get("Content-Length") == "" {
		header.Set("Content-Length", strconv.Itoa(len(b.body)))
	}
	header.Del("Transfer-Encoding")
	w.WriteHeader(b.status)
	if _, err := w.Write(b.body); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		log.printf(warning, "Host.Http", "answering the client: %v", err)
	}
}
