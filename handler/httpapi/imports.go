package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"secureapi/handler/authz"
	"secureapi/handler/bulkimport"
	"secureapi/handler/operation"
)

// operationAnswer is an operation as its callers see it.
type operationAnswer struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"`
	State     operation.State `json:"state"`
	CreatedAt time.Time       `json:"createdAt"`
	UpdatedAt time.Time       `json:"updatedAt"`
	Parts     int             `json:"parts"`
	Rows      rowsAnswer      `json:"rows"`
	Chunks    chunksAnswer    `json:"chunks"`
}

type rowsAnswer struct {
	Total    int `json:"total"`
	Imported int `json:"imported"`
	Rejected int `json:"rejected"`
	Failed   int `json:"failed"`
}

type chunksAnswer struct {
	Total  int `json:"total"`
	Done   int `json:"done"`
	Failed int `json:"failed"`
}

func answerOf(s bulkimport.Status) operationAnswer {
	p := s.Progress
	return operationAnswer{
		ID: s.ID, Kind: bulkimport.Kind, State: s.State, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, Parts: s.Parts,
		Rows:   rowsAnswer{Total: p.Total, Imported: p.Imported, Rejected: p.Rejected, Failed: p.Failed},
		Chunks: chunksAnswer{Total: p.Chunks, Done: p.Chunks - p.ChunksPending - p.ChunksFailed, Failed: p.ChunksFailed},
	}
}

type createImportRequest struct {
	Columns       []bulkimport.Column `json:"columns"`
	SubjectColumn string              `json:"subjectColumn"`
}

func (s *server) createImport(c echo.Context) error {
	key, err := idempotencyKey(c.Request().Header)
	if err != nil {
		return err
	}
	request, err := decode[createImportRequest](c)
	if err != nil {
		return err
	}
	status, err := s.Imports.Create(c.Request().Context(), caller(c), request.Columns, request.SubjectColumn, key)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Location", "/api/v1/operations/"+status.ID)
	return encode(c, http.StatusCreated, answerOf(status))
}

type partAnswer struct {
	Number int `json:"number"`
	Rows   int `json:"rows"`
	Chunks int `json:"chunks"`
}

func (s *server) putImportPart(c echo.Context) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	number, err := numberOf(c, "number", bulkimport.MaxParts)
	if err != nil {
		return err
	}
	if number == 0 {
		return parameterRefusal("number", "must be given")
	}
	// Before the body is read: 8 MiB of nobody's are not taken in.
	if err := s.Audit.Check(c.Request().Context(), caller(c), authz.ImportsManage); err != nil {
		return err
	}
	body, err := readPart(c)
	if err != nil {
		return err
	}
	done, err := s.Imports.PutPart(c.Request().Context(), caller(c), id, number, body)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if done.Repeated {
		status = http.StatusOK
	}
	return encode(c, status, partAnswer{Number: done.Number, Rows: done.Rows, Chunks: done.Chunks})
}

// readPart takes a CSV body, whose length is known here.
func readPart(c echo.Context) ([]byte, error) {
	r := c.Request()
	if err := checkMediaType(r.Header, "text/csv"); err != nil {
		return nil, err
	}
	if r.ContentLength > bulkimport.MaxPartBytes {
		return nil, &refusal{routerProblem(http.StatusRequestEntityTooLarge)}
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, closing(c, routerProblem(http.StatusRequestTimeout))
		}
		p := newProblem(http.StatusBadRequest, "invalid_body", "The body is not what this resource takes.")
		p.Errors = []fieldError{{Code: "body_truncated", Detail: "ends too early"}}
		return nil, &refusal{p}
	}
	return body, nil
}

type commitRequest struct {
	Parts int `json:"parts"`
}

func (s *server) commitImport(c echo.Context) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	request, err := decode[commitRequest](c)
	if err != nil {
		return err
	}
	if request.Parts < 1 || request.Parts > bulkimport.MaxParts {
		p := newProblem(http.StatusBadRequest, "invalid_request", "The request has fields that cannot be accepted.")
		p.Errors = []fieldError{{Pointer: "/parts", Code: "parts_count", Detail: fmt.Sprintf("must be 1 to %d", bulkimport.MaxParts)}}
		return &refusal{p}
	}
	status, err := s.Imports.Commit(c.Request().Context(), caller(c), id, request.Parts)
	if err != nil {
		return err
	}
	return encode(c, http.StatusAccepted, answerOf(status))
}

func (s *server) pauseImport(c echo.Context) error  { return s.controlImport(c, s.Imports.Pause) }
func (s *server) resumeImport(c echo.Context) error { return s.controlImport(c, s.Imports.Resume) }
func (s *server) cancelImport(c echo.Context) error { return s.controlImport(c, s.Imports.Cancel) }

func (s *server) controlImport(
	c echo.Context, do func(context.Context, authz.Principal, string) (bulkimport.Status, error),
) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	if err := noBody(c); err != nil {
		return err
	}
	status, err := do(c.Request().Context(), caller(c), id)
	if err != nil {
		return err
	}
	return encode(c, http.StatusAccepted, answerOf(status))
}

func (s *server) getImportResult(c echo.Context) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	number, err := numberOf(c, "chunk", bulkimport.MaxChunks)
	if err != nil {
		return err
	}
	page, err := s.Imports.Result(c.Request().Context(), caller(c), id, max(number, 1))
	if err != nil {
		return err
	}
	if page.Next > 0 {
		c.Response().Header().Set("Link", fmt.Sprintf(`</api/v1/imports/%s/result?chunk=%d>; rel="next"`, id, page.Next))
	}
	return c.Blob(http.StatusOK, "text/csv; charset=utf-8", page.CSV)
}

// idOf takes the one canonical form of a GUID: the host's route constraint
// lets others through.
func idOf(c echo.Context) (string, error) {
	text := c.Param("id")
	id, err := uuid.Parse(text)
	if err != nil || id.String() != text {
		return "", &refusal{routerProblem(http.StatusNotFound)}
	}
	return text, nil
}

// numberOf reads the one query parameter that a route takes; 0 where absent.
func numberOf(c echo.Context, name string, most int) (int, error) {
	values, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return 0, parameterRefusal("", "is not a query")
	}
	list, given := values[name]
	delete(values, name)
	if len(values) > 0 || len(list) > 1 {
		return 0, parameterRefusal("", "holds a parameter that is not known here or stands twice")
	}
	if !given {
		return 0, nil
	}
	n, err := strconv.Atoi(list[0])
	if err != nil || n < 1 || n > most || strconv.Itoa(n) != list[0] {
		return 0, parameterRefusal(name, "must be 1 to "+strconv.Itoa(most))
	}
	return n, nil
}

func parameterRefusal(name, detail string) error {
	p := newProblem(http.StatusBadRequest, "invalid_request", "The request has fields that cannot be accepted.")
	p.Errors = []fieldError{{Parameter: name, Code: "parameter_invalid", Detail: detail}}
	return &refusal{p}
}

// noBody refuses a body where none has a meaning: it would be lost.
func noBody(c echo.Context) error {
	var one [1]byte
	n, err := io.ReadFull(c.Request().Body, one[:])
	if n == 0 && errors.Is(err, io.EOF) {
		return nil
	}
	p := newProblem(http.StatusBadRequest, "invalid_body", "The body is not what this resource takes.")
	p.Errors = []fieldError{{Code: "body_unexpected", Detail: "must be empty"}}
	return &refusal{p}
}
