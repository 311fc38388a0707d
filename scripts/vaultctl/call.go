package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"secureapi/scripts/vaultctl/challenge"
)

const (
	// callTimeout is longer than the Functions host waits for an answer.
	callTimeout = 4 * time.Minute
	// maxBody is the largest body that the API takes, a part of an import.
	maxBody = 8 << 20
	// maxAnswer is what the transport lets through.
	maxAnswer = 1 << 20
)

var method = regexp.MustCompile(`^[A-Z]{3,7}$`)

// outgoing is a call that can be sent again.
type outgoing struct {
	method, target, contentType string
	body                        []byte
	// key makes a repeated POST give the first one's answer.
	key string
}

func call(ctx context.Context, args []string, w world) error {
	var device bool
	var data, contentType string
	s, rest, err := begin("call", args, w, func(flags *flag.FlagSet) {
		deviceFlag(&device)(flags)
		flags.StringVar(&data, "data", "", "the body: `text`, @file, or - for standard input")
		flags.StringVar(&contentType, "type", "application/json", "the body's media `type`")
	})
	if err != nil {
		return err
	}
	defer s.transport.Close()
	if len(rest) != 2 {
		return errors.New(usage)
	}
	s.way.Device = device
	o, err := s.outgoing(rest[0], rest[1], contentType, data, w.in)
	if err != nil {
		return err
	}
	token, err := s.silent(ctx)
	if err != nil {
		return err
	}
	answer, err := s.send(ctx, o, token)
	if err != nil {
		return err
	}
	if claims, err := s.challenged(answer); err != nil {
		return err
	} else if claims != "" {
		fmt.Fprintln(w.errs, "The API asks for a fresh sign-in with a second factor.")
		if token, err = s.client.Satisfy(ctx, s.way, claims); err != nil {
			return fmt.Errorf("satisfying the claims challenge: %w", err)
		}
		if answer, err = s.send(ctx, o, token); err != nil {
			return err
		}
	}
	return answer.write(w)
}

func (s *session) outgoing(verb, path, contentType, data string, in io.Reader) (outgoing, error) {
	if !method.MatchString(verb) {
		return outgoing{}, errors.New("the method is not upper-case letters")
	}
	if s.settings.URL == "" {
		return outgoing{}, errors.New("the API's address is not known: -url, or API_URL")
	}
	target, err := address(s.settings.URL, path)
	if err != nil {
		return outgoing{}, err
	}
	body, err := readBody(data, in)
	if err != nil {
		return outgoing{}, err
	}
	o := outgoing{method: verb, target: target, body: body}
	if len(body) > 0 {
		o.contentType = contentType
	}
	if verb == http.MethodPost {
		o.key = rand.Text()
	}
	return o, nil
}

func readBody(data string, in io.Reader) (body []byte, err error) {
	name, isFile := strings.CutPrefix(data, "@")
	switch {
	case isFile:
		file, openErr := os.Open(name) // #nosec G304 -- the person's own choice
		if openErr != nil {
			return nil, fmt.Errorf("reading the body: %w", openErr)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		in = file
	case data != "-":
		return []byte(data), nil
	}
	body, err = io.ReadAll(io.LimitReader(in, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	if len(body) > maxBody {
		return nil, errors.New("the body is larger than the API takes")
	}
	return body, nil
}

// challenged gives the claims that the API asks for, or "".
func (s *session) challenged(a answer) (string, error) {
	if a.status != http.StatusUnauthorized {
		return "", nil
	}
	claims, err := challenge.Claims(a.header.Values("WWW-Authenticate"), s.authorityHost())
	if errors.Is(err, challenge.ErrNone) {
		return "", nil
	}
	return claims, err
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// write prints the body as it is, and fails as the call failed.
func (a answer) write(w world) error {
	if _, err := io.Copy(w.out, bytes.NewReader(a.body)); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	if len(a.body) > 0 && !bytes.HasSuffix(a.body, []byte("\n")) {
		fmt.Fprintln(w.out)
	}
	if a.status >= http.StatusMultipleChoices {
		return fmt.Errorf("the API answers %d %s", a.status, http.StatusText(a.status))
	}
	return nil
}
