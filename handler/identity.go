package main

import (
	"log/slog"

	"secureapi/handler/authn"
	"secureapi/handler/azure"
	"secureapi/handler/azure/credential"
	"secureapi/handler/clock"
	"secureapi/handler/config"
)

// newIdentity is who the handler is towards Azure's services. There is no chain
// of kinds to fall through: the one that is configured works, or none does.
func newIdentity(c config.Config, t *azure.Transport, logger *slog.Logger) (*credential.Credential, error) {
	o := credential.Options{
		Clock:          clock.System,
		OnRefreshError: func(err error) { logger.Warn("own token not refreshed", "error", err) },
	}
	registration := credential.App{AuthorityHost: c.AuthorityHost, TenantID: c.TenantID, ClientID: c.ClientID}
	switch c.Credential {
	case config.ClientCertificate:
		return credential.ClientCertificate(registration, c.CertificateFile, t.Client(clientTimeout), o)
	case config.WorkloadIdentity:
		return credential.WorkloadIdentity(registration, c.FederatedTokenFile, t.Client(clientTimeout), o)
	default: // Load has refused every other kind.
		return credential.ManagedIdentity(c.ClientID, t.IdentityClient(clientTimeout), o)
	}
}

// acceptedTokens are the tokens that the API takes.
func acceptedTokens(c config.Config) authn.Config {
	return authn.Config{
		TenantIDs: c.TenantIDs, Audience: c.APIClientID, AuthorityHost: c.AuthorityHost, Scope: c.RequiredScope,
		AllowedClients: c.AllowedClientIDs, StepUpContext: c.StepUpContext,
		AcceptV1: c.AcceptsV1(), V1Host: c.V1IssuerHost, AppIDURI: c.AppIDURI,
	}
}
