// Package keyvault implements keyring's KeyWrapper and Signer over Azure Key
// Vault: RSA-OAEP-256 wrapping and ES256 signing with keys that never leave
// the vault. It makes, rotates and deletes no key; the vault's policy does.
//
// Trust boundary: the vault is the root of trust, and TLS with the
// challenge's resource check (on, and not to be turned off) is what makes it
// the vault. Even so an answer is held against the question: the key id it
// names must be of this vault, this key and the version asked for, so that
// nothing is ever recorded as wrapped or signed by a key that did not do it.
// Plaintext keys pass through here; no error holds one.
package keyvault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/go-json-experiment/json"

	"secureapi/handler/azure"
	"secureapi/handler/keyring"
)

// The errors of this package. All say what an operator has to look at.
var (
	// ErrNotFound: the key or the version does not exist (or was purged).
	ErrNotFound = errors.New("key vault key not found")
	// ErrDisabled: the version is disabled, so it serves no longer.
	ErrDisabled = errors.New("key vault key is disabled")
	// ErrForbidden: the vault does not let this identity, network or key do it.
	ErrForbidden = errors.New("key vault refused")
	// ErrUnavailable: the vault did not answer, throttled or failed.
	ErrUnavailable = errors.New("key vault unavailable")
	// ErrAnswer: the vault answered about another key, the key is of the wrong
	// kind, or the vault calls the request malformed (an altered ciphertext).
	ErrAnswer = errors.New("key vault answer does not fit the question")
)

var (
	keyName    = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	keyVersion = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Vault is one key vault. It is safe for concurrent use.
type Vault struct {
	client *azkeys.Client
	host   string
}

// New talks to the vault at vaultURL (https://<name>.vault.azure.net), which
// it does not contact yet.
func New(vaultURL string, credential azcore.TokenCredential, options azcore.ClientOptions) (*Vault, error) {
	if err := azure.CheckEndpoint(vaultURL); err != nil {
		return nil, fmt.Errorf("key vault: %w", err)
	}
	client, err := azkeys.NewClient(vaultURL, credential, &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, fmt.Errorf("making the key vault client: %w", err)
	}
	return &Vault{client, strings.TrimPrefix(vaultURL, "https://")}, nil
}

// key is one named key of the vault.
type key struct {
	*Vault
	name string
}

func (v *Vault) key(name string) (key, error) {
	if !keyName.MatchString(name) {
		return key{}, errors.New("not a key name")
	}
	return key{v, name}, nil
}

// newest finds the newest enabled version and its public part. The vault's
// own notion of "current" includes disabled versions, so that only an answer
// that says enabled is taken from it.
func (k key) newest(ctx context.Context) (keyring.KeyRef, *azkeys.JSONWebKey, error) {
	current, err := k.client.GetKey(ctx, k.name, "", nil)
	if err != nil {
		return keyring.KeyRef{}, nil, failure("reading the newest key version", err)
	}
	if enabled(current.Attributes) {
		return k.public(current.Key, "")
	}
	version, err := k.newestListed(ctx)
	if err != nil {
		return keyring.KeyRef{}, nil, err
	}
	found, err := k.client.GetKey(ctx, k.name, version, nil)
	if err != nil {
		return keyring.KeyRef{}, nil, failure("reading a key version", err)
	}
	if !enabled(found.Attributes) {
		return keyring.KeyRef{}, nil, ErrDisabled
	}
	return k.public(found.Key, version)
}

func (k key) newestListed(ctx context.Context) (string, error) {
	var best *azkeys.KeyProperties
	pager := k.client.NewListKeyPropertiesVersionsPager(k.name, nil)
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return "", failure("listing key versions", err)
		}
		for _, p := range page.Value {
			if p == nil || !enabled(p.Attributes) || p.Attributes.Created == nil {
				continue
			}
			if best == nil || p.Attributes.Created.After(*best.Attributes.Created) {
				best = p
			}
		}
	}
	if best == nil {
		return "", ErrDisabled
	}
	ref, err := k.parse(best.KID)
	return ref.Version, err
}

// public checks that the answer is about this key and, unless version is
// empty, about that version.
func (k key) public(jwk *azkeys.JSONWebKey, version string) (keyring.KeyRef, *azkeys.JSONWebKey, error) {
	if jwk == nil {
		return keyring.KeyRef{}, nil, ErrAnswer
	}
	ref, err := k.parse(jwk.KID)
	if err != nil {
		return keyring.KeyRef{}, nil, err
	}
	if version != "" && ref.Version != version {
		return keyring.KeyRef{}, nil, ErrAnswer
	}
	return ref, jwk, nil
}

// parse takes a key id apart: https://<this vault>/keys/<this key>/<version>, and
// nothing before, between or behind. Host names have no case.
func (k key) parse(id *azkeys.ID) (keyring.KeyRef, error) {
	if id == nil {
		return keyring.KeyRef{}, ErrAnswer
	}
	text, vault := string(*id), "https://"+k.host
	if len(text) < len(vault) || !strings.EqualFold(text[:len(vault)], vault) {
		return keyring.KeyRef{}, ErrAnswer
	}
	version, found := strings.CutPrefix(text[len(vault):], "/keys/"+k.name+"/")
	if !found || !keyVersion.MatchString(version) {
		return keyring.KeyRef{}, ErrAnswer
	}
	return keyring.KeyRef{Name: k.name, Version: version}, nil
}

// fits holds a reference that a caller read somewhere against this key.
func (k key) fits(ref keyring.KeyRef) error {
	if ref.Name != k.name || !keyVersion.MatchString(ref.Version) {
		return fmt.Errorf("%w: reference to another key", ErrNotFound)
	}
	return nil
}

// answered checks that an operation was done by the version it was asked of.
func (k key) answered(id *azkeys.ID, asked keyring.KeyRef) error {
	ref, err := k.parse(id)
	if err != nil {
		return err
	}
	if ref != asked {
		return ErrAnswer
	}
	return nil
}

func enabled(a *azkeys.KeyAttributes) bool {
	return a != nil && a.Enabled != nil && *a.Enabled
}

// failure tells an SDK error by one of this package's errors.
func failure(step string, err error) error {
	fault := azure.Inspect(err)
	kind := ErrUnavailable
	switch fault.Status {
	case http.StatusNotFound:
		kind = ErrNotFound
	case http.StatusForbidden, http.StatusUnauthorized:
		kind = ErrForbidden
		if innerCode(err) == "KeyDisabled" {
			kind = ErrDisabled
		}
	case http.StatusBadRequest:
		kind = ErrAnswer
	}
	return fmt.Errorf("%w: %s: %w", kind, step, fault)
}

// innerCode reads what the SDK leaves out of an error document:
// {"error":{"code":"Forbidden","innererror":{"code":"KeyDisabled"}}}.
func innerCode(err error) string {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || answer.RawResponse == nil {
		return ""
	}
	payload, err := runtime.Payload(answer.RawResponse)
	if err != nil {
		return ""
	}
	var document struct {
		Error struct {
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if json.Unmarshal(payload, &document) != nil {
		return ""
	}
	return document.Error.Inner.Code
}
