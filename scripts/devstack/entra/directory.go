package entra

import (
	"slices"
	"strings"
)

// The directory is fixed, because tenant and object ids are part of what is
// stored: data made in one run of the stack must belong to the same people in
// the next. Secrets and keys are made anew at every start.
const (
	// HomeTenant is the tenant that owns the API.
	HomeTenant = "5f0a3c52-8a1e-4c39-9d8e-2b6f1f7c0a11"
	// OtherTenant is a second customer, to prove that tenants stay apart.
	OtherTenant = "c2d94e7b-1f36-4b0a-8e55-7a90d3e6b422"

	// APIClientID is the application id of the API: the audience of its tokens.
	APIClientID = "7d1b9f04-3c5e-4e2a-b6a7-90c4d2e81f33"
	// APIAppIDURI is the name under which clients may ask for the API's tokens.
	APIAppIDURI = "api://" + APIClientID
	// Scope is the delegated permission of the API.
	Scope = "Vault.Access"
	// StepUp is the authentication context of a fresh MFA.
	StepUp = "c1"

	// ToolClientID is the public client through which people use the API.
	ToolClientID = "e3a8c6d5-47f2-4d19-a0bb-58e1f96c7d44"
	// HandlerClientID is the handler's own identity towards Azure services.
	HandlerClientID = "a96e2f18-d0b4-4f7c-8c63-1e5d7b3a9f55"
	// HandlerName names that identity in the directory.
	HandlerName = "handler"
)

// Persona is a person who can sign in.
type Persona struct {
	Name   string   `json:"name"`
	Tenant string   `json:"tenant"`
	OID    string   `json:"oid"`
	Roles  []string `json:"roles"`
	// ACRS are the authentication contexts of this person's tokens from
	// /local/token. A sign-in meets those that it is asked for.
	ACRS []string `json:"acrs,omitempty"`
	// Capable: this person's client understands claims challenges, unless the
	// client is there to say so itself.
	Capable bool `json:"capable,omitempty"`
}

func (p Persona) username() string { return p.Name + "@dev.example" }

// App is an application with its own permissions (or none, as the handler).
type App struct {
	Name     string   `json:"name"`
	Tenant   string   `json:"tenant"`
	ClientID string   `json:"clientId"`
	OID      string   `json:"oid"`
	Roles    []string `json:"roles"`
	Secret   string   `json:"secret"`
}

// role is a role of the API and the number that its people's ids end in.
type role struct {
	name, value string
	stepUp      bool
}

func roles() []role {
	return []role{
		{"writer", "Vault.Writer", false},
		{"reader", "Vault.Reader", false},
		{"revealer", "Vault.Revealer", true},
		{"approver", "Vault.Approver", true},
		{"privacy-officer", "Vault.PrivacyOfficer", true},
		{"auditor", "Vault.Auditor", false},
		{"operator", "Vault.Operator", false},
	}
}

// fixed makes a version 4 GUID of a group and a number.
func fixed(group string, number int) string {
	const digits = "0123456789abcdef"
	return "6b" + group + "00" + string(digits[number/16]) + string(digits[number%16]) + "-3d7e-4a15-9c02-f48e6d1b7a90"
}

// Personas lists the people: one for each role, a revealer who has not stepped
// up, one without any role, a writer and a revealer of another tenant, and a
// revealer who has not stepped up and whose client would not know how.
func Personas() []Persona {
	var all []Persona
	add := func(name, tenant string, stepUp bool, roles ...string) {
		p := Persona{Name: name, Tenant: tenant, OID: fixed("10", len(all)+1), Roles: roles, Capable: true}
		if stepUp {
			p.ACRS = []string{StepUp}
		}
		all = append(all, p)
	}
	for _, r := range roles() {
		add(r.name, HomeTenant, r.stepUp, r.value)
	}
	add("revealer-no-step-up", HomeTenant, false, "Vault.Revealer")
	add("nobody", HomeTenant, false)
	add("other-writer", OtherTenant, false, "Vault.Writer")
	add("other-revealer", OtherTenant, true, "Vault.Revealer")
	add("revealer-old-client", HomeTenant, false, "Vault.Revealer")
	all[len(all)-1].Capable = false
	return all
}

// apps lists the applications: one for each role, one of another tenant, and
// the handler itself, which has no role in the API.
func apps() []App {
	var all []App
	add := func(name, tenant, clientID string, roles ...string) {
		n := len(all) + 1
		if clientID == "" {
			clientID = fixed("20", n)
		}
		all = append(all, App{Name: name, Tenant: tenant, ClientID: clientID, OID: fixed("30", n), Roles: roles})
	}
	for _, r := range roles() {
		add(r.name+"-app", HomeTenant, "", r.value)
	}
	add("other-writer-app", OtherTenant, "", "Vault.Writer")
	add(HandlerName, HomeTenant, HandlerClientID)
	return all
}

// Persona finds a person by name.
func (s *Server) Persona(name string) (Persona, bool) {
	all := Personas()
	i := slices.IndexFunc(all, func(p Persona) bool { return p.Name == name })
	if i < 0 {
		return Persona{}, false
	}
	return all[i], true
}

// Apps lists the applications with this run's secrets.
func (s *Server) Apps() []App { return slices.Clone(s.apps) }

// App finds an application by name or client id.
func (s *Server) App(name string) (App, bool) {
	i := slices.IndexFunc(s.apps, func(a App) bool { return a.Name == name || strings.EqualFold(a.ClientID, name) })
	if i < 0 {
		return App{}, false
	}
	return s.apps[i], true
}

func knownTenant(id string) bool { return id == HomeTenant || id == OtherTenant }
