package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"secureapi/handler/dataclass"
	"secureapi/handler/tokenvault"
)

type tokenizeItem struct {
	Class   dataclass.Class   `json:"class"`
	Value   string            `json:"value"`
	Subject string            `json:"subject"`
	Format  tokenvault.Format `json:"format"`
}

func (i tokenizeItem) domain() tokenvault.Item {
	return tokenvault.Item{Class: i.Class, Value: i.Value, Subject: i.Subject, Format: i.Format}
}

type tokenAnswer struct {
	Token string          `json:"token"`
	Class dataclass.Class `json:"class"`
}

func (s *server) tokenizeValue(c echo.Context) error {
	key, err := idempotencyKey(c.Request().Header)
	if err != nil {
		return err
	}
	item, err := decode[tokenizeItem](c)
	if err != nil {
		return err
	}
	results, err := s.Vault.Tokenize(c.Request().Context(), caller(c), []tokenvault.Item{item.domain()}, key)
	if err != nil {
		return err
	}
	if results[0].Invalid != nil {
		return results[0].Invalid
	}
	return encode(c, http.StatusCreated, tokenAnswer{Token: results[0].Token, Class: results[0].Class})
}

type batchItem struct {
	tokenizeItem
	// Reference is the caller's own name for the item; it is answered, not stored.
	Reference string `json:"reference"`
}

type batchRequest struct {
	Items []batchItem `json:"items"`
}

// itemAnswer is one item's outcome in a list: ordered as the request's.
type itemAnswer struct {
	Index     int             `json:"index"`
	Reference string          `json:"reference,omitzero"`
	Status    int             `json:"status"`
	Token     string          `json:"token,omitzero"`
	Class     dataclass.Class `json:"class,omitzero"`
	Created   time.Time       `json:"created,omitzero"`
	Masked    string          `json:"masked,omitzero"`
	Value     string          `json:"value,omitzero"`
	Problem   *problem        `json:"problem,omitzero"`
}

type listAnswer struct {
	Results []itemAnswer `json:"results"`
}

func (s *server) tokenizeBatch(c echo.Context) error {
	key, err := idempotencyKey(c.Request().Header)
	if err != nil {
		return err
	}
	request, err := decode[batchRequest](c)
	if err != nil {
		return err
	}
	items := make([]tokenvault.Item, len(request.Items))
	for i, item := range request.Items {
		items[i] = item.domain()
	}
	results, err := s.Vault.Tokenize(c.Request().Context(), caller(c), items, key)
	if err != nil {
		return err
	}
	answer := listAnswer{Results: make([]itemAnswer, len(results))}
	for i, r := range results {
		answer.Results[i] = itemAnswer{
			Index: i, Reference: request.Items[i].Reference, Status: http.StatusCreated, Token: r.Token, Class: r.Class,
		}
		if r.Invalid != nil {
			p := invalidProblem(r.Invalid, "/items/"+strconv.Itoa(i))
			answer.Results[i] = itemAnswer{Index: i, Reference: request.Items[i].Reference, Status: p.Status, Problem: p}
		}
	}
	return encode(c, listStatus(answer.Results, http.StatusCreated), answer)
}

// listStatus is 200 where every item went well, else 207.
func listStatus(results []itemAnswer, well int) int {
	for _, r := range results {
		if r.Status != well {
			return http.StatusMultiStatus
		}
	}
	return http.StatusOK
}

type inspectRequest struct {
	Tokens []string `json:"tokens"`
}

func (s *server) inspectTokens(c echo.Context) error {
	request, err := decode[inspectRequest](c)
	if err != nil {
		return err
	}
	opened, err := s.Vault.Inspect(c.Request().Context(), caller(c), request.Tokens)
	if err != nil {
		return err
	}
	return s.answerOpened(c, opened, func(a *itemAnswer, value string) { a.Masked = value })
}

type revealRequest struct {
	Tokens  []string `json:"tokens"`
	Purpose string   `json:"purpose"`
	Reason  string   `json:"reason"`
}

func (s *server) revealTokens(c echo.Context) error {
	request, err := decode[revealRequest](c)
	if err != nil {
		return err
	}
	opened, err := s.Vault.Reveal(c.Request().Context(), caller(c), request.Tokens, request.Purpose, request.Reason)
	if err != nil {
		return err
	}
	return s.answerOpened(c, opened, func(a *itemAnswer, value string) { a.Value = value })
}

func (s *server) answerOpened(c echo.Context, opened []tokenvault.Opened, put func(*itemAnswer, string)) error {
	answer := listAnswer{Results: make([]itemAnswer, len(opened))}
	for i, o := range opened {
		a := &answer.Results[i]
		*a = itemAnswer{Index: i, Token: o.Token, Status: http.StatusOK, Class: o.Class, Created: o.Created}
		switch {
		case errors.Is(o.Err, tokenvault.ErrNoToken):
			a.Problem = newProblem(http.StatusNotFound, "token_unknown", "There is no such token.")
		case o.Err != nil:
			a.Problem = s.problemOf(o.Err, c)
		default:
			put(a, o.Value.RevealString())
		}
		if a.Problem != nil {
			a.Status = a.Problem.Status
		}
	}
	return encode(c, listStatus(answer.Results, http.StatusOK), answer)
}
