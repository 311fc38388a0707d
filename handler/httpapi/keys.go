package httpapi

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/keyring"
)

type keysAnswer struct {
	Generations []keyring.GenerationStatus `json:"generations"`
}

func (s *server) listKeys(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.Audit.Check(ctx, caller(c), authz.KeysRead); err != nil {
		return err
	}
	generations, err := s.Keyring.Status(ctx)
	if err != nil {
		return err
	}
	return encode(c, http.StatusOK, keysAnswer{Generations: generations})
}

type adoptAnswer struct {
	Adopted []keyring.Adoption `json:"adopted"`
}

// adoptKeyVersion rewraps the keyring's roots under the vault's newest key
// version. The keyring has no caller of its own: it is audited here.
func (s *server) adoptKeyVersion(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.Audit.Check(ctx, caller(c), authz.KeysAdopt); err != nil {
		return err
	}
	ticket, err := s.Audit.Authorise(ctx, audit.Entry{
		Action: string(authz.KeysAdopt), Actor: audit.ActorOf(caller(c)),
	})
	if err != nil {
		return err
	}
	adopted, err := s.Keyring.Adopt(ctx)
	if err != nil {
		ticket.Failed("dependency_unavailable")
		return errors.Join(keyring.ErrStale, err)
	}
	ticket.Completed(nil)
	return encode(c, http.StatusOK, adoptAnswer{Adopted: adopted})
}
