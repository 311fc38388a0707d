package entra

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// deviceLife is how long a user code can be entered, as in Entra.
	deviceLife = 15 * time.Minute
	// devicePoll is how often a client may ask. A client that asks earlier is
	// told to slow down, and its early question does not count.
	devicePoll = time.Second
	// userCodeLength and userCodeAlphabet: eight consonants are easy to type,
	// spell no word, and are 34 bits (RFC 8628, section 6.1).
	userCodeLength   = 8
	userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
)

// device is a sign-in that is answered in another place than it was asked in.
type device struct {
	asked
	userCode string
	expires  time.Time
	polled   time.Time
	// answered is set by the person, redeemed by the client.
	answered, redeemed bool
	person             Persona
	refused            *refusal
}

// serveDeviceCode begins the flow (RFC 8628, section 3.1).
func (s *Server) serveDeviceCode(w http.ResponseWriter, r *http.Request) {
	form, ok := readForm(w, r)
	if !ok {
		return
	}
	tenant := r.PathValue("tenant")
	if !publicClient(form.Get("client_id"), tenant) {
		fail(w, http.StatusBadRequest, "unauthorized_client", "AADSTS700016: Application was not found in the directory.")
		return
	}
	a, refused := parseAsked(tenant, form)
	if refused != nil {
		fail(w, http.StatusBadRequest, refused.code, refused.text)
		return
	}
	d := &device{asked: a, userCode: newUserCode(), expires: s.now().Add(deviceLife)}
	id := s.grants.addDevice(d)
	page := s.pagesBase() + "/devicelogin"
	reply(w, http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": id, "verification_uri": page,
		"expires_in": int(deviceLife.Seconds()), "interval": int(devicePoll.Seconds()),
		"message": "To sign in, use a web browser to open the page " + page + " and enter the code " + d.userCode + " to authenticate.",
	})
}

func newUserCode() string {
	// 200 is the largest multiple of 20 in a byte: what is above is drawn again.
	const fair = 200
	code := make([]byte, 0, userCodeLength)
	var draw [1]byte
	for len(code) < userCodeLength {
		_, _ = rand.Read(draw[:]) // never fails
		if draw[0] < fair {
			code = append(code, userCodeAlphabet[int(draw[0])%len(userCodeAlphabet)])
		}
	}
	return string(code)
}

func (g *grants) addDevice(d *device) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return put(g.devices, d)
}

// findDevice finds an unanswered sign-in by what the person typed.
func (g *grants) findDevice(now time.Time, typed string) (*device, bool) {
	wanted := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(typed))
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.devices {
		if d.userCode == wanted && !d.answered && !now.After(d.expires) {
			return d, true
		}
	}
	return nil, false
}

// answerDevice takes the person's answer, the first one only.
func (g *grants) answerDevice(d *device, person Persona, refused *refusal) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.answered {
		return false
	}
	d.answered, d.person, d.refused = true, person, refused
	return true
}

// takeDevice is one poll of the client (RFC 8628, section 3.5).
func (g *grants) takeDevice(now time.Time, id, tenant string) (*device, *refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d, ok := g.devices[id]
	switch {
	case !ok || d.tenant != tenant || d.redeemed:
		return nil, &refusal{"bad_verification_code", "AADSTS70018: The device code is not recognized."}
	case now.After(d.expires):
		return nil, &refusal{"expired_token", "AADSTS70019: The verification code has expired. Restart the sign-in process."}
	case !d.polled.IsZero() && now.Before(d.polled.Add(devicePoll)):
		return nil, &refusal{"slow_down", "AADSTS70016: The client asks too often."}
	}
	d.polled = now
	switch {
	case !d.answered:
		return nil, &refusal{"authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending. Continue polling."}
	case d.refused != nil:
		return nil, d.refused
	}
	d.redeemed = true
	return d, nil
}

// serveDeviceLogin is the page of the person: first the code, then the choice.
func (s *Server) serveDeviceLogin(w http.ResponseWriter, r *http.Request) {
	var form url.Values
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := r.ParseForm(); err != nil {
			failPage(w, &refusal{"invalid_request", "AADSTS900144: The request body cannot be read."})
			return
		}
		form = r.PostForm
	}
	if form.Get("user_code") == "" {
		devicePage(w)
		return
	}
	d, ok := s.grants.findDevice(s.now(), form.Get("user_code"))
	if !ok {
		failPage(w, &refusal{"invalid_request", "AADSTS70018: The code is wrong, has expired or was used."})
		return
	}
	if !form.Has("persona") && !form.Has("decline") {
		devicePeoplePage(w, d)
		return
	}
	person, refused := s.choose(d.tenant, form)
	if refused != nil && !form.Has("decline") {
		failPage(w, refused)
		return
	}
	if refused != nil {
		refused = &refusal{"authorization_declined", refused.text}
	}
	if !s.grants.answerDevice(d, person, refused) {
		failPage(w, &refusal{"invalid_request", "AADSTS70018: The code was used."})
		return
	}
	donePage(w)
}
