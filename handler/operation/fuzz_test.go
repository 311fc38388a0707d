package operation_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"secureapi/handler/envelope"
	"secureapi/handler/fuzzcheck"
	"secureapi/handler/operation"
)

// FuzzMessage: a queue message is what this system sealed for this queue, in the
// one spelling it has. What a right key seals is read strictly.
func FuzzMessage(f *testing.F) {
	ring := newKeys(f)
	bell, other := operation.NewBell("imports", ring), operation.NewBell("erasures", ring)
	made, err := bell.Seal(f.Context(), operation.Doorbell{Tenant: tenant, Operation: "op", Part: "p", Attempt: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made, []byte(`{"tenant":"t","operation":"o"}`))
	f.Add(made+"\n", []byte(`{"tenant":"t","operation":"o","part":"p","attempt":3}`))
	f.Add("d1."+made, []byte(`{"tenant":"t","tenant":"u"}`))
	f.Add(strings.TrimPrefix(made, "d1."), []byte(`{"Tenant":"t"}`))
	f.Add(`{"tenant":"t"}`, []byte(`null`))
	f.Add("d1.", []byte(`{"attempt":1e400}`))
	keys, err := ring.ForWrite(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, plaintext []byte) {
		got, err := bell.Open(t.Context(), text)
		if err == nil && text != made {
			t.Errorf("%q was never sealed, and gives %+v", text, got)
		}
		if err != nil && (!errors.Is(err, operation.ErrForgedMessage) || got != operation.Doorbell{}) {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := bell.Open(t.Context(), fuzzcheck.Marked(text)); err != nil && fuzzcheck.Quotes(err.Error()) {
			t.Errorf("the refusal quotes the message: %v", err)
		}
		if n, ok := fuzzcheck.Allocates(len(text), func() { _, _ = bell.Open(t.Context(), text) }); err != nil && !ok {
			t.Errorf("refusing %d bytes took %d", len(text), n)
		}
		sealed, err := envelope.Seal(keys.Message(), envelope.Context{Label: "message", Table: "imports"}, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = bell.Open(t.Context(), "d1."+base64.RawURLEncoding.EncodeToString(sealed)); err != nil {
			return
		}
		again, err := bell.Seal(t.Context(), got)
		if err != nil {
			t.Fatal(err)
		}
		if reread, err := bell.Open(t.Context(), again); err != nil || reread != got {
			t.Errorf("%+v became %+v, %v", got, reread, err)
		}
		if _, err := other.Open(t.Context(), again); !errors.Is(err, operation.ErrForgedMessage) {
			t.Errorf("another queue's message: %v", err)
		}
	})
}
