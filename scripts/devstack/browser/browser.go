// Package browser is a person at a browser, for tests: it opens the local
// issuer's sign-in page, chooses a persona and carries the answer to where the
// page says, by reading the forms as a browser does.
//
// Trust boundary: it goes where the page sends it, to loopback only.
package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

const maxPage = 1 << 20

// Person answers a sign-in page.
type Person struct {
	// Client reaches the page. It must follow no redirects.
	Client *http.Client
	// Persona is whom to choose.
	Persona string
	// Decline refuses instead.
	Decline bool
	// Tamper changes the answer before it is carried back. nil: nothing.
	Tamper func(answer url.Values)
}

// form is a form of a page.
type form struct {
	action string
	fields url.Values
	// buttons are the values of the buttons by name.
	buttons map[string][]string
}

// SignIn opens the page of an authorization request and answers it, and the
// answer reaches the client that waits at the redirect address.
func (p Person) SignIn(ctx context.Context, address string) error {
	page, err := p.get(ctx, address)
	if err != nil {
		return err
	}
	answer, err := p.choose(ctx, address, page)
	if err != nil {
		return err
	}
	if p.Tamper != nil {
		p.Tamper(answer.fields)
	}
	target, err := url.Parse(answer.action)
	if err != nil || target.Scheme != "http" || (target.Hostname() != "localhost" && target.Hostname() != "127.0.0.1") {
		return fmt.Errorf("the answer goes to %q, which is no loopback address", answer.action)
	}
	_, err = send(ctx, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, answer.action, answer.fields)
	return err
}

// EnterCode opens the page of the device flow, enters the code and answers.
func (p Person) EnterCode(ctx context.Context, address, code string) error {
	page, err := p.get(ctx, address)
	if err != nil {
		return err
	}
	page.fields.Set("user_code", code)
	people, err := p.send(ctx, address, page.fields)
	if err != nil {
		return err
	}
	_, err = p.choose(ctx, address, people)
	return err
}

func (p Person) choose(ctx context.Context, address string, page form) (form, error) {
	name, value := "persona", p.Persona
	if p.Decline {
		name, value = "decline", "1"
	}
	if !slices.Contains(page.buttons[name], value) {
		return form{}, fmt.Errorf("the page offers %q, not %s %q", page.buttons, name, value)
	}
	page.fields.Set(name, value)
	return p.send(ctx, address, page.fields)
}

func (p Person) get(ctx context.Context, address string) (form, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return form{}, fmt.Errorf("opening the page: %w", err)
	}
	return read(p.Client, req)
}

func (p Person) send(ctx context.Context, address string, fields url.Values) (form, error) {
	return send(ctx, p.Client, address, fields)
}

func send(ctx context.Context, client *http.Client, address string, fields url.Values) (form, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(fields.Encode()))
	if err != nil {
		return form{}, fmt.Errorf("sending the form: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return read(client, req)
}

func read(client *http.Client, req *http.Request) (f form, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return form{}, fmt.Errorf("asking for the page: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body := io.LimitReader(resp.Body, maxPage)
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(body)
		return form{}, errors.Join(fmt.Errorf("the page answers %d: %s", resp.StatusCode, text), err)
	}
	root, err := html.Parse(body)
	if err != nil {
		return form{}, fmt.Errorf("reading the page: %w", err)
	}
	f = form{fields: url.Values{}, buttons: map[string][]string{}}
	f.walk(root)
	return f, nil
}

// walk collects the form's parts; the pages have one form each.
func (f *form) walk(n *html.Node) {
	if n.Type == html.ElementNode {
		at := map[string]string{}
		for _, a := range n.Attr {
			at[a.Key] = a.Val
		}
		switch n.Data {
		case "form":
			f.action = at["action"]
		case "input":
			f.fields.Set(at["name"], at["value"])
		case "button":
			f.buttons[at["name"]] = append(f.buttons[at["name"]], at["value"])
		}
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		f.walk(child)
	}
}
