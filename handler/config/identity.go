package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// The kinds of AZURE_CREDENTIAL.
const (
	// ManagedIdentity is the one for Azure: nothing to keep, nothing to rotate.
	ManagedIdentity = "managed-identity"
	// ClientCertificate is for machines outside Azure that hold a key.
	ClientCertificate = "client-certificate"
	// WorkloadIdentity is for federated issuers: Kubernetes, pipelines.
	WorkloadIdentity = "workload-identity"
)

// publicAuthority is the authority of the public cloud, whose issuer of
// version 1.0 tokens is known.
const publicAuthority = "https://login.microsoftonline.com"

// AcceptsV1 reports whether tokens of version 1.0 are accepted.
func (c Config) AcceptsV1() bool { return c.AcceptV1 == "true" }

// checkCredential wants all that the kind needs, and nothing that it would not
// look at: who sets a certificate means it to be used.
func (c Config) checkCredential() error {
	var problems []error
	file := func(path, setting, kind string) {
		switch {
		case c.Credential != kind && path != "":
			problems = append(problems, fmt.Errorf("%s is of use with AZURE_CREDENTIAL %s only", setting, kind))
		case c.Credential == kind && !filepath.IsAbs(path):
			problems = append(problems, fmt.Errorf("%s must be an absolute path with AZURE_CREDENTIAL %s", setting, kind))
		}
	}
	file(c.CertificateFile, "AZURE_CLIENT_CERTIFICATE_PATH", ClientCertificate)
	file(c.FederatedTokenFile, "AZURE_FEDERATED_TOKEN_FILE", WorkloadIdentity)
	switch c.Credential {
	case ManagedIdentity:
		if c.ClientID != "" && !guid.MatchString(c.ClientID) {
			problems = append(problems, errors.New("AZURE_CLIENT_ID must be a lower-case GUID"))
		}
	case ClientCertificate, WorkloadIdentity:
		if !guid.MatchString(c.ClientID) {
			problems = append(problems, errors.New("AZURE_CLIENT_ID must be a lower-case GUID with this AZURE_CREDENTIAL"))
		}
		if !guid.MatchString(c.TenantID) {
			problems = append(problems, errors.New("AZURE_TENANT_ID must be a lower-case GUID with this AZURE_CREDENTIAL"))
		}
	default:
		problems = append(problems, fmt.Errorf("AZURE_CREDENTIAL must be %s, %s or %s", ManagedIdentity, ClientCertificate, WorkloadIdentity))
	}
	return errors.Join(problems...)
}

// checkV1 keeps the settings of version 1.0 from being set in part: an issuer
// that is guessed for another cloud would be one that nobody chose.
func (c Config) checkV1() error {
	var problems []error
	need := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, errors.New(problem))
		}
	}
	need(c.AcceptV1 == "true" || c.AcceptV1 == "false", "ACCEPT_V1_TOKENS must be true or false")
	need(c.AcceptsV1() || c.V1IssuerHost == "", "V1_ISSUER_HOST is of use with ACCEPT_V1_TOKENS only")
	need(c.AcceptsV1() || c.AppIDURI == "", "API_APP_ID_URI is of use with ACCEPT_V1_TOKENS only")
	need(c.V1IssuerHost == "" || isHTTPSHost(c.V1IssuerHost), "V1_ISSUER_HOST must be https://host")
	need(!c.AcceptsV1() || c.V1IssuerHost != "" || c.AuthorityHost == publicAuthority,
		"V1_ISSUER_HOST must be set where AUTHORITY_HOST is another cloud's")
	need(c.AppIDURI == "" || strings.Contains(c.AppIDURI, "://"), "API_APP_ID_URI must be a URI")
	return errors.Join(problems...)
}
