package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"secureapi/scripts/vaultctl/signin"
	"secureapi/scripts/vaultctl/tokencache"
)

func deviceFlag(device *bool) func(*flag.FlagSet) {
	return func(flags *flag.FlagSet) {
		flags.BoolVar(device, "device", false, "sign in by device code: in a browser elsewhere")
	}
}

func login(ctx context.Context, args []string, w world) error {
	var device bool
	s, rest, err := begin("login", args, w, deviceFlag(&device))
	if err != nil {
		return err
	}
	defer s.transport.Close()
	if len(rest) > 0 {
		return errors.New(usage)
	}
	s.way.Device = device
	token, err := s.client.SignIn(ctx, s.way)
	if errors.Is(err, tokencache.ErrDamaged) {
		fmt.Fprintf(w.errs, "%v; it is deleted, and the sign-in begins anew.\n", err)
		if err := s.client.Forget(ctx); err != nil {
			return err
		}
		token, err = s.client.SignIn(ctx, s.way)
	}
	if err != nil {
		return err
	}
	if err := s.remember(s.settings); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "Signed in as %s until %s, and longer by refresh.\n", token.Person, token.Expires.Local().Format(time.TimeOnly))
	return err
}

func logout(ctx context.Context, args []string, w world) error {
	s, rest, err := begin("logout", args, w, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	defer s.transport.Close()
	if len(rest) > 0 {
		return errors.New(usage)
	}
	people, err := s.client.SignOut(ctx)
	if err != nil {
		return err
	}
	for _, person := range people {
		fmt.Fprintf(w.out, "Signed out: %s.\n", person)
	}
	_, err = fmt.Fprintln(w.out, "No token is kept on this machine.")
	return err
}

// token is for scripts: it asks nobody anything.
func token(ctx context.Context, args []string, w world) error {
	s, rest, err := begin("token", args, w, func(*flag.FlagSet) {})
	if err != nil {
		return err
	}
	defer s.transport.Close()
	if len(rest) > 0 {
		return errors.New(usage)
	}
	got, err := s.silent(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w.out, got.Access)
	return err
}

// silent gets a token without the person, or says what the person has to do.
func (s *session) silent(ctx context.Context) (signin.Token, error) {
	token, err := s.client.Silent(ctx)
	switch {
	case errors.Is(err, signin.ErrNeeded):
		return signin.Token{}, fmt.Errorf("%w: run vaultctl login", err)
	case errors.Is(err, tokencache.ErrDamaged):
		return signin.Token{}, fmt.Errorf("%w (%s): %w: run vaultctl login", err, s.cachePath, signin.ErrNeeded)
	}
	return token, err
}
