package httpapi

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"secureapi/handler/operation"
	"secureapi/handler/tokenvault"
)

type eraseRequest struct {
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
}

// erasureAnswer is an erasure as its callers see it. It says nothing of what
// the vault held of the subject.
type erasureAnswer struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"`
	State     operation.State `json:"state"`
	CreatedAt time.Time       `json:"createdAt"`
	UpdatedAt time.Time       `json:"updatedAt"`
	Reason    string          `json:"reason"`
	Receipt   *receiptAnswer  `json:"receipt,omitzero"`
}

// receiptAnswer stands once the subject's key is dropped. It is final when the
// state is completed; then the audit entry says the same.
type receiptAnswer struct {
	InaccessibleAt  time.Time `json:"inaccessibleAt"`
	IrrecoverableAt time.Time `json:"irrecoverableAt"`
	AuditEntry      string    `json:"auditEntry"`
}

func erasureOf(e tokenvault.Erasure) erasureAnswer {
	a := erasureAnswer{
		ID: e.ID, Kind: tokenvault.ErasureKind, State: e.State, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, Reason: e.Reason,
	}
	if !e.InaccessibleAt.IsZero() {
		a.Receipt = &receiptAnswer{
			InaccessibleAt: e.InaccessibleAt, IrrecoverableAt: e.IrrecoverableAt, AuditEntry: e.AuditEntry,
		}
	}
	return a
}

func (s *server) eraseSubject(c echo.Context) error {
	request, err := decode[eraseRequest](c)
	if err != nil {
		return err
	}
	erasure, err := s.Erasures.Erase(c.Request().Context(), caller(c), request.Subject, request.Reason)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Location", "/api/v1/operations/"+erasure.ID)
	return encode(c, http.StatusAccepted, erasureOf(erasure))
}

// getOperation asks the domain whose id it is.
func (s *server) getOperation(c echo.Context) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	if tokenvault.IsErasure(id) {
		erasure, err := s.Erasures.Get(c.Request().Context(), caller(c), id)
		if err != nil {
			return err
		}
		return encode(c, http.StatusOK, erasureOf(erasure))
	}
	status, err := s.Imports.Get(c.Request().Context(), caller(c), id)
	if err != nil {
		return err
	}
	return encode(c, http.StatusOK, answerOf(status))
}
