package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"secureapi/handler/revocation"
)

type revocationRequest struct {
	TokenID      string    `json:"tokenId"`
	ObjectID     string    `json:"objectId"`
	IssuedBefore time.Time `json:"issuedBefore"`
}

func (s *server) createRevocation(c echo.Context) error {
	request, err := decode[revocationRequest](c)
	if err != nil {
		return err
	}
	entry, err := s.Revocations.Revoke(c.Request().Context(), caller(c), revocation.Request(request))
	if err != nil {
		return err
	}
	return encode(c, http.StatusOK, entry)
}

func (s *server) listRevocations(c echo.Context) error {
	status, err := s.Revocations.Status(c.Request().Context(), caller(c))
	if err != nil {
		return err
	}
	return encode(c, http.StatusOK, status)
}

// revocationProblem answers what the list does not take.
func revocationProblem(err error) *problem {
	if invalid, ok := errors.AsType[*revocation.InvalidError](err); ok {
		p := newProblem(http.StatusBadRequest, "invalid_request", "The request has fields that cannot be accepted.")
		p.Errors = []fieldError{{Pointer: invalid.Pointer, Code: invalid.Code, Detail: invalid.Detail}}
		return p
	}
	switch {
	case errors.Is(err, revocation.ErrFull):
		return newProblem(http.StatusConflict, "revocations_full", "The list of revocations has as many entries as it may have until some expire.")
	case errors.Is(err, revocation.ErrForged):
		return newProblem(http.StatusInternalServerError, "integrity_failure", "A stored record failed its integrity check.")
	default:
		return nil
	}
}
