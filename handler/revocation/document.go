package revocation

import (
	"cmp"
	"slices"
	"time"

	"secureapi/handler/authz"
)

// Entry is one revocation: of the token TokenID, or of all tokens of the
// subject ObjectID that were issued before IssuedBefore.
type Entry struct {
	TokenID      string    `json:"tokenId,omitzero"`
	ObjectID     string    `json:"objectId,omitzero"`
	IssuedBefore time.Time `json:"issuedBefore,omitzero"`
	RevokedAt    time.Time `json:"revokedAt"`
	// RevokedBy is the object id of the operator.
	RevokedBy string `json:"revokedBy"`
	// ExpiresAt is when no token that it could hit can be accepted any more.
	ExpiresAt time.Time `json:"expiresAt"`
}

// covers reports whether e takes back all that other does.
func (e Entry) covers(other Entry) bool {
	return e.TokenID == other.TokenID && e.ObjectID == other.ObjectID && !e.IssuedBefore.Before(other.IssuedBefore)
}

// document is the content of the sealed row. Its entries are never changed.
type document struct {
	Tenant  string  `json:"tenant"`
	Version uint64  `json:"version"`
	Entries []Entry `json:"entries"`
}

// forgetAfter is how long an expired entry stays: a process whose clock is
// behind must not miss it.
const forgetAfter = time.Hour

// with gives the next document, which has e in it, or ErrFull. Where an entry
// covers e already, it is given back, and the document is to stay as it is.
func (d document) with(e Entry, now time.Time) (next document, stands Entry, err error) {
	next = document{Tenant: d.Tenant, Version: d.Version + 1}
	due := 0
	for _, old := range d.Entries {
		switch {
		case old.covers(e):
			return d, old, nil
		case e.covers(old), now.Sub(old.ExpiresAt) > forgetAfter:
			continue
		case now.Before(old.ExpiresAt):
			due++
		}
		next.Entries = append(next.Entries, old)
	}
	if due >= MaxEntries {
		return d, Entry{}, ErrFull
	}
	// Expired ones make room before their time: it is a courtesy to slow clocks.
	for len(next.Entries) >= MaxEntries {
		i := slices.IndexFunc(next.Entries, func(old Entry) bool { return !now.Before(old.ExpiresAt) })
		next.Entries = slices.Delete(next.Entries, i, i+1)
	}
	next.Entries = append(next.Entries, e)
	return next, e, nil
}

// due are the entries that can still hit a token, the newest first.
func (d document) due(now time.Time) []Entry {
	entries := make([]Entry, 0, len(d.Entries))
	for _, e := range d.Entries {
		if now.Before(e.ExpiresAt) {
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(b.RevokedAt.Compare(a.RevokedAt), cmp.Compare(a.TokenID+a.ObjectID, b.TokenID+b.ObjectID))
	})
	return entries
}

// held is a document in memory, made for looking up.
type held struct {
	document
	tokens   map[string]bool
	subjects map[string]time.Time
	// checked is when the read began that confirmed it.
	checked time.Time
}

func hold(d document, checked time.Time) *held {
	h := &held{document: d, tokens: map[string]bool{}, subjects: map[string]time.Time{}, checked: checked}
	for _, e := range d.Entries {
		if e.TokenID != "" {
			h.tokens[e.TokenID] = true
		} else {
			h.subjects[e.ObjectID] = e.IssuedBefore
		}
	}
	return h
}

func (h *held) check(p authz.Principal) authz.Revocation {
	r := authz.Revocation{Token: h.tokens[p.TokenID]}
	if before, revoked := h.subjects[p.ObjectID]; revoked && p.IssuedAt.Before(before) {
		r.IssuedBefore = before
	}
	return r
}

// lostBy reports whether d lacks an entry of h that is still due. Versions alone
// would not show it: a list that was put back, and then written on by a process
// that had not seen more, grows past what this one knows.
func (h *held) lostBy(d document, now time.Time) bool {
	next := make(map[string]Entry, len(d.Entries))
	for _, e := range d.Entries {
		next[e.TokenID+"|"+e.ObjectID] = e
	}
	for _, e := range h.Entries {
		if now.Before(e.ExpiresAt) && !next[e.TokenID+"|"+e.ObjectID].covers(e) {
			return true
		}
	}
	return false
}
