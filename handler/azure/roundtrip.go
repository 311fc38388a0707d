package azure

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// errTooLarge: a service sent more than its kind of response may hold.
var errTooLarge = errors.New("response too large")

// httpsOnly refuses everything but https before a connection is opened.
type httpsOnly struct{ next http.RoundTripper }

func (h httpsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, refuse(r, errPlain)
	}
	return h.next.RoundTrip(r)
}

// oneHost lets requests through to one host only.
type oneHost struct {
	next http.RoundTripper
	host string
}

func (o oneHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "http" || r.URL.Host != o.host {
		return nil, refuse(r, errAddress)
	}
	return o.next.RoundTrip(r)
}

// limited fails a response that is larger than limit instead of cutting it
// short: half a document must not look like a whole one.
type limited struct {
	next  http.RoundTripper
	limit int64
}

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > l.limit {
		return nil, errors.Join(errTooLarge, resp.Body.Close())
	}
	resp.Body = &limitedBody{body: resp.Body, left: l.limit}
	return resp, nil
}

type limitedBody struct {
	body io.ReadCloser
	left int64
}

// Read asks for one byte more than is left, to tell a body that ends there
// from one that goes on.
func (b *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func (b *limitedBody) Close() error { return b.body.Close() }

// refuse closes the request's body, as a RoundTripper must.
func refuse(r *http.Request, err error) error {
	if r.Body != nil {
		err = errors.Join(err, r.Body.Close())
	}
	return fmt.Errorf("request refused: %w", err)
}
