package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authn"
	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/clock"
	"secureapi/handler/httpapi"
	"secureapi/handler/keyring"
	"secureapi/handler/memstore"
	"secureapi/handler/operation"
	"secureapi/handler/revocation"
	"secureapi/handler/telemetry"
	"secureapi/handler/tokenvault"
	"secureapi/scripts/devstack/entra"
)

const (
	keyID   = "bench"
	purpose = "fraud-review"
	maxBlob = 16 << 20
)

// handlerParts are what the handler is put together from: memory stores and a vault in
// memory, or the local stack's.
type handlerParts struct {
	records, operations, audit *recorder
	erasures                   tokenvault.Store
	keys                       keyring.Store
	wrapper                    keyring.KeyWrapper
	signer                     keyring.Signer
	// bootstrap makes the keyring first.
	bootstrap bool
}

// api is the handler, wired as main does, with its log lines written to nowhere.
type api struct {
	echo *echo.Echo
	log  *audit.Log
	auth *authn.Authenticator
	key  *rsa.PrivateKey
	// writer and revealer are access tokens.
	writer, revealer string
}

// oneKey stands for the key cache after its first answer.
type oneKey struct{ key authn.Key }

func (s oneKey) Key(_ context.Context, _, id string) (authn.Key, error) {
	if id != keyID {
		return authn.Key{}, authn.ErrUnknownKey
	}
	return s.key, nil
}

func newAPI(ctx context.Context, p handlerParts) (*api, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the issuer's key: %w", err)
	}
	a := &api{echo: echo.New(), key: key}
	if err := errors.Join(a.mint(authz.Writer, &a.writer), a.mint(authz.Revealer, &a.revealer)); err != nil {
		return nil, err
	}
	logger := telemetry.NewLogger(io.Discard, slog.LevelInfo)
	ringOptions := keyring.Options{Store: p.keys, Wrapper: p.wrapper, Signer: p.signer, Clock: clock.System, Logger: logger}
	if p.bootstrap {
		if _, err := keyring.Bootstrap(ctx, ringOptions); err != nil {
			return nil, fmt.Errorf("making the keyring: %w", err)
		}
	}
	ring, err := keyring.New(ringOptions)
	if err != nil {
		return nil, err
	}
	auditOptions := audit.Options{
		Store: p.audit, Clock: clock.System, Instance: "bench", Logger: logger, MACKey: ring.AuditMAC,
		Telemetry: telemetry.Log{Logger: logger},
	}
	if a.log, err = audit.New(auditOptions); err != nil { //nolint:contextcheck // Close ends its committer
		return nil, err
	}
	//nolint:contextcheck // handlers take the context of their request
	if err := a.register(p, ring, auditOptions, logger); err != nil {
		return nil, errors.Join(err, a.log.Close(ctx))
	}
	return a, nil
}

// authenticator makes a.auth, and the list that it asks. Nothing refreshes the
// list in the background: one read a minute, of memory, answers for it.
func (a *api) authenticator(ring *keyring.Keyring, logger *slog.Logger) (*revocation.List, error) {
	revocations, err := revocation.New(revocation.Options{
		Store: memstore.New(), Keys: ring, Audit: a.log, Tenants: []string{entra.HomeTenant}, TokenLife: authn.AcceptedFor,
		Clock: clock.System, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	a.auth, err = authn.New(authn.Config{
		TenantIDs: []string{entra.HomeTenant}, Audience: entra.APIClientID, AuthorityHost: entra.Authority,
		Scope: entra.Scope, StepUpContext: entra.StepUp,
	}, oneKey{authn.Key{Public: &a.key.PublicKey, Issuer: entra.Authority + "/{tenantid}/v2.0"}}, revocations, clock.System)
	return revocations, err
}

// register puts the domain behind HTTP.
func (a *api) register(p handlerParts, ring *keyring.Keyring, auditOptions audit.Options, logger *slog.Logger) error {
	revocations, err := a.authenticator(ring, logger)
	if err != nil {
		return err
	}
	events, err := audit.NewReader(auditOptions)
	if err != nil {
		return err
	}
	vault, err := tokenvault.New(tokenvault.Options{
		Store: p.records, Erased: p.erasures, Keys: ring, Audit: a.log, StepUp: a.auth, Purposes: []string{purpose},
		Plans: operation.NewPlans[[]tokenvault.PlannedToken]("tokenize", p.operations, ring, clock.System),
		Clock: clock.System, Logger: logger,
	})
	if err != nil {
		return err
	}
	erasures, err := tokenvault.NewErasures(vault, tokenvault.ErasureOptions{
		Operations: p.operations, BackupRetention: tokenvault.MinRetention,
	})
	if err != nil {
		return err
	}
	// Imports are not measured, so that theirs may stay in memory.
	imports, err := bulkimport.New(bulkimport.Options{
		Store: p.operations, Keys: ring, Blobs: memstore.NewBlobs(maxBlob), Queue: memstore.NewQueue(), Vault: vault,
		Audit: a.log, Clock: clock.System, Logger: logger, Telemetry: telemetry.Log{Logger: logger}, RepairAfter: time.Hour,
	})
	if err != nil {
		return err
	}
	return httpapi.Register(a.echo, httpapi.Options{
		Auth: a.auth, Vault: vault, Erasures: erasures, Imports: imports, Audit: a.log, Events: events, Keyring: ring, Revocations: revocations,
		Clock: clock.System, Logger: logger, Ready: func(context.Context) error { return nil }, Telemetry: telemetry.Log{Logger: logger},
		Limits: unlimited,
	})
}

// unlimited are limits that no run meets: what is measured is the work.
var unlimited = httpapi.Limits{Concurrent: 1000, PerMinute: 1_000_000_000, Burst: 1_000_000_000}

// mint makes an access token as Entra ID would: of a person, with one role.
func (a *api) mint(role authz.Role, into *string) error {
	now := clock.System().Unix()
	claims := map[string]any{
		"aud": entra.APIClientID, "iss": entra.Authority + "/" + entra.HomeTenant + "/v2.0", "tid": entra.HomeTenant,
		"oid": "0b1c6d4e-7a52-4f6d-9a27-3f1f0c9d2b11", "sub": rand.Text(), "azp": entra.ToolClientID, "azpacr": "0",
		"idtyp": "user", "scp": entra.Scope, "roles": []string{string(role)}, "acrs": []string{entra.StepUp}, "ver": "2.0",
		"iat": now, "nbf": now, "exp": now + 3600, "uti": rand.Text(), "aio": rand.Text(), "rh": "1." + rand.Text(),
	}
	var err error
	*into, err = entra.MintToken(map[string]any{"typ": "JWT", "alg": "RS256", "kid": keyID}, claims,
		func(input []byte) ([]byte, error) {
			digest := sha256.Sum256(input)
			return rsa.SignPKCS1v15(nil, a.key, crypto.SHA256, digest[:])
		})
	if err != nil {
		return fmt.Errorf("minting a token: %w", err)
	}
	return nil
}
