package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"
	"golang.org/x/mod/sumdb/tlog"

	"secureapi/handler/audit"
	"secureapi/handler/authz"
	"secureapi/handler/envelope"
)

const (
	defaultPage = 100
	maxPage     = 500
)

type eventsAnswer struct {
	Events []audit.Entry `json:"events"`
	Next   string        `json:"next,omitzero"`
}

// listAuditEvents gives the caller's tenant's entries. Reading the log is
// itself an entry.
func (s *server) listAuditEvents(c echo.Context) error {
	ctx, p := c.Request().Context(), caller(c)
	if err := s.Audit.Check(ctx, p, authz.AuditRead); err != nil {
		return err
	}
	query, err := s.eventsQuery(ctx, p.TenantID, c.Request().URL.RawQuery)
	if err != nil {
		return err
	}
	if _, err := s.Audit.Authorise(ctx, audit.Entry{Action: string(authz.AuditRead), Actor: audit.ActorOf(p)}); err != nil {
		return err
	}
	page, err := s.Events.Events(ctx, query)
	if err != nil {
		return err
	}
	answer := eventsAnswer{Events: page.Entries}
	if answer.Events == nil {
		answer.Events = []audit.Entry{}
	}
	if page.Next != (audit.Cursor{}) {
		if answer.Next, err = s.sealCursor(ctx, p.TenantID, page.Next); err != nil {
			return err
		}
	}
	return encode(c, http.StatusOK, answer)
}

// eventsQuery reads from, to (RFC 3339), action, limit and cursor.
func (s *server) eventsQuery(ctx context.Context, tenant, raw string) (audit.Query, error) {
	query := audit.Query{Tenant: tenant, Limit: defaultPage}
	p := newProblem(http.StatusBadRequest, "invalid_request", "The request has fields that cannot be accepted.")
	bad := func(name, detail string) {
		p.Errors = append(p.Errors, fieldError{Parameter: name, Code: "parameter_invalid", Detail: detail})
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		bad("", "is not a query")
	}
	for name, list := range values {
		if len(list) != 1 || !slices.Contains([]string{"from", "to", "action", "limit", "cursor"}, name) {
			bad("", "holds a parameter that is not known here or stands twice")
			continue
		}
		var err error
		switch name {
		case "from":
			if query.From, err = time.Parse(time.RFC3339, list[0]); err != nil {
				bad(name, "must be a time as in RFC 3339")
			}
		case "to":
			if query.To, err = time.Parse(time.RFC3339, list[0]); err != nil {
				bad(name, "must be a time as in RFC 3339")
			}
		case "action":
			query.Action = list[0]
		case "limit":
			if query.Limit, err = strconv.Atoi(list[0]); err != nil || query.Limit < 1 || query.Limit > maxPage {
				bad(name, "must be 1 to "+strconv.Itoa(maxPage))
			}
		case "cursor":
			query.After, err = s.openCursor(ctx, tenant, list[0])
			if errors.Is(err, errCursor) {
				bad(name, "is not a cursor of this resource")
			} else if err != nil {
				return query, err
			}
		}
	}
	if len(p.Errors) > 0 {
		return query, &refusal{p}
	}
	return query, nil
}

type checkpointAnswer struct {
	Number  uint64    `json:"number"`
	Time    time.Time `json:"time,omitzero"`
	Entries uint64    `json:"entries"`
	Streams int       `json:"streams"`
	// Note is the newest signed checkpoint, byte for byte as it is published.
	Note string `json:"note,omitzero"`
	// Consistency proves that it continues the one of the size asked from.
	Consistency [][]byte `json:"consistency,omitzero"`
}

// getAuditCheckpoint gives the newest checkpoint, and with ?from= the proof that
// it continues an older one that the caller has kept.
func (s *server) getAuditCheckpoint(c echo.Context) error {
	ctx := c.Request().Context()
	if err := s.Audit.Check(ctx, caller(c), authz.AuditRead); err != nil {
		return err
	}
	from, err := numberOf(c, "from", math.MaxInt32)
	if err != nil {
		return err
	}
	latest, err := s.Events.Latest(ctx)
	if err != nil {
		return err
	}
	answer := checkpointAnswer{Number: latest.Number, Time: latest.Time, Entries: latest.Entries, Streams: len(latest.Streams)}
	note, _, err := s.Events.Signed(ctx)
	if err != nil {
		return err
	}
	if from > 0 {
		var path []tlog.Hash
		note, path, err = s.Events.Consistency(ctx, int64(from))
		if errors.Is(err, audit.ErrSize) {
			return parameterRefusal("from", "is more than the newest signed checkpoint covers")
		}
		if err != nil {
			return err
		}
		answer.Consistency = hashes(path)
	}
	answer.Note = string(note)
	return encode(c, http.StatusOK, answer)
}

type proofAnswer struct {
	Note    string       `json:"note"`
	Entries []entryProof `json:"entries"`
}

type entryProof struct {
	Index int64    `json:"index"`
	Leaf  []byte   `json:"leaf"`
	Path  [][]byte `json:"path"`
}

// proveAuditEntry proves that the entries of an id stand in the log. Their ids
// have 32 digits; the path has them as a GUID. It gives entries, and is one.
func (s *server) proveAuditEntry(c echo.Context) error {
	ctx, p := c.Request().Context(), caller(c)
	if err := s.Audit.Check(ctx, p, authz.AuditRead); err != nil {
		return err
	}
	id, err := idOf(c)
	if err != nil {
		return err
	}
	if _, err := s.Audit.Authorise(ctx, audit.Entry{Action: string(authz.AuditRead), Actor: audit.ActorOf(p)}); err != nil {
		return err
	}
	note, proofs, err := s.Events.Prove(ctx, p.TenantID, strings.ReplaceAll(id, "-", ""))
	if errors.Is(err, audit.ErrNoEntry) {
		return &refusal{routerProblem(http.StatusNotFound)}
	}
	if err != nil {
		return err
	}
	answer := proofAnswer{Note: string(note)}
	for _, one := range proofs {
		answer.Entries = append(answer.Entries, entryProof{Index: one.Index, Leaf: one.Leaf, Path: hashes(one.Path)})
	}
	return encode(c, http.StatusOK, answer)
}

func hashes(list []tlog.Hash) [][]byte {
	all := make([][]byte, 0, len(list))
	for _, h := range list {
		all = append(all, h[:])
	}
	return all
}

var errCursor = errors.New("not a cursor of this resource")

func cursorContext(tenant string) envelope.Context {
	return envelope.Context{Label: "cursor", Tenant: tenant, Table: "audit events"}
}

// sealCursor keeps a client from reading or making a position.
func (s *server) sealCursor(ctx context.Context, tenant string, cursor audit.Cursor) (string, error) {
	keys, err := s.Keyring.ForWrite(ctx)
	if err != nil {
		return "", err
	}
	plaintext, err := json.Marshal(cursor)
	if err != nil {
		return "", errors.New("encoding cursor")
	}
	sealed, err := envelope.Seal(keys.Cursor(), cursorContext(tenant), plaintext)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

func (s *server) openCursor(ctx context.Context, tenant, text string) (audit.Cursor, error) {
	var cursor audit.Cursor
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder passes over
		return cursor, errCursor
	}
	keys, err := s.Keyring.ForRead(ctx)
	if err != nil {
		return cursor, err
	}
	plaintext, err := envelope.Open(keys.Cursor(), cursorContext(tenant), sealed)
	if err != nil {
		return cursor, errCursor
	}
	if err := json.Unmarshal(plaintext, &cursor, json.RejectUnknownMembers(true)); err != nil {
		return cursor, errCursor
	}
	return cursor, nil
}
