// Package config reads the handler's settings: the environment of the
// process, which is the app settings of the Functions app.
//
// Missing or malformed settings end the process before it serves, with every
// problem named at once (invariant I8); none has a default that would weaken
// anything. Account keys, connection strings with keys and SAS are refused:
// the handler knows token credentials only.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config is every setting. The comment of a field says when it is required.
type Config struct {
	// Port is set by the Functions host. Required.
	Port string `env:"FUNCTIONS_CUSTOMHANDLER_PORT"`
	// TenantIDs is the allow-list of tenants, comma-separated GUIDs. Required.
	TenantIDs []string `env:"TENANT_IDS"`
	// APIClientID is the application (client) id of the API's registration. Required.
	APIClientID string `env:"API_CLIENT_ID"`
	// AuthorityHost is that of the cloud.
	AuthorityHost string `env:"AUTHORITY_HOST" envDefault:"https://login.microsoftonline.com"`
	// RequiredScope is the delegated scope that users need.
	RequiredScope string `env:"REQUIRED_SCOPE" envDefault:"Vault.Access"`
	// StepUpContext is the authentication context for restricted values.
	StepUpContext string `env:"STEP_UP_CONTEXT" envDefault:"c1"`
	// AllowedClientIDs limits the client applications; empty allows any of the tenants'.
	AllowedClientIDs []string `env:"ALLOWED_CLIENT_IDS"`
	// AcceptV1 is "true" where the API's registration issues tokens of version
	// 1.0, which are refused otherwise.
	AcceptV1 string `env:"ACCEPT_V1_TOKENS" envDefault:"false"`
	// V1IssuerHost issues them. Required with them outside the public cloud.
	V1IssuerHost string `env:"V1_ISSUER_HOST"`
	// AppIDURI is the API's second name, which they may have as audience.
	AppIDURI string `env:"API_APP_ID_URI"`
	// KeyVaultURL is https://<name>.vault.azure.net. Required.
	KeyVaultURL string `env:"KEY_VAULT_URL"`
	// KeyWrapName and KeySignName are the two keys' names in it.
	KeyWrapName string `env:"KEY_WRAP_NAME" envDefault:"kek"`
	KeySignName string `env:"KEY_SIGN_NAME" envDefault:"sign"`
	// DataAccount and AuditAccount are storage account names. Required, and not the same.
	DataAccount  string `env:"DATA_STORAGE_ACCOUNT"`
	AuditAccount string `env:"AUDIT_STORAGE_ACCOUNT"`
	// StorageSuffix is that of the cloud.
	StorageSuffix string `env:"STORAGE_SUFFIX" envDefault:"core.windows.net"`
	// RevealPurposes are the purposes that a reveal may name.
	RevealPurposes []string `env:"REVEAL_PURPOSES" envDefault:"fraud-review,customer-support,legal-obligation"`
	// Credential is the kind of the handler's own identity.
	Credential string `env:"AZURE_CREDENTIAL" envDefault:"managed-identity"`
	// ClientID is that of the user-assigned managed identity, or of the
	// registration that the other kinds act as. Required in Azure and by those.
	ClientID string `env:"AZURE_CLIENT_ID"`
	// TenantID is the registration's tenant. Required by the other kinds.
	TenantID string `env:"AZURE_TENANT_ID"`
	// CertificateFile holds certificate and key as PEM. Required by client-certificate.
	CertificateFile string `env:"AZURE_CLIENT_CERTIFICATE_PATH"`
	// FederatedTokenFile holds the assertion. Required by workload-identity.
	FederatedTokenFile string `env:"AZURE_FEDERATED_TOKEN_FILE"`
	// ImportRepairAfter is how long an import may stand still before
	// RepairOperations rings for it again.
	ImportRepairAfter time.Duration `env:"IMPORT_REPAIR_AFTER" envDefault:"2m"`
	// MaxConcurrentRequests is how many API requests this process works on at
	// once; the next one is answered 503. A caller has a quarter of them, and an
	// eighth takes uploads. Per instance, as the two limits below: the app as a
	// whole lets through as many times that as it has instances.
	MaxConcurrentRequests int `env:"MAX_CONCURRENT_REQUESTS" envDefault:"100"`
	// RateLimitPerMinute is how many API requests one caller, a user or an
	// application of a tenant, may make of this process, and RateLimitBurst how
	// many at once after a pause. Beyond it the answer is 429. Per instance.
	RateLimitPerMinute int `env:"RATE_LIMIT_PER_MINUTE" envDefault:"1200"`
	RateLimitBurst     int `env:"RATE_LIMIT_BURST" envDefault:"200"`
	// TrustedProxyHops is how many proxies in front add the address of their
	// peer to X-Forwarded-For: App Service's front end is one, a gateway before
	// it another. 0 takes the socket's peer. The address is logged; it decides
	// on nothing.
	TrustedProxyHops int `env:"TRUSTED_PROXY_HOPS" envDefault:"1"`
	// BackupRetention is how long backups of heads and keyring are kept. An
	// erasure's receipt states when the last one is to be gone.
	BackupRetention time.Duration `env:"BACKUP_RETENTION" envDefault:"840h"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `env:"LOG_LEVEL" envDefault:"info"`
	// InsightsConnection and InsightsAuthentication are Application Insights'
	// own settings; without the first, telemetry goes to the log alone.
	InsightsConnection     string `env:"APPLICATIONINSIGHTS_CONNECTION_STRING"`
	InsightsAuthentication string `env:"APPLICATIONINSIGHTS_AUTHENTICATION_STRING"`
	// LocalStackFile is set on a developer's machine only.
	LocalStackFile string `env:"LOCAL_STACK_FILE"`
	// Instance names this instance in the audit log.
	Instance string `env:"WEBSITE_INSTANCE_ID" envDefault:"local"`
}

// The bounds of BACKUP_RETENTION: the life of an import's files, and ten years.
const (
	minRetention = 7 * 24 * time.Hour
	maxRetention = 10 * 365 * 24 * time.Hour
)

// Load reads and checks the settings. The error joins every problem, and
// names settings, never their values.
func Load(environment map[string]string) (Config, error) {
	c, err := env.ParseAsWithOptions[Config](env.Options{Environment: environment})
	if err != nil {
		return Config{}, unreadable(err)
	}
	return c, errors.Join(c.check(), c.checkCredential(), c.checkV1(), refuseKeys(environment))
}

// unreadable names the settings whose values are not of their field's type.
// The library's own error quotes the value.
func unreadable(err error) error {
	problems := []error{errors.New("settings cannot be read")}
	all, _ := errors.AsType[env.AggregateError](err)
	for _, one := range all.Errors {
		parse, ok := errors.AsType[env.ParseError](one)
		if !ok {
			continue
		}
		if field, known := reflect.TypeFor[Config]().FieldByName(parse.Name); known {
			problems = append(problems, fmt.Errorf("%s must be a %s", field.Tag.Get("env"), field.Type))
		}
	}
	return errors.Join(problems...)
}

var (
	guid        = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	keyName     = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	domain      = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	purpose     = regexp.MustCompile(`^[a-z][a-z0-9-]{1,40}$`)
)

func (c Config) check() error {
	var problems []error
	need := func(ok bool, setting, must string) {
		if !ok {
			problems = append(problems, fmt.Errorf("%s must be %s", setting, must))
		}
	}
	each := func(list []string, shape *regexp.Regexp) bool {
		for _, s := range list {
			if !shape.MatchString(s) {
				return false
			}
		}
		return true
	}
	need(c.Port != "", "FUNCTIONS_CUSTOMHANDLER_PORT", "set by the Functions host")
	need(len(c.TenantIDs) > 0 && each(c.TenantIDs, guid), "TENANT_IDS", "one or more lower-case GUIDs")
	need(guid.MatchString(c.APIClientID), "API_CLIENT_ID", "a lower-case GUID")
	need(each(c.AllowedClientIDs, guid), "ALLOWED_CLIENT_IDS", "lower-case GUIDs")
	need(isHTTPSHost(c.AuthorityHost), "AUTHORITY_HOST", "https://host")
	need(isHTTPSHost(c.KeyVaultURL), "KEY_VAULT_URL", "https://host")
	need(keyName.MatchString(c.KeyWrapName), "KEY_WRAP_NAME", "a key's name")
	need(keyName.MatchString(c.KeySignName), "KEY_SIGN_NAME", "a key's name")
	need(c.KeyWrapName != c.KeySignName, "KEY_SIGN_NAME", "another key than KEY_WRAP_NAME")
	need(accountName.MatchString(c.DataAccount), "DATA_STORAGE_ACCOUNT", "a storage account's name")
	need(accountName.MatchString(c.AuditAccount), "AUDIT_STORAGE_ACCOUNT", "a storage account's name")
	need(c.DataAccount != c.AuditAccount, "AUDIT_STORAGE_ACCOUNT", "another account than DATA_STORAGE_ACCOUNT")
	need(domain.MatchString(c.StorageSuffix), "STORAGE_SUFFIX", "a domain name")
	need(len(c.RevealPurposes) > 0 && each(c.RevealPurposes, purpose), "REVEAL_PURPOSES", "one or more names in lower case")
	need(c.ImportRepairAfter >= time.Second && c.ImportRepairAfter <= time.Hour, "IMPORT_REPAIR_AFTER", "a duration of 1s to 1h")
	between := func(n, least, most int, setting string) {
		need(n >= least && n <= most, setting, fmt.Sprintf("a number from %d to %d", least, most))
	}
	between(c.MaxConcurrentRequests, 1, 1000, "MAX_CONCURRENT_REQUESTS")
	between(c.RateLimitPerMinute, 1, 1_000_000, "RATE_LIMIT_PER_MINUTE")
	between(c.RateLimitBurst, 1, 100_000, "RATE_LIMIT_BURST")
	between(c.TrustedProxyHops, 0, 5, "TRUSTED_PROXY_HOPS")
	need(c.BackupRetention >= minRetention && c.BackupRetention <= maxRetention, "BACKUP_RETENTION", "a duration of 168h to 87600h")
	need(slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel), "LOG_LEVEL", "debug, info, warn or error")
	return errors.Join(problems...)
}

func isHTTPSHost(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && s == "https://"+u.Host
}

// refuseKeys finds shared keys in any setting, whatever its name: they would
// be a second way in, past every role assignment.
func refuseKeys(environment map[string]string) error {
	var problems []error
	for name, value := range environment {
		lower := strings.ToLower(value)
		if strings.Contains(lower, "accountkey=") || strings.Contains(lower, "sharedaccesssignature=") || strings.Contains(lower, "&sig=") {
			problems = append(problems, fmt.Errorf("%s must not hold an account key or a SAS", name))
		}
	}
	return errors.Join(problems...)
}

// Endpoint is the address of an account's service: "table", "queue" or "blob".
func (c Config) Endpoint(account, service string) string {
	return "https://" + account + "." + service + "." + c.StorageSuffix
}

// Endpoints are the addresses of all services that the settings name. They may
// be private; see azure.NewTransport.
func (c Config) Endpoints() []string {
	endpoints := []string{c.AuthorityHost, c.KeyVaultURL}
	for _, account := range []string{c.DataAccount, c.AuditAccount} {
		for _, service := range []string{"table", "queue", "blob"} {
			endpoints = append(endpoints, c.Endpoint(account, service))
		}
	}
	return endpoints
}
