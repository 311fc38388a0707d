package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	"secureapi/handler/revocation"
	"secureapi/handler/rowstore"
	"secureapi/handler/tokenvault"
)

func TestErrorsOfTheDomainHaveTheirAnswer(t *testing.T) {
	c := echo.New().NewContext(httptest.NewRequest(http.MethodPost, "/", http.NoBody), httptest.NewRecorder())
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{tokenvault.ErrErased, http.StatusConflict, "subject_erased"},
		{tokenvault.ErrIntegrity, http.StatusInternalServerError, "integrity_failure"},
		{tokenvault.ErrBusy, http.StatusServiceUnavailable, "busy"},
		{revocation.ErrFull, http.StatusConflict, "revocations_full"},
		{revocation.ErrForged, http.StatusInternalServerError, "integrity_failure"},
		{rowstore.ErrUnavailable, http.StatusServiceUnavailable, "unavailable"},
		{errors.New("anything else"), http.StatusInternalServerError, "internal_error"},
	} {
		p := (&server{}).problemOf(fmt.Errorf("step: %w", tt.err), c)
		if p.Status != tt.status || p.Code != tt.code {
			t.Errorf("%v: %d %s", tt.err, p.Status, p.Code)
		}
	}
}
