package main

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"secureapi/handler/azure"
	"secureapi/handler/clock"
	"secureapi/scripts/vaultctl/signin"
	"secureapi/scripts/vaultctl/tokencache"
)

const (
	// folder is vaultctl's own, below the user's.
	folder = "secureapi-vaultctl"
	// clientTimeout bounds a call of Entra ID or of the API.
	clientTimeout = 10 * time.Second
)

// settings say where a person signs in, for what, and where the API is. None of
// them is secret. login remembers them, so that the other commands need none.
type settings struct {
	Authority string `json:"authority"`
	Tenant    string `json:"tenant"`
	Client    string `json:"client"`
	API       string `json:"api"`
	Scope     string `json:"scope"`
	URL       string `json:"url,omitempty"`
}

// flags: a flag goes before the environment, that before what login remembered.
func (s *settings) flags(flags *flag.FlagSet, getenv func(string) string, kept settings) {
	text := func(into *string, name, variable, remembered, otherwise, help string) {
		flags.StringVar(into, name, or(or(getenv(variable), remembered), otherwise), help+" ("+variable+")")
	}
	text(&s.Tenant, "tenant", "AZURE_TENANT_ID", kept.Tenant, "", "the tenant's `id`")
	text(&s.Client, "client", "PUBLIC_CLIENT_ID", kept.Client, "", "client `id` of the public client that people sign in through")
	text(&s.Authority, "authority", "AUTHORITY_HOST", kept.Authority, "https://login.microsoftonline.com", "the authority's `URL`")
	text(&s.API, "api", "API_CLIENT_ID", kept.API, "", "client `id or application ID URI` of the API")
	text(&s.Scope, "scope", "REQUIRED_SCOPE", kept.Scope, "Vault.Access", "the API's delegated permission by `name`")
	text(&s.URL, "url", "API_URL", kept.URL, "", "the API's `address`, https://<host>")
}

var (
	apiName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._~/-]{1,200}$`)
	scopeName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
)

// validate tells every problem at once.
func (s settings) validate() error {
	var problems []error
	if err := azure.CheckEndpoint(s.Authority); err != nil {
		problems = append(problems, fmt.Errorf("-authority: %w", err))
	}
	for name, id := range map[string]string{"-tenant": s.Tenant, "-client": s.Client} {
		if !isGUID(id) {
			problems = append(problems, fmt.Errorf("%s is not a GUID", name))
		}
	}
	if !isGUID(s.API) && !apiName.MatchString(s.API) {
		problems = append(problems, errors.New("-api is neither a GUID nor an application ID URI"))
	}
	if !scopeName.MatchString(s.Scope) {
		problems = append(problems, errors.New("-scope is not the name of a permission"))
	}
	if s.URL != "" {
		if _, err := apiBase(s.URL); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func isGUID(text string) bool {
	return uuid.Validate(text) == nil && len(text) == len(uuid.Nil.String())
}

// session is a command that signs in or is signed in.
type session struct {
	settings  settings
	transport *azure.Transport
	client    *signin.Client
	cachePath string
	way       signin.Way
	remember  func(settings) error
}

// begin reads flags, environment and what was remembered. rest gets the
// arguments that are no flags.
func begin(name string, args []string, w world, define func(*flag.FlagSet)) (s *session, rest []string, err error) {
	localStack := w.getenv("LOCAL_STACK_FILE")
	keyDir, err := w.keyDir()
	if err != nil {
		return nil, nil, fmt.Errorf("finding the user's folders: %w", err)
	}
	cacheDir, err := w.cacheDir()
	if err != nil {
		return nil, nil, fmt.Errorf("finding the user's folders: %w", err)
	}
	// What is local and what is not are never mixed: the local stack's tokens
	// go to no cloud, and a cloud's to no local stack.
	profile := filepath.Join(keyDir, folder, "settings.json")
	if localStack != "" {
		profile = filepath.Join(keyDir, folder, "settings-local.json")
	}
	kept, err := recall(profile)
	if err != nil {
		return nil, nil, err
	}
	s = &session{remember: func(now settings) error { return keep(profile, now) }}
	flags := flag.NewFlagSet("vaultctl "+name, flag.ContinueOnError)
	flags.SetOutput(w.errs)
	s.settings.flags(flags, w.getenv, kept)
	define(flags)
	if rest, err = parseAround(flags, args); err != nil {
		return nil, nil, err
	}
	if err := s.settings.validate(); err != nil {
		return nil, nil, err
	}
	if err := s.connect(localStack, filepath.Join(cacheDir, folder), filepath.Join(keyDir, folder), w); err != nil {
		return nil, nil, err
	}
	return s, rest, nil
}

func (s *session) connect(localStack, cacheDir, keyDir string, w world) (err error) {
	// These two may be inside a private network.
	endpoints := []string{s.settings.Authority}
	if base, err := apiBase(s.settings.URL); err == nil && base.Scheme == "https" {
		endpoints = append(endpoints, base.String())
	}
	if s.transport, err = azure.NewTransport(localStack, w.getenv, clock.System, endpoints...); err != nil {
		return err
	}
	authority := s.settings.Authority + "/" + s.settings.Tenant
	file, err := tokencache.Open(tokencache.Options{
		CacheDir: cacheDir, KeyDir: keyDir, Authority: authority, ClientID: s.settings.Client, Local: s.transport.Local(),
	})
	if err != nil {
		return err
	}
	s.cachePath = file.Path()
	s.client, err = signin.New(signin.Options{
		Authority: authority, ClientID: s.settings.Client, Scope: s.settings.API + "/" + s.settings.Scope,
		HTTP: s.transport.Client(clientTimeout), Cache: file,
	})
	s.way.Open, s.way.Loopback = w.open, s.transport.Local()
	s.way.Say = func(text string) { fmt.Fprintln(w.errs, text) }
	return err
}

func (s *session) authorityHost() string {
	u, err := url.Parse(s.settings.Authority)
	if err != nil {
		return ""
	}
	return u.Host
}

// parseAround lets flags stand before and after the other arguments.
func parseAround(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
}

func recall(path string) (settings, error) {
	data, err := os.ReadFile(path) // #nosec G304 -- the user's own folder
	if errors.Is(err, os.ErrNotExist) {
		return settings{}, nil
	}
	if err != nil {
		return settings{}, fmt.Errorf("reading what login remembered: %w", err)
	}
	var s settings
	if err := json.Unmarshal(data, &s, json.RejectUnknownMembers(true)); err != nil {
		return settings{}, fmt.Errorf("%s is not what login wrote; delete it and sign in again", path)
	}
	return s, nil
}

func keep(path string, s settings) error {
	data, err := json.Marshal(s, jsontext.Multiline(true))
	if err != nil {
		return fmt.Errorf("remembering the settings: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("remembering the settings: %w", err)
	}
	return nil
}
